"""What a request may use, reserved before dispatch, and what it did use, settled at its end."""

import re
from typing import TYPE_CHECKING

from modelyard.domain import pricing
from modelyard.domain.chat import Usage
from modelyard.domain.limits import Denied, said
from modelyard.domain.records import Outcome, RequestRecord
from modelyard.domain.snapshot import Price
from modelyard.errors import Unavailable
from modelyard.gateway.body import Inspected
from modelyard.lib import clock
from modelyard.ports.ledger import Pending

if TYPE_CHECKING:
    from modelyard.gateway.catalog import Lane
    from modelyard.gateway.exchange import Exchange
    from modelyard.gateway.stream import Tally
    from modelyard.gateway.variants import Variant

BYTES_PER_TOKEN = 4.0
"""Until a service's answers have told its own figure."""
_LEARNING = 0.05
BUSY_S = 2.0
"""How long a request waits for a ledger that another gateway process holds."""
_IMAGE_TOKENS = 1000
_MOST_NAMED = 500
MOST_TOKENS = 1 << 40
"""No answer has more; an upstream that claims so is not believed."""
_EMBEDDED = re.compile(rb";base64,[A-Za-z0-9+/=]*")


def reserve(exchange: "Exchange") -> float:
    """Reserve what the request may use; seconds after which to ask again, 0 when it is done.
    Raises Limited, and Unavailable when nobody could decide."""
    lane, seen = exchange.lane, exchange.seen
    assert lane is not None
    assert seen is not None
    tokens_input = tokens_output = 0
    if not exchange.route.counts_only:
        tokens_input = input_estimate(exchange)
        tokens_output = most_output(seen, exchange.gateway.settings.reserve_output_tokens)
    answer = exchange.gateway.ledger.reserve(
        lane.counters,
        tokens_input + tokens_output,
        _most_money(exchange, tokens_input, tokens_output),
        clock.now_us(),
    )
    if type(answer) is Pending:
        if exchange.elapsed_us() > BUSY_S * 1_000_000:
            raise Unavailable(
                "limits could not be checked: another gateway process does not let go of them",
                hint="try again in a moment",
                code="ledger_busy",
            )
        return answer.retry_in_s
    if type(answer) is Denied:
        raise said.refusal(answer)
    exchange.lease = answer  # type: ignore[assignment]
    return 0.0


def most_output(seen: Inspected, unsaid: int) -> int:
    """Tokens that the answer may have; `unsaid` is taken where the request does not say."""
    said = (seen.max_completion_tokens, seen.max_tokens)
    most = next((tokens for tokens in said if tokens is not None), unsaid)
    return most * (seen.n or 1)


def input_estimate(exchange: "Exchange") -> int:
    """About how many tokens the request has, from its bytes. Embedded images and sounds are
    counted as such, not by their size."""
    body, size, embedded = exchange.body, len(exchange.body), 0
    if body.startswith(b"--"):
        return _IMAGE_TOKENS  # a form with a file
    if b";base64," in body:
        pieces = [len(piece) for piece in _EMBEDDED.findall(body)]
        size, embedded = size - sum(pieces), len(pieces) * _IMAGE_TOKENS
    service = exchange.service
    assert service is not None
    return int(size / service.bytes_per_token) + 1 + embedded


def _most_money(exchange: "Exchange", tokens_input: int, tokens_output: int) -> int | None:
    """The dearest of all that may answer, those that stand in included; None when the price of
    one is not known."""
    most = 0
    for variant in _may_answer(exchange):
        if not variant.prices:
            return None
        for price in variant.prices:
            cost = pricing.at_most_nano_usd(price, tokens_input, tokens_output, variant.slots)
            most = max(most, cost)
    return most


def _may_answer(exchange: "Exchange") -> "list[Variant]":
    assert exchange.variant is not None
    assert exchange.lane is not None
    found, asked = [exchange.variant], exchange.lane.service.spec
    for fallback in asked.fallbacks:
        other = exchange.gateway.catalog.named(asked.tenant, fallback.service)
        if other is not None:
            found += other.variants()
    return found


def headers(lane: "Lane", exchange: "Exchange") -> bytes:
    """`x-ratelimit-*` of what binds the caller most."""
    return said.headers(exchange.gateway.ledger.standing(lane.counters, clock.now_us()))


def settle(exchange: "Exchange") -> None:
    """Fill in tokens and cost of the record, and correct the reservation to them."""
    usage = _count(exchange)
    if exchange.pledge is not None:
        usage = exchange.pledge.with_spent(exchange.record, usage)
    _charge(exchange, usage)
    lease = exchange.lease
    if lease is None:
        return
    record = exchange.record
    if record.outcome == Outcome.CACHED or exchange.route.counts_only:
        exchange.gateway.ledger.settle(lease, 0, 0, clock.now_us())
        return
    tokens: int = (record.tokens_input or 0) + (record.tokens_output or 0)
    money = record.cost_nano_usd or 0
    unknown = usage is None or bool(record.unpriced)
    if not tokens and unknown and record.outcome == Outcome.COMPLETED:
        tokens, money = lease.tokens, lease.money_nano_usd  # it did something, nobody knows what
    exchange.gateway.ledger.settle(lease, tokens, money, clock.now_us())


def _count(exchange: "Exchange") -> Usage | None:
    """Fill in the tokens; the usage, where the endpoint has told all of it."""
    record, answering = exchange.record, exchange.answering
    if answering is None:
        return None
    tally = answering.tally
    record.finish_reason = tally.finish_reason
    usage = tally.counted()
    if usage is not None and usage.server_tools and not usage.input_tokens + usage.output_tokens:
        return usage  # other units than tokens, of which nobody knows the number
    if usage is not None and not tally.is_partial:
        record.tokens_input = _plausible(usage.input_tokens)
        record.tokens_output = _plausible(usage.output_tokens)
        record.tokens_cached = _plausible(usage.cache_read_tokens)
        record.tokens_reasoning = _plausible(usage.reasoning_tokens)
        written = usage.cache_write_tokens + usage.cache_write_1h_tokens
        record.tokens_cache_write = _plausible(written) if written else None
        _learn(exchange, record.tokens_input or 0)
        return usage
    if tally.events or record.outcome == Outcome.CANCELLED:
        _estimate(exchange, tally, usage)
    return None


def _estimate(exchange: "Exchange", tally: "Tally", usage: Usage | None) -> None:
    """It ended before its usage was told. Every event carried about one token, and the engine has
    read the question; some say how long that was."""
    record = exchange.record
    record.tokens_output = tally.events
    if usage is not None:
        record.tokens_input = _plausible(usage.input_tokens)
        record.tokens_cached = _plausible(usage.cache_read_tokens)
    elif tally.progress is not None:
        record.tokens_input = _plausible(tally.progress.total)
        record.tokens_cached = _plausible(tally.progress.cache)
    else:
        record.tokens_input = input_estimate(exchange)
    record.usage_estimated = True


def _plausible(tokens: int | None) -> int | None:
    """What an upstream claims is charged and added up: it must be a number of tokens."""
    return None if tokens is None else min(max(tokens, 0), MOST_TOKENS)


def _learn(exchange: "Exchange", tokens: int) -> None:
    service = exchange.service
    if tokens > 0 and service is not None and b";base64," not in exchange.body:
        seen = min(max(len(exchange.body) / tokens, 1.0), 16.0)
        service.bytes_per_token += (seen - service.bytes_per_token) * _LEARNING


def _charge(exchange: "Exchange", usage: Usage | None) -> None:
    record, variant = exchange.record, exchange.variant
    if record.outcome == Outcome.CACHED:
        record.cost_nano_usd = 0
        return
    if variant is None or exchange.route.counts_only:
        return
    price = variant.price_at(exchange.picked.endpoint if exchange.picked is not None else None)
    if price is None:
        return
    nothing = usage is None and record.tokens_input is None and record.tokens_output is None
    if nothing and not price.replica_hour:
        return
    cost = _cost(record, price, usage)
    if price.replica_hour:
        busy_us = sum(attempt.duration_us for attempt in exchange.attempts)
        cost += pricing.time_cost_nano_usd(price, busy_us, variant.slots)
    record.cost_nano_usd = cost


def _cost(record: RequestRecord, price: Price, usage: Usage | None) -> int:
    """Of the tokens. What has no price is named in the record, and taken as the dearest of its
    side, never as nothing."""
    told = pricing.cost_nano_usd(
        price, record.tokens_input or 0, record.tokens_output or 0, record.tokens_cached or 0
    )
    if usage is None:
        return told
    exact = pricing.cost(price, usage)
    if exact.nano_usd is not None:
        return exact.nano_usd
    counts = {part.kind: part.count for part in exact.parts if part.femto_usd is None}
    record.unpriced = ", ".join(f"{kind}={count}" for kind, count in counts.items())[:_MOST_NAMED]
    return max(told, exact.priced_nano_usd)
