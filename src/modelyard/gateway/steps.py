"""The steps of a request before dispatch. Each is a plain function that says how to go on, or
raises to end the request. Which ones a service's requests take is settled when a snapshot comes."""

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from modelyard.domain import snapshot as snapshots
from modelyard.errors import Unavailable

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange


class Verdict(Enum):
    """How a request goes on after a step."""

    NEXT = auto()
    WAIT = auto()
    """Somebody will call `Exchange.resume`."""
    DONE = auto()
    """It has been answered."""


NEXT = Verdict.NEXT
Step = Callable[["Exchange"], Verdict]


def steps_of(_: snapshots.Service) -> tuple[Step, ...]:
    """The steps that requests to this service take, in order."""
    return (open_slot,)


def open_slot(exchange: "Exchange") -> Verdict:
    """From here on the request is recorded even if this process dies."""
    gateway = exchange.gateway
    if gateway.recorder.full:
        raise Unavailable(
            "the record spool is full, so this request could not be recorded",
            hint="start the control plane or free disk space",
            code="records_spool_full",
        )
    exchange.slot = gateway.open_slot(exchange.record)
    if exchange.slot < 0:
        raise Unavailable("too many requests are open in this gateway process", code="overloaded")
    return NEXT
