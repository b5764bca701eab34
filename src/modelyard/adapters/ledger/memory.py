"""A ledger whose truth is elsewhere: local shares of an authority's bounds, with leases.

`Authority` plays the server that all machines ask (in memory here; its one method is what a script
on such a server does). `MemoryLedger` is one machine: it answers from shares that it holds, and
says `Pending` while it fetches. What was given out counts as taken until it is reported or comes
back, so that all machines together never admit more than the bound. A share ends by itself: a
machine that went silent uses nothing of it any more, and the authority then takes all of it as
used, apart from places, which are free again.
"""

import itertools

import msgspec

from modelyard.domain.limits import UNBOUNDED, Amounts, rows, worst
from modelyard.domain.limits import window as windows
from modelyard.domain.limits.refusals import refusal
from modelyard.domain.limits.rows import LARGEST, Row
from modelyard.domain.limits.window import BUCKET_US, RING, Words
from modelyard.ports.ledger import Counter, Denied, Lease, Pending, Standing

LEASE_US = 1_000_000
SPARE = 8
"""A share is what was asked for, and one part of so many of what is left."""
_names = itertools.count(1)


class Share(msgspec.Struct):
    """What the authority gave to a machine, used or not, and until when."""

    amounts: Amounts
    until_us: int


class Answer(msgspec.Struct, frozen=True):
    """`granted` may be used until `until_us`; `denied` says why it does not suffice. `left` is
    what the authority could give beyond that. `lapsed`: the former share had ended."""

    granted: Amounts
    denied: Denied | None
    left: Amounts
    until_us: int
    lapsed: bool


class _Book(msgspec.Struct):
    row: Row
    words: Words
    shares: dict[str, Share]


class Authority:
    """Knows all counters whole. Safe for one thread."""

    def __init__(self, lease_us: int = LEASE_US) -> None:
        """A share holds for `lease_us` without a word from its machine."""
        self.lease_us = lease_us
        self._books: dict[str, _Book] = {}

    def exchange(
        self, machine: str, counter: Counter, used: Amounts, holding: Amounts,
        want: tuple[int, int | None] | None, now_us: int,
    ) -> Answer:  # fmt: skip
        """One machine reports what it used since it last did, and what its open requests hold;
        everything else that it had comes back. `want` asks for one request of so many tokens and
        nano-dollars (None: unknown)."""
        book = self._book(counter)
        windows.advance(book.words, 0, now_us // BUCKET_US)
        mine = book.shares.pop(machine, None)
        if mine is not None:
            self._charge(book, used, now_us)
        self._expire(book, now_us)
        elsewhere = _sum(holding, *(share.amounts for share in book.shares.values()))
        denied, granted = None, Amounts()
        if want is not None:
            tokens, money = want
            denied = refusal(book.words, book.row, tokens, money, now_us, elsewhere)
            if denied is None:
                granted = self._grant(book, elsewhere, Amounts(1, tokens, 1, money or 0), now_us)
        until_us = now_us + self.lease_us
        book.shares[machine] = Share(_sum(holding, granted), until_us)
        left = _less(rows.room(book.words, book.row, now_us), _sum(elsewhere, granted))
        return Answer(granted, denied, left, until_us, lapsed=mine is None)

    def _book(self, counter: Counter) -> _Book:
        book = self._books.get(counter.id)
        if book is None:
            words = memoryview(bytearray(rows.ROW_WORDS * 8)).cast("Q")
            book = self._books[counter.id] = _Book(rows.row(counter, 0, 0, 1), words, {})
        elif book.row.counter is not counter:
            book.row = rows.row(counter, 0, 0, 1)
        return book

    def _charge(self, book: _Book, used: Amounts, now_us: int) -> None:
        """Counted as of now, which is later than it happened: the window only gets stricter."""
        one = book.row
        windows.add(book.words, 0, used.requests, used.tokens)
        if used.requests:
            book.words[windows.LAST] = book.words[windows.HEAD]
        if one.budget:
            rows.roll(book.words, one, now_us)
            book.words[one.spent_at] += used.money_nano_usd

    def _expire(self, book: _Book, now_us: int) -> None:
        for machine, share in list(book.shares.items()):
            if share.until_us <= now_us:
                del book.shares[machine]
                self._charge(book, share.amounts, now_us)

    def _grant(self, book: _Book, elsewhere: Amounts, want: Amounts, now_us: int) -> Amounts:
        left = _less(rows.room(book.words, book.row, now_us), _sum(elsewhere, want))
        asked = _values(want)
        return Amounts(
            *(
                0 if much == UNBOUNDED else some + much // SPARE
                for some, much in zip(asked, _values(left), strict=True)
            )
        )


class Pool(msgspec.Struct):
    """What a machine holds of one counter."""

    counter: Counter
    free: Amounts = Amounts()
    """May be given to requests until `until_us`."""
    open: Amounts = Amounts()
    """Held by open requests."""
    used: Amounts = Amounts()
    """To be reported."""
    left: Amounts = Amounts()
    """What else the authority had when it was last asked."""
    until_us: int = 0
    since_us: int = 0
    arrives_us: int = 0
    """When the answer that is on its way is here; 0: none is."""
    last_bucket: int = 0


class MemoryPlan(msgspec.Struct):
    """The pools of a tuple of counters."""

    counters: tuple[Counter, ...]
    pools: tuple[Pool, ...]

    def pack(self, money_nano_usd: int) -> bytes:
        """Empty: the authority takes back by itself what a dead machine held."""
        return b""


class MemoryLedger:
    """Implements Ledger with shares of an authority."""

    def __init__(
        self, authority: Authority | None = None, machine: str = "", latency_us: int = 0
    ) -> None:
        """One machine; machines that count together pass the same authority and names of their
        own. An answer of the authority is there `latency_us` after it was asked."""
        self._authority = authority or Authority()
        self._machine = machine or f"machine-{next(_names)}"
        self._latency_us = latency_us
        self._pools: dict[str, Pool] = {}

    def reserve(
        self, counters: tuple[Counter, ...], tokens: int, money_nano_usd: int | None, now_us: int
    ) -> Lease | Denied | Pending:
        """See the port."""
        pools = tuple(self._pool(counter) for counter in counters)
        lacking = [pool for pool in pools if not _covers(pool, tokens, money_nano_usd, now_us)]
        answers = [self._refill(pool, (tokens, money_nano_usd), now_us) for pool in lacking]
        denied = [answer for answer in answers if isinstance(answer, Denied)]
        if denied:
            return worst(denied)
        for answer in answers:
            if answer is not None:
                return answer
        money = money_nano_usd or 0
        for pool in pools:
            _take(pool, tokens, money, now_us)
        return Lease(MemoryPlan(counters, pools), tokens, money, now_us // BUCKET_US)

    def settle(self, lease: Lease, tokens: int, money_nano_usd: int, now_us: int) -> None:
        """See the port. The authority hears of it with the next exchange."""
        if lease.settled:
            return
        lease.settled = True
        assert isinstance(lease.plan, MemoryPlan)
        used = Amounts(
            tokens=min(max(0, tokens), LARGEST), money_nano_usd=min(max(0, money_nano_usd), LARGEST)
        )
        for pool in lease.plan.pools:
            pool.open = _less(pool.open, Amounts(0, lease.tokens, 1, lease.money_nano_usd))
            pool.used = _sum(pool.used, used)

    def standing(self, counters: tuple[Counter, ...], now_us: int) -> Standing:
        """See the port; as of the last exchange."""
        said = Standing()
        for pool in (self._pool(counter) for counter in counters):
            bounds, left = pool.counter.bounds, _sum(pool.left, pool.free)
            reset = min(RING, max(0, pool.last_bucket + RING - now_us // BUCKET_US))
            requests, tokens = bounds.requests_per_minute, bounds.tokens_per_minute
            if requests and (not said.limit_requests or left.requests < said.remaining_requests):
                said.limit_requests, said.remaining_requests = requests, left.requests
                said.reset_requests = reset
            if tokens and (not said.limit_tokens or left.tokens < said.remaining_tokens):
                said.limit_tokens, said.remaining_tokens, said.reset_tokens = (
                    tokens, left.tokens, reset,
                )  # fmt: skip
        return said

    def tick(self, now_us: int) -> None:
        """See the port: renew what open requests hold, report, and give back what is unused."""
        for pool in self._pools.values():
            busy = any(_values(_sum(pool.free, pool.open, pool.used)))
            if busy and abs(now_us - pool.since_us) >= self._authority.lease_us // 4:
                self._exchange(pool, None, now_us)

    def close(self) -> None:
        """See the port."""
        for pool in self._pools.values():
            self._exchange(pool, None, pool.since_us)

    def _pool(self, counter: Counter) -> Pool:
        pool = self._pools.get(counter.id)
        if pool is None:
            pool = self._pools[counter.id] = Pool(counter)
        elif pool.counter is not counter and pool.counter != counter:
            # Another snapshot, other bounds: what was given under the old ones goes back first.
            pool.counter, pool.until_us = counter, 0
        return pool

    def _refill(
        self, pool: Pool, want: tuple[int, int | None], now_us: int
    ) -> Denied | Pending | None:
        """Ask the authority; None when the answer is here and suffices."""
        if self._latency_us and not pool.arrives_us:
            pool.arrives_us = now_us + self._latency_us
        if 0 < pool.arrives_us - now_us <= self._latency_us:  # not when the clock was set back
            return Pending((pool.arrives_us - now_us) / 1e6)
        pool.arrives_us = 0
        return self._exchange(pool, want, now_us)

    def _exchange(
        self, pool: Pool, want: tuple[int, int | None] | None, now_us: int
    ) -> Denied | None:
        answer = self._authority.exchange(
            self._machine, pool.counter, pool.used, pool.open, want, now_us
        )
        pool.used = Amounts()
        pool.free, pool.left, pool.until_us = answer.granted, answer.left, answer.until_us
        pool.since_us = now_us
        return answer.denied


def _covers(pool: Pool, tokens: int, money: int | None, now_us: int) -> bool:
    bounds, free = pool.counter.bounds, pool.free
    if not 0 <= now_us - pool.since_us < pool.until_us - pool.since_us:
        return False
    if bounds.budget_nano_usd and money is None and bounds.unknown_price != "allow":
        return False
    return (
        (not bounds.requests_per_minute or free.requests >= 1)
        and (not bounds.tokens_per_minute or free.tokens >= tokens)
        and (not bounds.concurrency or free.concurrency >= 1)
        and (not bounds.budget_nano_usd or free.money_nano_usd >= (money or 0))
    )


def _take(pool: Pool, tokens: int, money: int, now_us: int) -> None:
    pool.free = _less(pool.free, Amounts(1, tokens, 1, money))
    pool.open = _sum(pool.open, Amounts(0, tokens, 1, money))
    pool.used = _sum(pool.used, Amounts(requests=1))
    pool.last_bucket = now_us // BUCKET_US


def _values(one: Amounts) -> tuple[int, int, int, int]:
    return one.requests, one.tokens, one.concurrency, one.money_nano_usd


def _sum(*all_of_them: Amounts) -> Amounts:
    return Amounts(*(sum(parts) for parts in zip(*map(_values, all_of_them), strict=True)))


def _less(one: Amounts, other: Amounts) -> Amounts:
    """What remains, at least 0; no bound stays no bound."""
    return Amounts(
        *(
            UNBOUNDED if much == UNBOUNDED else max(0, much - some)
            for much, some in zip(_values(one), _values(other), strict=True)
        )
    )
