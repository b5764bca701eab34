"""The ledger of one machine: exact over all its gateway processes, through one mapped file.

With one gateway process nothing is locked. With several, whoever reserves takes a kernel file
lock, tried and never waited for: the event loop goes on, and the answer is `Pending`. Settling
needs no lock for places and money, since every process writes a column of its own; only tokens
that were not used are given back under it, and put off when it is taken.
"""

from pathlib import Path

from modelyard.domain.limits import rows, worst
from modelyard.domain.limits.refusals import refusal
from modelyard.domain.limits.rows import LARGEST, PROCESSES, Row
from modelyard.domain.limits.window import BUCKET_US
from modelyard.errors import Invalid, Unavailable
from modelyard.gateway.ledgerfile import GENERATION, ROWS, LedgerFile, counter_hash
from modelyard.gateway.ledgerplan import MONEY, PACKED, PACKED_ROW, PACKED_VERSION, PLACE, FilePlan
from modelyard.ports.ledger import Counter, Denied, Lease, Pending, Standing

STUCK_US = 2_000_000
MOST_PLANS = 5_000
"""Tuples of counters whose rows are remembered; beyond that all are looked up again."""
BUSY = Pending(0.001)
FULL_US = 1_000_000
"""A full table is not searched again for so long."""

_NO_PLAN = FilePlan((), (), 0, False, False, 0, b"")
NOTHING = Lease(_NO_PLAN, 0, 0, 0, settled=True)
"""The lease of a request that nothing counts."""


class SharedLedger:
    """Implements Ledger for one gateway process of a machine."""

    def __init__(
        self, path: Path, process: int = 0, processes: int = 1, *, now_us: int, rows: int = ROWS
    ) -> None:
        """Open as gateway process `process`, counted from 0, of `processes`.

        What a former process of that number held open is forgotten: its slots must have been
        settled before. Raises Unavailable when the file cannot be used, Invalid for more than 64
        processes.
        """
        if not 0 <= process < processes <= PROCESSES:
            raise Invalid(
                f"gateway process {process} of {processes}",
                hint=f"at most {PROCESSES} processes share a ledger",
            )
        self._file = LedgerFile(path, rows)
        self._words = self._file.words
        self._process = process
        self._processes = processes
        self._several = processes > 1
        self._plans: dict[int, FilePlan] = {}
        self._owed: list[tuple[Lease, int, int]] = []
        self._full_until_us = 0
        self._begin(now_us)

    def _begin(self, now_us: int) -> None:
        words = self._words
        with self._file.held(self._process):
            self._file.repair()
            for at in self._file.used():
                rows.forget(words, at, self._process)
                rows.fold(words, at, self._process, self._processes, now_us)

    # --- reserve ----------------------------------------------------------------------------

    def reserve(
        self, counters: tuple[Counter, ...], tokens: int, money_nano_usd: int | None, now_us: int
    ) -> Lease | Denied | Pending:
        """See the port."""
        if not counters:
            return NOTHING
        if not self._several:
            return self._reserve(counters, tokens, money_nano_usd, now_us)
        if not self._file.enter(self._process):
            return BUSY
        try:
            if self._owed:
                self._pay()
            return self._reserve(counters, tokens, money_nano_usd, now_us)
        finally:
            self._file.leave()

    def _reserve(
        self, counters: tuple[Counter, ...], tokens: int, money: int | None, now_us: int
    ) -> Lease | Denied:
        words = self._words
        plan = self._plans.get(id(counters))
        if plan is None or plan.generation != words[GENERATION]:
            plan = self._plan(counters, now_us)
        bucket = now_us // BUCKET_US
        for one in plan.rows:
            if not rows.admits(words, one, tokens, money, bucket, now_us):
                return self._denied(plan, tokens, money, now_us)
        money = money or 0
        for one in plan.rows:
            rows.take(words, one, tokens, money)
        return Lease(plan, tokens, money, bucket)

    def _denied(self, plan: FilePlan, tokens: int, money: int | None, now_us: int) -> Denied:
        found: list[Denied] = []
        for one in plan.rows:
            rows.admits(self._words, one, tokens, money, now_us // BUCKET_US, now_us)
            denied = refusal(self._words, one, tokens, money, now_us)
            if denied is not None:
                found.append(denied)
        return worst(found)

    # --- settle -----------------------------------------------------------------------------

    def settle(self, lease: Lease, tokens: int, money_nano_usd: int, now_us: int) -> None:
        """See the port."""
        if lease.settled:
            return
        lease.settled = True
        plan = lease.plan
        assert type(plan) is FilePlan
        if plan.holds:
            spent = min(max(0, money_nano_usd), LARGEST)
            for one in plan.rows:
                if one.holds:
                    rows.release(self._words, one, lease.money_nano_usd, spent, now_us)
        if plan.counts_tokens and tokens != lease.tokens:
            self._correct(lease, min(max(0, tokens), LARGEST), now_us)

    def _correct(self, lease: Lease, tokens: int, now_us: int) -> None:
        if not self._several:
            self._count(lease, tokens, now_us)
            return
        self._owed.append((lease, tokens, now_us))
        self.tick(now_us)

    def tick(self, now_us: int) -> None:
        """See the port: tokens that could not be given back when their requests ended."""
        if self._owed and self._file.enter(self._process):
            try:
                self._pay()
            finally:
                self._file.leave()

    def _pay(self) -> None:
        owed, self._owed = self._owed, []
        for lease, tokens, now_us in owed:
            self._count(lease, tokens, now_us)

    def _count(self, lease: Lease, tokens: int, now_us: int) -> None:
        plan = lease.plan
        assert type(plan) is FilePlan
        moved = plan.generation != self._words[GENERATION]
        for one in plan.rows:
            if one.tokens and not (moved and self._is_lost(one)):
                rows.correct(self._words, one, lease.bucket, lease.tokens, tokens, now_us)

    def _is_lost(self, one: Row) -> bool:
        """Whether the row belongs to another counter by now: its window had drained."""
        return self._file.owner(self._file.number(one.at)) != counter_hash(one.counter.id)

    # --- what else is asked -----------------------------------------------------------------

    def standing(self, counters: tuple[Counter, ...], now_us: int) -> Standing:
        """See the port. Without a row for the counters yet: unbounded."""
        plan = self._plans.get(id(counters))
        if plan is None or plan.generation != self._words[GENERATION]:
            return Standing()
        return rows.standing(self._words, plan.rows, now_us // BUCKET_US)

    def sync(self) -> None:
        """Write what changed to disk; blocks, so call it from a thread."""
        self._file.sync()

    def close(self) -> None:
        """See the port."""
        self.tick(0)
        self._plans.clear()
        self._file.close()

    # --- rows -------------------------------------------------------------------------------

    def _plan(self, counters: tuple[Counter, ...], now_us: int) -> FilePlan:
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        handles = self._rows(counters, now_us)
        holding = [one for one in handles if one.holds]
        # The plan keeps the tuple, so that its id stays its own.
        plan = self._plans[id(counters)] = FilePlan(
            counters=counters,
            rows=handles,
            generation=self._words[GENERATION],
            counts_tokens=any(one.tokens for one in handles),
            holds=bool(holding),
            process=self._process,
            packed=b"".join(self._packed(one) for one in holding),
        )
        return plan

    def _packed(self, one: Row) -> bytes:
        held = (PLACE if one.concurrency else 0) | (MONEY if one.budget else 0)
        number = self._file.number(one.at)
        return PACKED_ROW.pack(number, self._file.owner(number)[:8], held)

    def _rows(self, counters: tuple[Counter, ...], now_us: int) -> tuple[Row, ...]:
        numbers: list[int] = []
        for counter in counters:
            numbers.append(self._number(counter, numbers, now_us))
        return tuple(
            rows.row(counter, self._file.at(number), self._process, self._processes)
            for counter, number in zip(counters, numbers, strict=True)
        )

    def _number(self, counter: Counter, wanted: list[int], now_us: int) -> int:
        owner = counter_hash(counter.id)
        number = self._file.find(owner)
        if number < 0 and now_us >= self._full_until_us:
            number = self._file.claim(owner, wanted, now_us)
        if not 0 <= number < self._file.rows:
            self._full_until_us = now_us + FULL_US
            raise Unavailable(
                f"the ledger is full: there is no room to count {counter.what}",
                hint="a gateway that starts with more ledger rows makes room",
                code="ledger_full",
            )
        return number


class Watch:
    """The supervisor's view of the file: settles for the dead, and names who is stuck."""

    def __init__(self, path: Path, rows: int = ROWS) -> None:
        """Open, with as many rows as the gateways. Raises Unavailable when it cannot be used."""
        self._file = LedgerFile(path, rows)
        self._seen = (-1, 0)
        self._since_us = 0

    def stuck(self, now_us: int) -> int | None:
        """The gateway process that has held the lock for more than 2 s, or None.

        It is told by seeing the same hold twice: call it about every second.
        """
        holder = self._file.holder()
        if holder != self._seen or holder[0] < 0 or now_us < self._since_us:
            self._seen, self._since_us = holder, now_us
            return None
        if now_us - self._since_us <= STUCK_US or not self._file.holder_lives():
            return None
        return holder[0]

    def settle_packed(self, data: bytes, now_us: int) -> None:
        """Settle the lease of a dead process, found in one of its slots: it costs what was
        reserved. Before the process is started again, and once per slot."""
        if len(data) < PACKED.size or data[0] != PACKED_VERSION:
            return
        _, process, count, money = PACKED.unpack_from(data)
        if process < PROCESSES and len(data) >= PACKED.size + count * PACKED_ROW.size:
            for number, owner, held in PACKED_ROW.iter_unpack(
                data[PACKED.size : PACKED.size + count * PACKED_ROW.size]
            ):
                if number < self._file.rows and self._file.owner(number)[:8] == owner:
                    at = self._file.at(number)
                    rows.settle_for(
                        self._file.words, at, process, money,
                        place=bool(held & PLACE), budget=bool(held & MONEY), now_us=now_us,
                    )  # fmt: skip

    def close(self) -> None:
        """Unmap."""
        self._file.close()
