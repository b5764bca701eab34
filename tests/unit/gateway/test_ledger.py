"""The shared ledger: what survives kills, restarts and freezes, with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.errors import Invalid, Unavailable
from modelyard.gateway.ledger import NOTHING, SharedLedger, Watch
from modelyard.gateway.ledgerfile import LedgerFile
from modelyard.lib import clock
from modelyard.ports.ledger import Denied, Lease, Pending
from modelyard.testing.ledgers import (
    MINUTE_US,
    NOW_US,
    SECOND_US,
    USD,
    admitted,
    ask,
    counter,
    denied,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.bin"


# --- one process after the other ------------------------------------------------------------------


def test_windows_and_budgets_survive_a_restart(path: Path) -> None:
    one = (counter(requests_per_minute=3, budget_nano_usd=USD, budget_per="day"),)
    before = SharedLedger(path, now_us=NOW_US)
    before.settle(admitted(before, one, NOW_US, money=USD // 2), 0, USD // 2, NOW_US)
    admitted(before, one, NOW_US, money=USD // 4)
    before.close()
    after = SharedLedger(path, now_us=NOW_US)
    assert after.standing(one, NOW_US).limit_requests == 0, "not asked for yet"
    admitted(after, one, NOW_US, money=USD // 2)
    assert after.standing(one, NOW_US).remaining_requests == 0
    assert denied(after, one, NOW_US, money=0).bound == "requests"
    assert denied(after, one, NOW_US + MINUTE_US, money=1).bound == "budget"
    after.close()


def test_what_a_dead_process_held_is_settled_with_what_it_reserved(path: Path) -> None:
    one = (counter(concurrency=2, budget_nano_usd=USD), counter("b", tokens_per_minute=100))
    dead, alive = (SharedLedger(path, number, 2, now_us=NOW_US) for number in range(2))
    slots = [admitted(dead, one, NOW_US, 50, USD // 4).pack() for _ in range(2)]
    assert all(0 < len(slot) <= 12 + 13 * len(one) for slot in slots)
    assert denied(alive, one, NOW_US, 0, 0).bound == "concurrency"
    watch = Watch(path)
    for slot in slots:
        watch.settle_packed(slot, NOW_US)
    refusal = denied(alive, one[:1], NOW_US, 0, USD * 3 // 4)
    assert (refusal.bound, refusal.gone, refusal.remaining) == ("budget", True, USD // 2)
    admitted(alive, one, NOW_US, 0, USD // 2)
    for ledger in (dead, alive, watch):
        ledger.close()


def test_packed_leases_that_are_damaged_are_left_alone(path: Path) -> None:
    one = (counter(concurrency=1, budget_nano_usd=USD),)
    ledger, watch = SharedLedger(path, now_us=NOW_US), Watch(path)
    packed = admitted(ledger, one, NOW_US, money=USD // 2).pack()
    damaged = [b"", packed[:-1], b"\x09" + packed[1:], packed[:1] + b"\xff" + packed[2:],
               packed[:12] + b"\xff" + packed[13:], packed[:16] + b"\0" + packed[17:]]  # fmt: skip
    for data in damaged:
        watch.settle_packed(data, NOW_US)
    assert denied(ledger, one, NOW_US).bound == "concurrency"
    ledger.close()
    watch.close()


def test_what_was_reserved_and_written_into_no_slot_is_forgotten_at_the_start(path: Path) -> None:
    one = (counter(concurrency=1, budget_nano_usd=USD),)
    dead, other = (SharedLedger(path, number, 2, now_us=NOW_US) for number in range(2))
    admitted(dead, one, NOW_US, money=USD)
    denied(other, one, NOW_US, money=1)
    again = SharedLedger(path, 0, 2, now_us=NOW_US)
    admitted(other, one, NOW_US, money=USD)
    for ledger in (dead, other, again):
        ledger.close()


def test_fewer_processes_than_before_know_what_was_spent(path: Path) -> None:
    one = (counter(budget_nano_usd=USD),)
    several = [SharedLedger(path, number, 3, now_us=NOW_US) for number in range(3)]
    for ledger in several:
        ledger.settle(admitted(ledger, one, NOW_US, money=USD // 4), 0, USD // 4, NOW_US)
        ledger.close()
    alone = SharedLedger(path, now_us=NOW_US)
    assert denied(alone, one, NOW_US, money=USD // 2).remaining == USD // 4
    alone.close()


def test_nothing_counted_costs_nothing(path: Path) -> None:
    ledger = SharedLedger(path, now_us=NOW_US)
    assert ledger.reserve((), 5, None, NOW_US) is NOTHING
    ledger.settle(NOTHING, 5, 5, NOW_US)
    assert NOTHING.pack() == b""
    window_only = admitted(ledger, (counter(requests_per_minute=1),), NOW_US)
    assert window_only.pack() == b"", "a window needs nobody to settle it"
    ledger.close()


# --- rows -----------------------------------------------------------------------------------------


def test_a_full_table_refuses_and_idle_rows_are_used_again(path: Path) -> None:
    ledger, other = (SharedLedger(path, n, 2, now_us=NOW_US, rows=4) for n in range(2))
    sets = [(counter(str(number), requests_per_minute=1),) for number in range(6)]
    kept = (counter("kept", budget_nano_usd=USD),)
    ledger.settle(admitted(ledger, kept, NOW_US, money=5), 0, 5, NOW_US)
    for one in sets[:3]:
        admitted(ledger, one, NOW_US)
    with pytest.raises(Unavailable, match="room to count key 3") as raised:
        ledger.reserve(sets[3], 0, 0, NOW_US)
    assert (raised.value.code, bool(raised.value.hint)) == ("ledger_full", True)
    assert denied(other, sets[0], NOW_US).bound == "requests"
    later_us = NOW_US + MINUTE_US
    for one in sets[3:]:
        admitted(other, one, later_us)
        assert denied(ledger, one, later_us).bound == "requests"
    with pytest.raises(Unavailable):
        ledger.reserve(sets[0], 0, 0, later_us)
    assert denied(ledger, kept, later_us, money=USD).remaining == USD - 5
    for one in (ledger, other):
        one.close()


def test_counters_of_one_request_do_not_take_each_others_rows(path: Path) -> None:
    ledger = SharedLedger(path, now_us=NOW_US, rows=2)
    admitted(ledger, (counter("a", requests_per_minute=9), counter("b", requests_per_minute=9)),
             NOW_US)  # fmt: skip
    later_us = NOW_US + MINUTE_US
    both = (counter("c", requests_per_minute=1), counter("d", requests_per_minute=1))
    admitted(ledger, both, later_us)
    for one in both:
        denied(ledger, (one,), later_us)
    ledger.close()


def test_tokens_of_a_lease_whose_row_went_to_another_are_not_counted_there(path: Path) -> None:
    ledger = SharedLedger(path, now_us=NOW_US, rows=1)
    lease = admitted(ledger, (counter("a", tokens_per_minute=100),), NOW_US, 50)
    other = (counter("b", tokens_per_minute=100),)
    admitted(ledger, other, NOW_US + MINUTE_US, 50)
    ledger.settle(lease, 5_000, 0, NOW_US + MINUTE_US)
    assert ledger.standing(other, NOW_US + MINUTE_US).remaining_tokens == 50
    ledger.close()


def test_a_larger_table_keeps_what_is_known(path: Path) -> None:
    one = (counter(requests_per_minute=1),)
    ledger = SharedLedger(path, now_us=NOW_US, rows=1)
    admitted(ledger, one, NOW_US)
    ledger.close()
    larger = SharedLedger(path, now_us=NOW_US, rows=3)
    denied(larger, one, NOW_US)
    admitted(larger, (counter("b", requests_per_minute=1),), NOW_US)
    larger.close()


def test_a_file_that_is_no_ledger_is_not_thrown_away(path: Path) -> None:
    path.write_bytes(b"MYLEDGER" + b"\x07" + bytes(5000))
    with pytest.raises(Unavailable, match="no ledger of this version") as raised:
        SharedLedger(path, now_us=NOW_US)
    assert "move it away" in raised.value.hint
    assert path.read_bytes().startswith(b"MYLEDGER\x07")


def test_processes_are_counted_from_0_to_64(path: Path) -> None:
    for process, processes in ((0, 65), (2, 2), (-1, 1)):
        with pytest.raises(Invalid):
            SharedLedger(path, process, processes, now_us=NOW_US)


# --- the lock -------------------------------------------------------------------------------------


def test_who_finds_the_lock_taken_is_told_to_come_back(path: Path) -> None:
    one = (counter(tokens_per_minute=100, concurrency=1, budget_nano_usd=USD),)
    ledger, other = (SharedLedger(path, number, 2, now_us=NOW_US) for number in range(2))
    lease = admitted(ledger, one, NOW_US, 100, USD)
    with LedgerFile(path).held(1):
        assert ledger.reserve(one, 0, 0, NOW_US) == Pending(0.001)
        ledger.settle(lease, 10, USD // 2, NOW_US)  # never waits
        ledger.tick(NOW_US)
    assert denied(other, one, NOW_US, 50).bound == "tokens"
    ledger.tick(NOW_US)
    admitted(other, one, NOW_US, 90, USD // 2)
    for each in (ledger, other):
        each.close()


def test_a_holder_that_died_in_the_middle_leaves_right_totals(path: Path) -> None:
    one = (counter(requests_per_minute=5),)
    ledger = SharedLedger(path, 0, 2, now_us=NOW_US)
    admitted(ledger, one, NOW_US)
    torn = LedgerFile(path)
    assert torn.enter(1)
    at = torn.at(0)
    torn.words[at + 14 + (NOW_US // 500_000) % 121] += 1  # killed before the total was written
    torn.close()
    admitted(ledger, one, NOW_US)
    assert ledger.standing(one, NOW_US).remaining_requests == 2
    ledger.close()


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["ask", "ask", "settle", "pass", "kill"]),
            st.integers(0, 2), st.integers(0, 90),
        ),
        max_size=40,
    )
)  # fmt: skip
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_over_three_processes(path: Path, steps: list[tuple[str, int, int]]) -> None:
    path.unlink(missing_ok=True)
    one = (counter(requests_per_minute=6, concurrency=3, budget_nano_usd=1000, budget_per="total"),)
    ledgers = [SharedLedger(path, n, 3, now_us=NOW_US, rows=2) for n in range(3)]
    watch = Watch(path)
    now_us, spent = NOW_US, 0
    times: list[int] = []
    leases: list[tuple[int, Lease]] = []
    for what, process, amount in steps:
        if what == "ask":
            answer = ask(ledgers[process], one, now_us, money=amount)
            if isinstance(answer, Lease):
                leases.append((process, answer))
                times.append(now_us)
        elif what == "settle" and leases:
            owner, lease = leases.pop(0)
            for _ in range(2):
                ledgers[owner].settle(lease, 0, min(amount, lease.money_nano_usd), now_us)
            spent += min(amount, lease.money_nano_usd)
        elif what == "pass":
            now_us += amount * SECOND_US
        elif what == "kill":
            for lease in [lease for owner, lease in leases if owner == process]:
                watch.settle_packed(lease.pack(), now_us)
                spent += lease.money_nano_usd
            leases = [both for both in leases if both[0] != process]
            ledgers[process].close()
            ledgers[process] = SharedLedger(path, process, 3, now_us=now_us)
        assert len(leases) <= 3
        assert spent + sum(lease.money_nano_usd for _, lease in leases) <= 1000
        assert sum(now_us - 60 * SECOND_US < at for at in times) <= 6
    for owner, lease in leases:
        ledgers[owner].settle(lease, 0, 0, now_us)
    left = ask(ledgers[0], one, now_us + MINUTE_US, money=1000 - spent)
    assert isinstance(left, Lease), "no place, no request and no money was lost"
    for each in (*ledgers, watch):
        each.close()


# --- real processes -------------------------------------------------------------------------------

WORK = """
import sys, time
from pathlib import Path
from modelyard.gateway.ledger import SharedLedger
from modelyard.lib import clock
from modelyard.ports.ledger import Lease, Pending
from modelyard.testing.ledgers import counter

path, process, asks, money, bounds = sys.argv[1], *map(int, sys.argv[2:5]), eval(sys.argv[5])
ledger = SharedLedger(Path(path), process, 3, now_us=clock.now_us())
one = (counter("all", **bounds),)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(asks):
    answer = Pending(0)
    while isinstance(answer, Pending):
        time.sleep(answer.retry_in_s)
        answer = ledger.reserve(one, 0, money, clock.now_us())
    print("admitted" if isinstance(answer, Lease) else "denied", flush=True)
    time.sleep(0.001)
"""

Worker = "subprocess.Popen[str]"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def one(process: int, asks: int, money: int = 0, code: str = WORK, **bounds: int) -> Worker:
        child = subprocess.Popen(
            [sys.executable, "-c", code, path, str(process), str(asks), str(money), repr(bounds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield one
    for child in started:
        child.kill()
        child.communicate()


def go(child: "subprocess.Popen[str]") -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def admissions(child: "subprocess.Popen[str]") -> int:
    return child.communicate(timeout=60)[0].count("admitted")


def test_three_processes_admit_a_hundred_of_a_thousand_and_one_is_killed(
    path: Path, start: Start
) -> None:
    bounds = {"requests_per_minute": 100}
    children = [start(process, 340, **bounds) for process in range(3)]
    for child in children:
        go(child)
    victim = children[1]
    assert victim.stdout is not None
    seen = [victim.stdout.readline() for _ in range(10)]
    victim.kill()
    count = seen.count("admitted\n") + admissions(victim)
    again = start(1, 342, **bounds)
    go(again)
    count += sum(admissions(child) for child in (children[0], children[2], again))
    # The killed one may have been admitted once without having come to say so.
    assert 99 <= count <= 100
    ledger = SharedLedger(path, 0, 3, now_us=clock.now_us())
    assert denied(ledger, (counter("all", **bounds),), clock.now_us()).bound == "requests"
    ledger.close()


def test_many_first_requests_on_an_empty_budget(start: Start) -> None:
    children = [
        start(process, asks, USD * 3 // 10, budget_nano_usd=USD)
        for process, asks in enumerate((22, 21, 21))
    ]
    for child in children:
        go(child)
    assert sum(admissions(child) for child in children) == 3


RACE = WORK.replace("    time.sleep(0.001)\n", "").replace('"denied", flush=True', '"denied"')


def test_no_update_is_lost_when_processes_race(path: Path, start: Start) -> None:
    children = [start(n, 8_000, code=RACE, requests_per_minute=15_000) for n in range(3)]
    for child in children:
        go(child)
    assert sum(admissions(child) for child in children) == 15_000


FREEZE = """
import os, signal, sys
from pathlib import Path
from modelyard.gateway.ledger import SharedLedger
from modelyard.lib import clock

ledger = SharedLedger(Path(sys.argv[1]), int(sys.argv[2]), 3, now_us=clock.now_us())
print("ready", flush=True)
with ledger._file.held(int(sys.argv[2])):
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_frozen_holder_stops_nobody_and_is_named(path: Path, start: Start) -> None:
    now_us = clock.now_us()
    ledger, watch = SharedLedger(path, 0, 3, now_us=now_us), Watch(path)
    one = (counter(requests_per_minute=10),)
    admitted(ledger, one, now_us)
    assert watch.stuck(now_us) is None
    frozen = start(2, 0, code=FREEZE)
    os.waitid(os.P_PID, frozen.pid, os.WSTOPPED | os.WNOWAIT)
    began_s = time.monotonic()
    assert [ledger.reserve(one, 0, 0, now_us) for _ in range(100)] == [Pending(0.001)] * 100
    assert time.monotonic() - began_s < 1
    seen = [watch.stuck(now_us + n * SECOND_US) for n in (0, 1, 2, 3)]
    assert seen == [None, None, None, 2]
    frozen.send_signal(signal.SIGKILL)
    frozen.wait()
    assert watch.stuck(now_us + 4 * SECOND_US) is None, "the kernel gave the lock back"
    admitted(ledger, one, now_us)
    assert watch.stuck(now_us + 5 * SECOND_US) is None
    ledger.close()
    watch.close()


def test_denials_name_the_worst_counter(path: Path) -> None:
    ledger = SharedLedger(path, now_us=NOW_US)
    both = (counter("a", requests_per_minute=1), counter("b", budget_nano_usd=5))
    ledger.settle(admitted(ledger, both, NOW_US, money=5), 0, 5, NOW_US)
    answer = ledger.reserve(both, 0, 5, NOW_US)
    assert isinstance(answer, Denied)
    assert (answer.bound, answer.gone) == ("budget", True)
    ledger.close()
