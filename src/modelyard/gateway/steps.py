"""The steps of a request before dispatch. Each is a plain function that says how to go on, or
raises to end the request. Which ones a service's requests take is settled when a snapshot comes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from modelyard.domain import snapshot as snapshots
from modelyard.errors import Unavailable
from modelyard.gateway import caching, detached, metering
from modelyard.gateway.kept.keeping import keep
from modelyard.gateway.verdict import NEXT, Verdict

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange


Step = Callable[["Exchange"], Verdict]


def steps_of(service: snapshots.Service, *, limited: bool) -> tuple[Step, ...]:
    """The steps that requests to this service take, in order."""
    cached = service.cache.ttl_s > 0 or service.cache.semantic is not None
    taken: tuple[tuple[Step, bool], ...] = (
        (keep, service.content.responses_keep_s > 0),
        (reserve, limited),
        (open_slot, True),
        (caching.look_up, cached),
        (wait_for_turn, service.queue.per_slot > 0),
        (copy_to_shadow, service.shadow is not None),
    )
    return tuple(step for step, wanted in taken if wanted)


def wait_for_turn(exchange: "Exchange") -> Verdict:
    """Where a service has a queue, wait for a free slot."""
    assert exchange.service is not None
    queue = exchange.service.queue
    if queue is None or queue.admits():
        return NEXT
    queue.join(exchange)
    return Verdict.WAIT


def copy_to_shadow(exchange: "Exchange") -> Verdict:
    """Send a copy to the shadow service; nothing waits for it."""
    detached.copy_to_shadow(exchange)
    return NEXT


def reserve(exchange: "Exchange") -> Verdict:
    """Take what the request may use from all its counters at once."""
    again_s = metering.reserve(exchange)
    if again_s:
        exchange.again(again_s)
        return Verdict.WAIT
    return NEXT


def open_slot(exchange: "Exchange") -> Verdict:
    """From here on the request is recorded even if this process dies."""
    gateway = exchange.gateway
    if gateway.recorder.full:
        raise Unavailable(
            "the record spool is full, so this request could not be recorded",
            hint="start the control plane or free disk space",
            code="records_spool_full",
        )
    exchange.slot = gateway.open_slot(exchange.record, exchange.lease)
    if exchange.slot < 0:
        raise Unavailable("too many requests are open in this gateway process", code="overloaded")
    return NEXT


INNER_STEPS: tuple[Step, ...] = (open_slot,)
"""Of requests that the gateway makes itself."""
