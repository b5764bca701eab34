"""What every document store promises."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.adapters.meta.sqlite import SqliteMetaStore
from modelyard.errors import Conflict, Invalid, TooLarge, Unavailable
from modelyard.ports.meta import (
    ABSENT,
    MAX_COMMITS,
    MAX_DOCUMENT_BYTES,
    Change,
    Key,
    MetaStore,
    newest,
)
from modelyard.testing.stores import MemoryMetaStore

ONE = Key("default", "Service", "one")
TWO = Key("default", "Service", "two")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MetaStore]:
    if request.param == "memory":
        yield MemoryMetaStore(now_us=lambda: 77)
        return
    opened = SqliteMetaStore(tmp_path / "meta.sqlite", now_us=lambda: 77)
    yield opened
    opened.close()


def put(store: MetaStore, key: Key, body: dict[str, object], expected: int = ABSENT) -> int:
    return store.commit([Change(key, body, expected)], "ada", f"put {key.name}")


def test_a_document_comes_back_as_it_was_written(store: MetaStore) -> None:
    body = {"text": "é 😀", "number": 12345678901234567890, "none": None, "list": [1, {"a": []}]}
    generation = put(store, ONE, body)
    found = store.get(ONE)
    assert found is not None
    assert (found.key, found.generation, found.updated_at_us) == (ONE, generation, 77)
    assert found.body == body
    assert store.get(TWO) is None


def test_what_was_read_is_a_copy(store: MetaStore) -> None:
    put(store, ONE, {"list": [1]})
    found = store.get(ONE)
    assert found is not None
    found.body["list"].append(2)
    again = store.get(ONE)
    assert again is not None
    assert again.body == {"list": [1]}


def test_generations_count_commits_of_the_whole_store(store: MetaStore) -> None:
    assert newest(store) == 0
    first = put(store, ONE, {})
    second = put(store, TWO, {})
    third = put(store, ONE, {"n": 1}, expected=first)
    assert first < second < third
    assert newest(store) == third
    kept = store.get(TWO)
    assert kept is not None
    assert kept.generation == second


def test_a_change_needs_the_generation_it_expects(store: MetaStore) -> None:
    first = put(store, ONE, {"n": 1})
    with pytest.raises(Conflict, match="default/Service/one exists already"):
        put(store, ONE, {"n": 2})
    second = put(store, ONE, {"n": 2}, expected=first)
    with pytest.raises(Conflict, match=f"at generation {second}, not at generation {first}"):
        put(store, ONE, {"n": 3}, expected=first)
    with pytest.raises(Conflict, match="is gone, not at generation 5"):
        put(store, TWO, {}, expected=5)


def test_all_changes_of_a_commit_happen_or_none(store: MetaStore) -> None:
    first = put(store, ONE, {"n": 1})
    with pytest.raises(Conflict):
        store.commit([Change(TWO, {}, ABSENT), Change(ONE, {}, first + 9)], "ada", "both")
    assert store.get(TWO) is None
    assert newest(store) == first
    both = store.commit([Change(TWO, {}, ABSENT), Change(ONE, None, first)], "ada", "both")
    assert store.get(ONE) is None
    (commit,) = store.watch(first, 0.0)
    assert (commit.generation, commit.actor, commit.reason) == (both, "ada", "both")
    assert set(commit.keys) == {ONE, TWO}
    assert commit.at_us == 77


def test_what_was_deleted_can_be_made_again(store: MetaStore) -> None:
    first = put(store, ONE, {"n": 1})
    store.commit([Change(ONE, None, first)], "ada", "delete")
    put(store, ONE, {"n": 2})
    found = store.get(ONE)
    assert found is not None
    assert found.body == {"n": 2}


@pytest.mark.parametrize(
    ("changes", "actor", "reason"),
    [
        ([], "ada", "nothing"),
        ([Change(ONE, {}, ABSENT)], "", "no actor"),
        ([Change(ONE, {}, ABSENT)], "ada", ""),
        ([Change(ONE, {}, ABSENT), Change(ONE, None, ABSENT)], "ada", "twice"),
        ([Change(Key("a/b", "Service", "x"), {}, ABSENT)], "ada", "slash"),
        ([Change(Key("default", "", "x"), {}, ABSENT)], "ada", "no kind"),
        ([Change(ONE, {"x": float("nan")}, ABSENT)], "ada", "no JSON"),
        ([Change(ONE, {"x": {1, 2}}, ABSENT)], "ada", "no JSON"),
        ([Change(ONE, {"x": "\ud800"}, ABSENT)], "ada", "half a character"),
    ],
)
def test_what_is_no_commit(
    store: MetaStore, changes: list[Change], actor: str, reason: str
) -> None:
    with pytest.raises(Invalid):
        store.commit(changes, actor, reason)
    assert newest(store) == 0


def test_documents_have_a_limit(store: MetaStore) -> None:
    with pytest.raises(TooLarge):
        put(store, ONE, {"text": "x" * MAX_DOCUMENT_BYTES})
    put(store, ONE, {"text": "x" * (MAX_DOCUMENT_BYTES - 20)})


def test_lists_are_by_name_in_pages_and_tenants_never_mix(store: MetaStore) -> None:
    keys = [Key(tenant, "Service", f"s{n}") for tenant in ("acme", "default") for n in range(5)]
    keys.append(Key("default", "Model", "s1"))
    store.commit([Change(key, {"key": str(key)}, ABSENT) for key in keys], "ada", "all")
    page = store.list("default", "Service", limit=3)
    assert [one.key.name for one in page.documents] == ["s0", "s1", "s2"]
    rest = store.list("default", "Service", after=page.next_after, limit=3)
    assert [one.key.name for one in rest.documents] == ["s3", "s4"]
    assert rest.next_after == ""
    assert {one.key.tenant for one in store.list("acme", "Service").documents} == {"acme"}
    assert store.list("nobody", "Service").documents == []


def test_a_list_of_all_tenants_can_be_paged_too(store: MetaStore) -> None:
    keys = [Key(tenant, "Service", f"s{n}") for tenant in ("a", "a-b", "b") for n in range(3)]
    store.commit([Change(key, {}, ABSENT) for key in keys], "ada", "all")
    found: list[Key] = []
    after = ""
    while True:
        page = store.list("*", "Service", after=after, limit=2)
        found += [one.key for one in page.documents]
        after = page.next_after
        if not after:
            break
    assert sorted(found) == sorted(keys)
    assert len(found) == len(set(found))


def test_watching_waits_for_the_first_commit(store: MetaStore) -> None:
    before = put(store, ONE, {})
    assert list(store.watch(before, 0.02)) == []
    thread = threading.Thread(target=put, args=(store, TWO, {}))
    thread.start()
    (commit,) = store.watch(before, 10.0)
    thread.join()
    assert commit.keys == (TWO,)


def test_history_is_given_in_bounded_pieces(store: MetaStore) -> None:
    generation = ABSENT
    for number in range(MAX_COMMITS + 5):
        generation = put(store, ONE, {"n": number}, expected=generation)
    first = store.watch(0, 0.0)
    assert len(first) == MAX_COMMITS
    rest = store.watch(first[-1].generation, 0.0)
    assert [commit.generation for commit in rest] == list(range(MAX_COMMITS + 1, MAX_COMMITS + 6))
    assert newest(store) == MAX_COMMITS + 5


def count_up(store: MetaStore, times: int) -> None:
    for _ in range(times):
        while True:
            found = store.get(ONE)
            assert found is not None
            try:
                put(store, ONE, {"n": found.body["n"] + 1}, expected=found.generation)
            except Conflict:
                continue
            break


def test_threads_that_compare_and_swap_lose_nothing(store: MetaStore) -> None:
    put(store, ONE, {"n": 0})
    threads = [threading.Thread(target=count_up, args=(store, 25)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.get(ONE)
    assert found is not None
    assert found.body == {"n": 100}
    assert newest(store) == 101


# --- what only a store on disk can show ---------------------------------------------------------


def _count_up_in_a_process(path: Path, times: int) -> None:
    store = SqliteMetaStore(path)
    count_up(store, times)
    store.close()


def test_processes_that_compare_and_swap_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "meta.sqlite"
    store = SqliteMetaStore(path)
    put(store, ONE, {"n": 0})
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_count_up_in_a_process, args=(path, 20)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
        process.close()
    found = store.get(ONE)
    assert found is not None
    assert found.body == {"n": 40}
    store.close()


def test_another_process_is_seen_soon(tmp_path: Path) -> None:
    path = tmp_path / "meta.sqlite"
    mine, theirs = SqliteMetaStore(path), SqliteMetaStore(path)
    thread = threading.Timer(0.1, put, args=(theirs, ONE, {}))
    thread.start()
    started_s = time.monotonic()
    assert len(mine.watch(0, 10.0)) == 1
    assert time.monotonic() - started_s < 5
    thread.join()
    mine.close()
    theirs.close()


def test_all_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "meta.sqlite"
    store = SqliteMetaStore(path)
    epoch, generation = store.epoch, put(store, ONE, {"n": 1})
    store.close()
    again = SqliteMetaStore(path)
    assert again.epoch == epoch
    found = again.get(ONE)
    assert found is not None
    assert found.generation == generation
    again.close()
    other = SqliteMetaStore(tmp_path / "other.sqlite")
    assert other.epoch != epoch
    other.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b"this is no database at all, but long enough" * 100),
        lambda path: path.mkdir(),
    ],
)
def test_a_file_that_is_no_store_is_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "meta.sqlite"
    make(path)
    with pytest.raises(Unavailable, match=r"meta\.sqlite") as raised:
        SqliteMetaStore(path)
    assert raised.value.hint
