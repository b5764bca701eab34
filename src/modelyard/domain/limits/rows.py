"""One counter in 512 words of caller-owned memory: two windows, and a column per process.

Windows are shared by all who write the memory, under a lock. What is held open (requests, money)
and what was spent is kept per process, each the only writer of its own column: it can be released
without a lock, and forgotten when the process died.
"""

from collections.abc import Iterable

import msgspec

from modelyard.domain.limits import UNBOUNDED, Amounts, Counter, Standing
from modelyard.domain.limits import budget as budgets
from modelyard.domain.limits import window as windows
from modelyard.domain.limits.window import BUCKET_US, HEAD, LAST, REQUESTS, TOKENS, Words

PROCESSES = 64
OPEN = 256
HELD = OPEN + PROCESSES
SPENT = HELD + PROCESSES
PERIOD = SPENT + PROCESSES
ROW_WORDS: int = PERIOD + PROCESSES
assert windows.WINDOW_WORDS <= OPEN

LARGEST = 1 << 48
"""More tokens or nano-dollars than that in one request are taken as that."""


class Row(msgspec.Struct):
    """Where a counter lives, for one process, with its bounds laid out for the hot path."""

    counter: Counter
    at: int
    processes: int
    requests: int
    tokens: int
    concurrency: int
    budget: int
    holds: bool
    """Whether something is held until the request ends: a place, or money."""
    open_at: int
    held_at: int
    spent_at: int
    period_at: int
    period: int = 0
    """The period that this process counts in, as it last read it."""
    period_ends_us: int = 0


def row(counter: Counter, at: int, process: int, processes: int) -> Row:
    """The handle of a counter whose words begin at `at`."""
    bounds = counter.bounds
    return Row(
        counter=counter,
        at=at,
        processes=processes,
        requests=bounds.requests_per_minute,
        tokens=bounds.tokens_per_minute,
        concurrency=bounds.concurrency,
        budget=bounds.budget_nano_usd,
        holds=bool(bounds.concurrency or bounds.budget_nano_usd),
        open_at=at + OPEN + process,
        held_at=at + HELD + process,
        spent_at=at + SPENT + process,
        period_at=at + PERIOD + process,
    )


# --- the decision ------------------------------------------------------------------------------


def admits(
    words: Words, one: Row, tokens: int, money: int | None, bucket: int, now_us: int
) -> bool:
    """Whether all bounds of the counter hold with this request. Brings the windows to now."""
    at = one.at
    if words[at + HEAD] != bucket:
        windows.advance(words, at, bucket)
    if one.requests and words[at + REQUESTS] >= one.requests:
        return False
    if one.tokens and words[at + TOKENS] + tokens > one.tokens:
        return False
    return not one.holds or _holds(words, one, money, now_us)


def _holds(words: Words, one: Row, money: int | None, now_us: int) -> bool:
    if one.concurrency and open_requests(words, one) >= one.concurrency:
        return False
    if not one.budget:
        return True
    if money is None:
        return one.counter.bounds.unknown_price == "allow"
    roll(words, one, now_us)
    # Held is read before spent: another process settles in the opposite order, so that its money
    # may be seen twice for a moment, and never not at all.
    held = held_money(words, one)
    return held + spent_money(words, one, now_us) + money <= one.budget


def take(words: Words, one: Row, tokens: int, money: int) -> None:
    """Count an admitted request. Call `admits` before, with nothing in between."""
    at = one.at
    head = words[at + HEAD]
    place = at + head % windows.RING
    if one.requests:
        words[place + windows.REQUESTS_RING] += 1
        words[at + REQUESTS] += 1
    if one.tokens:
        words[place + windows.TOKENS_RING] += tokens
        words[at + TOKENS] += tokens
    words[at + LAST] = head
    if one.holds:
        if one.concurrency:
            words[one.open_at] += 1
        if one.budget:
            words[one.held_at] += held_for(money)


def held_for(money: int) -> int:
    """What a reservation holds: at least 1, so that a row with open requests is seen as in use."""
    return money or 1


def release(words: Words, one: Row, reserved: int, spent: int, now_us: int) -> None:
    """The request ended: free its place, and turn the money it held into what it spent.

    Only this process's column is written. Spent comes first: killed in between, money counts
    twice until the process starts again, and never not at all.
    """
    if one.concurrency:
        words[one.open_at] = max(0, words[one.open_at] - 1)
    if one.budget:
        roll(words, one, now_us)
        words[one.spent_at] += spent
        words[one.held_at] = max(0, words[one.held_at] - held_for(reserved))


def settle_for(
    words: Words, at: int, process: int, money: int, *, place: bool, budget: bool, now_us: int
) -> None:
    """Release what a dead process held in a row, as if all the money had been spent."""
    if place:
        words[at + OPEN + process] = max(0, words[at + OPEN + process] - 1)
    if budget:
        word = words[at + PERIOD + process]
        if word and budgets.ends_us(word) <= now_us:
            words[at + SPENT + process] = 0
            words[at + PERIOD + process] = budgets.period(budgets.per(word), now_us)
        words[at + SPENT + process] += money
        words[at + HELD + process] = max(0, words[at + HELD + process] - held_for(money))


def correct(words: Words, one: Row, bucket: int, reserved: int, used: int, now_us: int) -> None:
    """Count the tokens that were really used: fewer where they were reserved, more as of now."""
    if used < reserved:
        windows.refund_tokens(words, one.at, bucket, reserved - used)
    elif used > reserved:
        # Only forwards: this may be told late, by somebody whose now has passed.
        if now_us // BUCKET_US > words[one.at + HEAD]:
            windows.advance(words, one.at, now_us // BUCKET_US)
        windows.add(words, one.at, 0, used - reserved)


# --- what is held and spent -----------------------------------------------------------------------


def open_requests(words: Words, one: Row) -> int:
    """Open requests over all processes."""
    if one.processes == 1:
        return words[one.open_at]
    return sum(words[one.at + OPEN : one.at + OPEN + one.processes])


def held_money(words: Words, one: Row) -> int:
    """Nano-dollars held by open requests over all processes."""
    if one.processes == 1:
        return words[one.held_at]
    return sum(words[one.at + HELD : one.at + HELD + one.processes])


def spent_money(words: Words, one: Row, now_us: int) -> int:
    """Nano-dollars spent in the running period over all processes."""
    if one.processes == 1:
        return words[one.spent_at] if words[one.period_at] > now_us else 0
    return sum(
        words[one.at + SPENT + process]
        for process in range(one.processes)
        if budgets.ends_us(words[one.at + PERIOD + process]) > now_us
    )


def roll(words: Words, one: Row, now_us: int) -> None:
    """Begin a new period in this process's column when the former ended."""
    word = words[one.period_at]
    if word == one.period and now_us < one.period_ends_us:
        return
    word, anew = budgets.rolled(word, one.counter.bounds.budget_per, now_us)
    if anew:
        words[one.spent_at] = 0
    words[one.period_at] = word
    one.period, one.period_ends_us = word, budgets.ends_us(word)


# --- what is left --------------------------------------------------------------------------------


def room(words: Words, one: Row, now_us: int) -> Amounts:
    """What is left of each bound; UNBOUNDED where there is none. Writes nothing."""
    requests, tokens = windows.counted(words, one.at, now_us // BUCKET_US)
    return Amounts(
        _left(one.requests, requests),
        _left(one.tokens, tokens),
        _left(one.concurrency, open_requests(words, one)) if one.concurrency else UNBOUNDED,
        _left(one.budget, held_money(words, one) + spent_money(words, one, now_us))
        if one.budget
        else UNBOUNDED,
    )


def _left(bound: int, taken: int) -> int:
    return max(0, bound - taken) if bound else UNBOUNDED


def standing(words: Words, rows: Iterable[Row], bucket: int) -> Standing:
    """The tightest request and token bounds of some counters: those with the least left."""
    said = Standing()
    for one in rows:
        at = one.at
        requests, tokens = words[at + REQUESTS], words[at + TOKENS]
        if words[at + HEAD] != bucket:
            requests, tokens = windows.counted(words, at, bucket)
        reset = min(windows.RING, max(0, words[at + LAST] + windows.RING - bucket))
        if one.requests:
            left = one.requests - requests
            if not said.limit_requests or left < said.remaining_requests:
                said.limit_requests = one.requests
                said.remaining_requests = left if left > 0 else 0
                said.reset_requests = reset if requests else 0
        if one.tokens:
            left = one.tokens - tokens
            if not said.limit_tokens or left < said.remaining_tokens:
                said.limit_tokens = one.tokens
                said.remaining_tokens = left if left > 0 else 0
                said.reset_tokens = reset if tokens else 0
    return said


# --- life of a row --------------------------------------------------------------------------------


def forget(words: Words, at: int, process: int) -> None:
    """A process starts: what its predecessor held open is no more."""
    words[at + OPEN + process] = 0
    words[at + HELD + process] = 0


def fold(words: Words, at: int, process: int, processes: int, now_us: int) -> None:
    """Move what processes that exist no more have spent into this process's column."""
    for other in range(processes, PROCESSES):
        spent, word = words[at + SPENT + other], words[at + PERIOD + other]
        if spent and budgets.ends_us(word) > now_us:
            mine = words[at + PERIOD + process]
            if budgets.ends_us(mine) <= now_us:
                words[at + SPENT + process] = 0
                words[at + PERIOD + process] = word
            words[at + SPENT + process] += spent
        if spent or word:
            words[at + SPENT + other] = 0
            words[at + PERIOD + other] = 0
        forget(words, at, other)


def idle(words: Words, at: int, now_us: int) -> bool:
    """Whether the row holds nothing that anybody could miss."""
    return (
        windows.drained(words, at, now_us // BUCKET_US)
        and not any(words[at + OPEN : at + SPENT])
        and not any(
            words[at + SPENT + process] and budgets.ends_us(words[at + PERIOD + process]) > now_us
            for process in range(PROCESSES)
        )
    )
