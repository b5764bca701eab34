"""Requests that the gateway makes itself, on behalf of one of a client's: copies for a shadow
service, and questions to an embedding service. They are exchanges like all others, with a record
of their own that names the request that caused them, and a client that is not there."""

from collections.abc import Callable
from random import random
from typing import TYPE_CHECKING

from modelyard.lib import clock

if TYPE_CHECKING:
    from modelyard.gateway.catalog import Service
    from modelyard.gateway.exchange import Exchange
    from modelyard.gateway.routes import Route

MAX_SHADOWS = 64
"""Open copies in one gateway process; past it none is made. A slow shadow must not pile up."""


class Sink:
    """A client that wants nothing, or only the body of a whole answer."""

    def __init__(self, on_answer: Callable[[int, bytes], None] | None = None) -> None:
        self._on_answer = on_answer

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """See `parties.Client`."""
        if self._on_answer is not None:
            self._on_answer(status, body)

    def start_stream(self, status: int, headers: bytes) -> None:
        """See `parties.Client`."""

    def write_stream(self, data: bytes) -> None:
        """See `parties.Client`."""

    def end_stream(self, data: bytes, *, clean: bool) -> None:
        """See `parties.Client`."""

    def exchange_over(self) -> None:
        """See `parties.Client`."""


def send(
    cause: "Exchange",
    service: "Service",
    route: "Route",
    body: bytes,
    sink: Sink,
    *,
    shadow: bool = False,
) -> "Exchange":
    """A request of its own to a service, which runs at once."""
    assert cause.lane is not None
    lane = cause.gateway.catalog.inner_lane(cause.lane.caller, service)
    exchange = type(cause)(cause.gateway, sink, cause.head, body, route, clock.monotonic_s())
    exchange.caused_by = cause.record.request_id
    exchange.shadow = shadow
    cause.gateway.active.add(exchange)
    exchange.begin(lane, route.inspect(body))
    return exchange


def copy_to_shadow(exchange: "Exchange") -> None:
    """Send a copy to the service's shadow, if it is this request's turn and there is room."""
    assert exchange.lane is not None
    rules = exchange.lane.service.spec.shadow
    gateway = exchange.gateway
    if rules is None or random() >= rules.share or gateway.shadows >= MAX_SHADOWS:  # noqa: S311
        return
    service = gateway.catalog.named(exchange.record.tenant, rules.service)
    if service is None:
        return
    gateway.shadows += 1
    send(exchange, service, exchange.route, exchange.body, Sink(), shadow=True)
