"""Why a counter refuses a request: which bound, what is left of it, and when it is worth asking."""

from modelyard.domain.limits import MOST_RETRY_S, Amounts, Denied, rows, worst
from modelyard.domain.limits import budget as budgets
from modelyard.domain.limits import window as windows
from modelyard.domain.limits.rows import Row
from modelyard.domain.limits.window import REQUESTS, TOKENS, Words

SOON_S = 1.0
"""When to try again where only other requests' ends can help."""


def refusal(
    words: Words, one: Row, tokens: int, money: int | None, now_us: int,
    elsewhere: Amounts = Amounts(),
) -> Denied | None:  # fmt: skip
    """Which bound of the counter refuses the request, if any; the one that lasts longest.

    Call it after `admits`, or `window.advance`. `elsewhere` is what was given to others and is not
    in these words.
    """
    found = [
        denied
        for denied in (
            _no_requests(words, one, elsewhere.requests, now_us),
            _no_tokens(words, one, elsewhere.tokens, tokens, now_us),
            _no_place(words, one, elsewhere.concurrency),
            _no_money(words, one, elsewhere.money_nano_usd, money, now_us),
        )
        if denied is not None
    ]
    return worst(found) if found else None


def _no_requests(words: Words, one: Row, elsewhere: int, now_us: int) -> Denied | None:
    over = words[one.at + REQUESTS] + 1 - one.requests
    if not one.requests or over + elsewhere <= 0:
        return None
    remaining = max(0, 1 - over - elsewhere)
    wait_s = _wait_s(words, one, windows.REQUESTS_RING, over, now_us)
    return Denied(one.counter, "requests", one.requests, remaining, 1, wait_s)


def _no_tokens(
    words: Words, one: Row, elsewhere: int, tokens: int, now_us: int
) -> Denied | None:  # fmt: skip
    over = words[one.at + TOKENS] + tokens - one.tokens
    if not one.tokens or over + elsewhere <= 0:
        return None
    remaining = max(0, tokens - over - elsewhere)
    wait_s = _wait_s(words, one, windows.TOKENS_RING, over, now_us)
    # What is over the bound by itself does not fit into any minute.
    gone = tokens > one.tokens
    return Denied(one.counter, "tokens", one.tokens, remaining, tokens, wait_s, gone)


def _wait_s(words: Words, one: Row, ring: int, over: int, now_us: int) -> float:
    if over <= 0:  # the rest was given to somebody else, who may give it back
        return SOON_S
    return windows.wait_us(words, one.at, ring, over, now_us) / 1e6


def _no_place(words: Words, one: Row, elsewhere: int) -> Denied | None:
    if not one.concurrency or rows.open_requests(words, one) + elsewhere < one.concurrency:
        return None
    return Denied(one.counter, "concurrency", one.concurrency, 0, 1, SOON_S)


def _no_money(
    words: Words, one: Row, elsewhere: int, money: int | None, now_us: int
) -> Denied | None:
    if not one.budget:
        return None
    bounds = one.counter.bounds
    held, spent = rows.held_money(words, one) + elsewhere, rows.spent_money(words, one, now_us)
    remaining = max(0, one.budget - held - spent)
    if money is None:
        if bounds.unknown_price == "allow":
            return None
        return Denied(one.counter, "price", one.budget, remaining, 0, MOST_RETRY_S, gone=True)
    if held + spent + money <= one.budget:
        return None
    ends_us = budgets.period_ends_us(bounds.budget_per, now_us)
    renews_us = 0 if ends_us == budgets.NEVER_US else ends_us
    # What is held by open requests may come back; what was spent does not.
    gone = spent + money > one.budget
    wait_s = min(MOST_RETRY_S, (ends_us - now_us) / 1e6) if gone else SOON_S
    return Denied(one.counter, "budget", one.budget, remaining, money, wait_s, gone, renews_us)
