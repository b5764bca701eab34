"""A lease and its fencing token: who was replaced cannot write, however late it wakes up."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.adapters.meta.sqlite import SqliteMetaStore
from modelyard.control.leases import Lease
from modelyard.errors import Conflict
from modelyard.ports.meta import ABSENT, Change, Key, MetaStore
from modelyard.testing.stores import MemoryMetaStore

WORK = Key("default", "Thing", "work")


class Clock:
    def __init__(self) -> None:
        self.now_us = 1_000_000

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture(params=["memory", "sqlite"])
def meta(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MetaStore]:
    if request.param == "memory":
        yield MemoryMetaStore()
        return
    store = SqliteMetaStore(tmp_path / "meta.sqlite")
    yield store
    store.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(meta: MetaStore, clock: Clock) -> Callable[[str], Lease]:
    return lambda holder: Lease(meta, "step", holder, duration_s=10, now_us=clock)


Make = Callable[[str], Lease]


def test_one_holder_at_a_time(lease: Make, clock: Clock) -> None:
    first, second = lease("a"), lease("b")
    assert first.acquire()
    assert not second.acquire()
    clock.now_us += 10_000_001
    assert second.acquire()
    assert second.token > first.token


def test_who_was_replaced_writes_nothing(lease: Make, clock: Clock, meta: MetaStore) -> None:
    asleep, awake = lease("a"), lease("b")
    asleep.acquire()
    clock.now_us += 10_000_001
    awake.acquire()
    clock.now_us = 0  # even where its clock says that the lease still holds
    with pytest.raises(Conflict) as raised:
        asleep.commit([Change(WORK, {"by": "a"}, ABSENT)], "a", "late work")
    assert raised.value.code == "lease_lost"
    assert meta.get(WORK) is None
    awake.commit([Change(WORK, {"by": "b"}, ABSENT)], "b", "work")
    assert meta.get(WORK).body == {"by": "b"}  # type: ignore[union-attr]


def test_a_new_process_of_the_same_holder_takes_over_at_once(lease: Make) -> None:
    before, after = lease("a"), lease("a")
    before.acquire()
    assert after.acquire()
    with pytest.raises(Conflict, match="has lost the lease step"):
        before.commit([Change(WORK, {}, ABSENT)], "a", "late work")


def test_work_renews(lease: Make, clock: Clock) -> None:
    first, second = lease("a"), lease("b")
    first.acquire()
    clock.now_us += 8_000_000
    first.commit([Change(WORK, {}, ABSENT)], "a", "work")
    clock.now_us += 8_000_000
    assert not second.acquire()


def test_a_conflict_of_the_work_does_not_lose_the_lease(lease: Make, meta: MetaStore) -> None:
    meta.commit([Change(WORK, {"n": 1}, ABSENT)], "somebody", "faster")
    first = lease("a")
    first.acquire()
    with pytest.raises(Conflict, match="default/Thing/work") as raised:
        first.commit([Change(WORK, {"n": 2}, ABSENT)], "a", "work")
    assert raised.value.code == "conflict"
    found = meta.get(WORK)
    assert found is not None
    first.commit([Change(WORK, {"n": 2}, found.generation)], "a", "work")
