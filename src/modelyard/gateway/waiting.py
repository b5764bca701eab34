"""The queue of a service: requests wait here for a slot instead of piling up in the engines.

Each gateway process has a queue of its own. It counts what all of them have in flight, as of the
last look at the shared file, so together they may be a few requests over for a moment.
"""

from typing import TYPE_CHECKING, Protocol

from modelyard.domain import snapshot as snapshots
from modelyard.domain.scheduling import FairQueue, Waiting
from modelyard.errors import Limited, Unavailable
from modelyard.gateway import metering
from modelyard.lib import clock

if TYPE_CHECKING:
    from modelyard.gateway.endpoints import Endpoint
    from modelyard.gateway.exchange import Exchange

MAX_WAIT_S = 120.0
_LEARNING = 0.1


class Served(Protocol):
    """What a queue stands before."""

    def endpoints(self) -> "list[Endpoint]":
        """All that may get its requests."""


class Ticket:
    """What one request waits with; an exchange cancels it when it ends."""

    __slots__ = ("queue", "since_s", "waiting")

    def __init__(self, queue: "ServiceQueue", exchange: "Exchange", now_s: float) -> None:
        key = exchange.lane.caller.key if exchange.lane else None
        assert key is not None
        self.queue = queue
        self.since_s = now_s
        flow = f"{key.tenant}\n{key.team or key.id}"
        cost = float(metering.input_estimate(exchange))
        self.waiting: Waiting[Exchange] = queue.fair.push(exchange, flow, key.priority, cost)

    def cancel(self) -> None:
        """It does not wait any more."""
        self.queue.fair.leave(self.waiting)
        self.queue.tickets.pop(self.waiting.item, None)


class ServiceQueue:
    """See the module."""

    def __init__(self, rules: snapshots.Queue, served: Served) -> None:
        self.rules = rules
        self._served = served
        self.fair: FairQueue[Exchange] = FairQueue()
        self.tickets: dict[Exchange, Ticket] = {}
        self._turn_s = 1.0
        """Seconds between two turns, learnt."""
        self._last_turn_s = 0.0

    def admits(self) -> bool:
        """Whether a request may go at once: there is a free slot, and nobody waits for it."""
        return not self.fair and self._has_room()

    def _has_room(self) -> bool:
        endpoints = self._served.endpoints()
        room = self.rules.per_slot * sum(endpoint.slots for endpoint in endpoints)
        busy = sum(endpoint.load.in_flight + endpoint.load.others for endpoint in endpoints)
        return not endpoints or busy < max(1.0, room)

    def join(self, exchange: "Exchange") -> None:
        """Wait for a turn. Raises Limited when too many wait already."""
        if len(self.fair) >= self.rules.limit:
            wait_s = min(max(1.0, self._turn_s * len(self.fair)), MAX_WAIT_S)
            raise Limited(
                f"{len(self.fair)} requests wait already for this service",
                retry_after_s=wait_s,
                hint=f"try again in about {wait_s:.0f} s",
                code="queue_full",
            )
        ticket = Ticket(self, exchange, clock.monotonic_s())
        self.tickets[exchange] = ticket
        exchange.waits = ticket

    def pump(self) -> None:
        """Let go as many as there is room for."""
        while self.fair and self._has_room():
            exchange = self.fair.pop()
            assert exchange is not None
            now_s = clock.monotonic_s()
            ticket = self.tickets.pop(exchange)
            exchange.record.queue_us = int((now_s - ticket.since_s) * 1_000_000)
            self._learn(now_s)
            exchange.resume()

    def move_to(self, other: "ServiceQueue | None") -> None:
        """A new snapshot came: those who wait go on waiting under its rules, in their order."""
        if other is not None:
            other._turn_s = self._turn_s
        while (exchange := self.fair.pop()) is not None:
            ticket = self.tickets.pop(exchange)
            if other is None:
                exchange.resume_soon()
                continue
            moved = Ticket(other, exchange, ticket.since_s)
            other.tickets[exchange] = moved
            exchange.waits = moved

    def _learn(self, now_s: float) -> None:
        if self._last_turn_s:
            pause_s = min(now_s - self._last_turn_s, 10.0)
            self._turn_s += (pause_s - self._turn_s) * _LEARNING
        self._last_turn_s = now_s

    def tick(self, now_s: float) -> None:
        """Now and then: others may have made room, and some have waited too long."""
        late = [
            exchange
            for exchange, ticket in self.tickets.items()
            if now_s - ticket.since_s > self.rules.timeout_s
        ]
        for exchange in late:
            exchange.record.queue_us = int(self.rules.timeout_s * 1_000_000)
            exchange.refuse(
                Unavailable(
                    f"no slot became free within {self.rules.timeout_s:g} s",
                    hint="try again, or run more replicas of the service",
                    code="queue_timeout",
                )
            )
        self.pump()
