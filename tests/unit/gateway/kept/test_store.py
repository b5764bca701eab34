"""Segments, ids and what becomes of them: torn writes, deletions, expiry, several processes."""

import contextlib
import multiprocessing
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.gateway.kept.entry import Entry, Owner, packed, unpacked
from modelyard.gateway.kept.segments import ROWS, SUFFIX, Life, Open, Segment, new_name
from modelyard.gateway.kept.store import MADE_US, KeptResponses, Place
from modelyard.gateway.kept.tokens import Address, Tokens

SECRET = b"s" * 32
NOW_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000
HOUR_S = 3600.0
fresh = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
ADDRESSES = st.builds(Address, st.binary(min_size=8, max_size=8), st.integers(0, ROWS - 1))


def entry(text: str = "hi", tenant: str = "t", **more: Any) -> Entry:
    return Entry(**{
        "tenant": tenant, "key_id": "k", "team": "", "person": "", "service": "bot",
        "created_at_us": NOW_US, "expires_at_us": NOW_US + HOUR_US,
        "input": msgspec.Raw(msgspec.json.encode(text)), **more,
    })  # fmt: skip


def store(folder: Path, limit_bytes: int = 1 << 30, **more: Any) -> KeptResponses:
    return KeptResponses(folder / "kept", SECRET, limit_bytes, **more)


def keep(one: KeptResponses, text: str = "hi", rest: bytes = b"{}", **more: Any) -> str:
    """Keep an entry; its id."""
    place = placed(one)
    assert one.put(place, entry(text, **more), rest)
    return place.id


def placed(one: KeptResponses, now_us: int = NOW_US) -> Place:
    place = one.place("t", HOUR_S, now_us)
    assert place is not None
    return place


def text_of(one: KeptResponses, id: str, now_us: int = NOW_US, tenant: str = "t") -> str | None:
    with one.reading() as reading:
        found = reading.find(id, tenant, now_us)
        return None if found is None else msgspec.json.decode(found.entry.input)


def delete(one: KeptResponses, id: str) -> None:
    with one.reading(deletes=True) as reading:
        found = reading.find(id, "t", NOW_US)
        assert found is not None
        reading.delete(found)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "kept").glob(f"*{SUFFIX}"))


# --- ids ----------------------------------------------------------------------------------------


@given(ADDRESSES, st.text(max_size=20))
def test_an_id_says_where_its_entry_lies(address: Address, tenant: str) -> None:
    tokens = Tokens(SECRET)
    id = tokens.id_of(address, tenant)
    assert len(id) == 57
    assert tokens.read(id, tenant) == address


@given(ADDRESSES, st.integers(0, 207), st.text(max_size=20), st.binary(min_size=1))
def test_an_id_that_was_not_given_out_is_none(
    address: Address, bit: int, other: str, secret: bytes
) -> None:
    tokens = Tokens(SECRET)
    id = tokens.id_of(address, "t")
    changed = int(id[5:], 16) ^ (1 << bit)
    assert tokens.read(f"resp_{changed:052x}", "t") is None
    assert other == "t" or tokens.read(id, other) is None
    assert secret == SECRET or Tokens(secret).read(id, "t") is None


@given(st.text() | st.from_regex(r"resp_[0-9a-fA-F]{50,54}", fullmatch=True))
def test_any_text_is_read(text: str) -> None:
    assert Tokens(SECRET).read(text, "t") is None


# --- entries ------------------------------------------------------------------------------------


@fresh
@given(st.lists(st.tuples(st.text(max_size=300), st.binary(max_size=300)), max_size=20))
def test_what_is_kept_is_found(tmp_path: Path, told: list[tuple[str, bytes]]) -> None:
    one = store(tmp_path)
    ids = [keep(one, text, rest) for text, rest in told]
    other = store(tmp_path)
    with other.reading() as reading:
        for id, (text, rest) in zip(ids, told, strict=True):
            found = reading.find(id, "t", NOW_US)
            assert found is not None
            assert found.entry == entry(text)
            assert reading.rest(found) == rest


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    one = store(tmp_path)
    assert not (tmp_path / "kept").exists()
    keep(one)
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in files(tmp_path)] == [0o600]


def test_a_place_without_an_entry_is_nothing(tmp_path: Path) -> None:
    one = store(tmp_path)
    early, late = placed(one), placed(one)
    assert one.put(late, entry("late"), b"")
    assert text_of(one, early.id) is None
    assert one.put(early, entry("early"), b"")
    assert (text_of(one, early.id), text_of(one, late.id)) == ("early", "late")


def test_an_answer_that_took_long_goes_where_its_id_says(tmp_path: Path) -> None:
    one = store(tmp_path, segment_bytes=200_000)
    early = placed(one)
    ids = [keep(one, "x" * 60_000) for _ in range(6)]
    assert len(files(tmp_path)) > 1
    assert one.put(early, entry("early"), b"")
    assert text_of(one, early.id) == "early"
    assert all(text_of(one, id) == "x" * 60_000 for id in ids)


def test_a_segment_has_so_many_rows(tmp_path: Path) -> None:
    one = store(tmp_path)
    places = [placed(one) for _ in range(ROWS + 1)]
    assert len({place.id for place in places}) == ROWS + 1
    assert places[ROWS - 1].segment is not places[ROWS].segment
    assert len(files(tmp_path)) == 2


def test_what_is_kept_for_different_times_lies_apart(tmp_path: Path) -> None:
    one = store(tmp_path)
    assert one.place("t", 60.0, NOW_US)
    assert one.place("t", 3600.0, NOW_US)
    assert one.place("t", 60.0, NOW_US)
    assert len(files(tmp_path)) == 2


# --- what is not there --------------------------------------------------------------------------


def test_tenants_are_apart_and_time_runs_out(tmp_path: Path) -> None:
    one = store(tmp_path)
    id = keep(one)
    stolen = Tokens(SECRET).read(id, "t")
    assert stolen is not None
    assert text_of(one, id) == "hi"
    assert text_of(one, id, tenant="u") is None
    assert text_of(one, Tokens(SECRET).id_of(stolen, "u"), tenant="u") is None
    assert text_of(one, id, NOW_US + HOUR_US - 1) == "hi"
    assert text_of(one, id, NOW_US + HOUR_US) is None


@fresh
@given(st.integers(0, 4000), st.data())
def test_a_torn_write_leaves_nothing_or_what_was_written(
    tmp_path: Path, kept: int, data: st.DataObject
) -> None:
    """A process that is killed in between has written the first so many bytes of what it wrote
    last; a machine that lost power, any of its blocks."""
    one = store(tmp_path)
    before = keep(one, "before")
    file = placed(one).segment._path
    size = file.stat().st_size
    id = keep(one, "x" * 3000, b"y" * 500)
    whole = file.read_bytes()
    torn = bytearray(whole[: size + kept])
    if data.draw(st.booleans()):
        at = data.draw(st.integers(size, len(whole) - 1))
        torn = bytearray(whole)
        torn[at] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(torn)
    assert text_of(one, before) == "before"
    with one.reading() as reading:
        found = reading.find(id, "t", NOW_US)
        assert found is None or found.entry == entry("x" * 3000)
        rest = reading.rest(found) if found is not None else None
    assert rest in (None, b"y" * 500)
    assert (found is not None and rest is not None) == (bytes(torn) == whole)


@fresh
@given(st.binary(min_size=24, max_size=24))
def test_a_row_of_rubbish_is_no_entry(tmp_path: Path, row: bytes) -> None:
    one = store(tmp_path)
    place = placed(one)
    assert one.put(place, entry(), b"{}")
    with place.segment._path.open("r+b") as segment:
        segment.seek(64)
        segment.write(row)
    assert text_of(one, place.id) is None


def test_what_is_deleted_is_gone_from_the_disk(tmp_path: Path) -> None:
    one, other = store(tmp_path), store(tmp_path)
    big = "secret" * 500_000
    id, next_id = keep(one, big, b"shell" * 100), keep(one, "next")
    delete(other, id)
    assert text_of(one, id) is None
    assert text_of(one, next_id) == "next"
    data = files(tmp_path)[0].read_bytes()
    assert b"secret" not in data
    assert b"shell" not in data
    later = keep(one, "later")
    assert text_of(other, later) == "later"


def test_a_segment_that_is_gone_takes_nothing_with_it(tmp_path: Path) -> None:
    one = store(tmp_path)
    id = keep(one)
    files(tmp_path)[0].unlink()
    assert text_of(one, id) is None
    again = keep(one, "again")
    assert text_of(one, again) == "again"


def test_an_entry_of_another_version_is_not_there() -> None:
    assert unpacked(b'{"tenant":"t"}') is None
    assert unpacked(b"\xff") is None
    newer = packed(entry())[:-1] + b',"unknown":1}'
    assert unpacked(newer) == entry()


# --- leaving ------------------------------------------------------------------------------------


def test_a_segment_goes_when_its_last_entry_has_expired(tmp_path: Path) -> None:
    one = store(tmp_path)
    keep(one)
    last_us = NOW_US + HOUR_US // 16 - 1
    place = placed(one, last_us)
    assert one.put(place, entry(created_at_us=last_us, expires_at_us=last_us + HOUR_US), b"")
    assert len(files(tmp_path)) == 1
    assert one.sweep(last_us + HOUR_US - 1) == 0
    assert text_of(one, place.id, last_us + HOUR_US - 1) == "hi"
    assert one.sweep(last_us + HOUR_US + 1) == 1
    assert files(tmp_path) == []
    assert placed(one, last_us + 1).segment is not place.segment


def test_the_oldest_go_first_when_there_is_no_room(tmp_path: Path) -> None:
    one = store(tmp_path, 1_200_000, segment_bytes=200_000)
    ids = []
    for turn in range(20):
        place = one.place("t", HOUR_S, NOW_US + turn * 1000)
        assert place is not None
        assert one.put(place, entry("x" * 60_000), b"")
        ids.append(place.id)
    assert one.sweep(NOW_US) > 0
    there = [text_of(one, id) is not None for id in ids]
    assert there == sorted(there)
    assert any(there)
    assert not all(there)
    assert sum(file.stat().st_size for file in files(tmp_path)) <= 1_200_000


def test_a_segment_that_was_never_finished_goes(tmp_path: Path) -> None:
    one = store(tmp_path)
    keep(one)
    (whole,) = files(tmp_path)
    torn = whole.with_name(new_name(NOW_US, os.urandom(2)).hex() + SUFFIX)
    torn.write_bytes(whole.read_bytes()[:20])
    stranger = whole.with_name(f"notes{SUFFIX}")
    stranger.write_bytes(b"x")
    assert one.sweep(NOW_US + MADE_US // 2) == 0
    assert one.sweep(NOW_US + 2 * MADE_US) == 1
    assert files(tmp_path) == sorted([whole, stranger])


def test_it_is_swept_after_a_new_segment_and_now_and_then(tmp_path: Path) -> None:
    one = store(tmp_path)
    assert one.is_due(5.0)
    assert not one.is_due(6.0)
    keep(one)
    assert one.is_due(7.0)
    assert not one.is_due(60.0)
    assert one.is_due(67.0)
    assert store(tmp_path / "nothing").sweep(NOW_US) == 0


def test_a_name_that_is_taken_is_an_error_and_harms_nothing(tmp_path: Path) -> None:
    name = new_name(NOW_US, b"12")
    first = Segment(tmp_path, name, Life(NOW_US + 1, NOW_US + 2))
    with pytest.raises(FileExistsError):
        Segment(tmp_path, name, Life(NOW_US + 1, NOW_US + 2))
    first.write(first.give(), b"main", b"rest")
    with Open(tmp_path, name) as reading:
        row = reading.row(0)
        assert row is not None
        assert (reading.main(row), reading.rest(row)) == (b"main", b"rest")
        assert reading.row(1) is None
        assert reading.row(ROWS + 5) is None


def test_a_process_opens_so_many_and_closes_what_nobody_writes(tmp_path: Path) -> None:
    one = store(tmp_path)
    folder = Path("/proc/self/fd")
    before = len(list(folder.iterdir())) if folder.exists() else 0
    places = [one.place("t", 60.0 + turn, NOW_US) for turn in range(200)]
    assert all(places)
    del places
    if folder.exists():
        assert len(list(folder.iterdir())) - before <= 64


# --- several processes --------------------------------------------------------------------------


def _writes(folder: Path, number: int, count: int, told: Any) -> None:
    one = store(folder, segment_bytes=150_000)
    for turn in range(count):
        text = f"{number}-{turn}-" + "x" * 2000
        told.put((keep(one, text), text))
    told.put(None)
    told.close()
    told.join_thread()


def test_several_processes_write_and_all_read(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    writers = [context.Process(target=_writes, args=(tmp_path, n, 80, told)) for n in range(3)]
    for writer in writers:
        writer.start()
    one, seen, open_writers = store(tmp_path), 0, 3
    with contextlib.closing(told):
        while open_writers:
            said = told.get(timeout=60)
            if said is None:
                open_writers -= 1
                continue
            id, text = said
            assert text_of(one, id) == text
            if seen % 3 == 0:
                delete(one, id)
                assert text_of(one, id) is None
            seen += 1
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    assert seen == 240
    assert len(files(tmp_path)) > 3


# --- whose --------------------------------------------------------------------------------------


@given(st.sampled_from(["", "ada", "grace"]), st.sampled_from(["", "ada", "grace"]),
       st.sampled_from(["k", "l"]), st.sampled_from(["t", "u"]))  # fmt: skip
def test_an_answer_is_a_persons_or_a_keys(
    kept_for: str, person: str, key_id: str, tenant: str
) -> None:
    allowed = Owner(tenant, key_id, person).may_have(entry(person=kept_for))
    same_person = person == kept_for
    assert allowed == (tenant == "t" and same_person and (person != "" or key_id == "k"))
