"""What comes after a failure, and what counts as one because it took too long.

An exchange is tried at another endpoint of its service, after a pause and within the service's
retry budget; then at the services that stand in for it, in the order of its document.
"""

import asyncio
from random import random
from typing import TYPE_CHECKING

from modelyard import errors
from modelyard.domain import resilience
from modelyard.gateway import guarantees
from modelyard.gateway.checking import Unkept
from modelyard.gateway.failures import Failure
from modelyard.lib import clock

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange

_AT_ONCE_S = 0.001
"""Pauses shorter than this are not worth a timer."""


def recover(exchange: "Exchange", failure: Failure) -> bool:
    """Whether something else is tried."""
    if failure.final:
        return False
    if isinstance(failure.error, Unkept):
        return guarantees.repair(exchange)
    kind = resilience.class_of(failure.error, failure.status)
    return _retry(exchange, kind) or _fall_back(exchange, kind)


def _retry(exchange: "Exchange", kind: str) -> bool:
    service, variant = exchange.service, exchange.variant
    assert service is not None
    assert variant is not None
    retries, tries = service.spec.retries, len(exchange.tried)
    if kind in ("", resilience.CONTEXT_LENGTH) or not 0 < tries < retries.attempts:
        return False
    now_s = clock.monotonic_s()
    if not variant.has_other(exchange.tried) or not service.retry_budget.take(now_s):
        return False
    pause_s = resilience.backoff_s(retries.backoff_s, tries, random())  # noqa: S311
    if pause_s < _AT_ONCE_S:
        exchange.dispatch()
    else:
        exchange.waits = asyncio.get_running_loop().call_later(pause_s, exchange.dispatch)
    return True


def _fall_back(exchange: "Exchange", kind: str) -> bool:
    assert exchange.lane is not None
    asked = exchange.lane.service.spec
    for index in range(exchange.fallbacks_tried, len(asked.fallbacks)):
        fallback = asked.fallbacks[index]
        other = exchange.gateway.catalog.named(asked.tenant, fallback.service)
        if kind not in fallback.on or other is None:
            continue
        exchange.fallbacks_tried = index + 1
        exchange.record.fallback = other.spec.name
        exchange.turn_to(other)
        exchange.dispatch()
        return True
    return False


def overdue(exchange: "Exchange", now_s: float) -> Failure | None:
    """What took too long, if something did."""
    service, attempt, answering = exchange.service, exchange.attempt, exchange.answering
    if service is None:
        return None
    limits = service.limits
    if limits.total_s and now_s - exchange.started_s > limits.total_s:
        return _late(limits.total_s, "in total", "total_timeout")._replace(final=True)
    if attempt is None or answering is None:
        return None  # it waits for a turn or a pause, which have limits of their own
    waited_s = now_s - attempt.started_s
    if exchange.record.ttft_us is not None:
        if now_s - exchange.last_activity_s > limits.idle_s:
            return _late(limits.idle_s, "between two pieces", "upstream_stalled")
    elif answering.streams_upstream:
        if waited_s > limits.first_token_s:
            return _late(limits.first_token_s, "to the first token", "first_token_timeout")
    elif waited_s > limits.whole_s:
        # An unstreamed answer comes all at once: a limit of the first token does not fit it.
        return _late(limits.whole_s, "to the first byte", "first_byte_timeout")
    return None


def _late(limit_s: float, what: str, code: str) -> Failure:
    text = f"the upstream took more than {limit_s:g} s {what}"
    return Failure(errors.TimedOut(text, code=code))
