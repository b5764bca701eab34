"""Every ledger keeps the contract; and what shares of an authority promise beyond it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.adapters.ledger.memory import LEASE_US, Authority, MemoryLedger
from modelyard.gateway.ledger import SharedLedger
from modelyard.ports.ledger import Lease, Ledger, Pending
from modelyard.testing.ledgers import (
    MINUTE_US,
    NOW_US,
    USD,
    LedgerContract,
    admitted,
    ask,
    counter,
    denied,
)


class TestSharedAlone(LedgerContract):
    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Iterator[Ledger]:
        opened = SharedLedger(tmp_path / "ledger.bin", now_us=NOW_US)
        yield opened
        opened.close()


class TestSharedAmongSeveral(LedgerContract):
    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Iterator[Ledger]:
        path = tmp_path / "ledger.bin"
        opened = [SharedLedger(path, number, 3, now_us=NOW_US) for number in range(3)]
        yield opened[1]
        for one in opened:
            one.close()


class TestMemory(LedgerContract):
    @pytest.fixture
    def ledger(self) -> Ledger:
        return MemoryLedger()


class TestMemoryFarAway(LedgerContract):
    @pytest.fixture
    def ledger(self) -> Ledger:
        return MemoryLedger(latency_us=2_000)


def machines(count: int = 3) -> list[MemoryLedger]:
    authority = Authority()
    return [MemoryLedger(authority, f"m{number}") for number in range(count)]


def test_an_answer_that_is_on_its_way_is_waited_for_elsewhere() -> None:
    ledger = MemoryLedger(latency_us=2_000)
    one = (counter(requests_per_minute=100),)
    assert ledger.reserve(one, 0, 0, NOW_US) == Pending(0.002)
    assert isinstance(ledger.reserve(one, 0, 0, NOW_US + 2_000), Lease)
    assert isinstance(ledger.reserve(one, 0, 0, NOW_US + 2_001), Lease), "from the share"


def test_machines_together_admit_the_bound_and_no_more() -> None:
    ledgers, one = machines(), (counter(requests_per_minute=100),)
    count = 0
    for step in range(600):
        now_us = NOW_US + step * 50_000
        for ledger in ledgers[step % 2 :]:
            count += isinstance(ask(ledger, one, now_us), Lease)
            ledger.tick(now_us)
    assert count == 100, "unused shares came back"


def test_a_budget_is_shared_by_machines() -> None:
    ledgers, one = machines(), (counter(budget_nano_usd=USD),)
    leases = [ask(ledgers[n % 3], one, NOW_US, money=USD * 3 // 10) for n in range(64)]
    assert sum(isinstance(lease, Lease) for lease in leases) <= 3


def test_a_dead_machine_keeps_its_places_for_one_lease_and_its_requests_count() -> None:
    (dead, alive), one = machines(2), (counter(requests_per_minute=16, concurrency=1),)
    admitted(dead, one, NOW_US)
    assert denied(alive, one, NOW_US + LEASE_US - 1).bound == "concurrency"
    later_us = NOW_US + LEASE_US
    count = 0
    while isinstance(lease := ask(alive, one, later_us), Lease):
        alive.settle(lease, 0, 0, later_us)
        count += 1
    assert 16 - 1 - 15 // 8 <= count <= 15, "all of its share is taken as used"
    admitted(alive, one, later_us + MINUTE_US)


def test_a_machine_that_slept_uses_nothing_of_its_old_share() -> None:
    (asleep, awake), one = machines(2), (counter(requests_per_minute=16),)
    admitted(asleep, one, NOW_US)
    later_us = NOW_US + LEASE_US
    count = 0
    while isinstance(ask(awake, one, later_us), Lease):
        count += 1
    assert not isinstance(ask(asleep, one, later_us), Lease)
    assert count < 16


def test_open_requests_keep_their_places_as_long_as_their_machine_ticks() -> None:
    (mine, other), one = machines(2), (counter(concurrency=1),)
    lease = admitted(mine, one, NOW_US)
    for step in range(100):
        mine.tick(NOW_US + step * 100_000)
    now_us = NOW_US + 100 * 100_000
    denied(other, one, now_us)
    mine.settle(lease, 0, 0, now_us)
    mine.tick(now_us + LEASE_US)
    admitted(other, one, now_us + LEASE_US)
