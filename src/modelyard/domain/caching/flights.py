"""Single flight: of equal requests at the same time one goes upstream, and its answer is theirs.

The first of a key leads. What becomes of its call is told to the flight, and by callbacks to those
that wait. No callback runs inside another, however long a chain of failures is.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

Answer = TypeVar("Answer")
Taken = TypeVar("Taken", contravariant=True)


class Waiter(Protocol[Taken]):
    """A request that takes part in a flight; each is told at most one end."""

    def flight_answered(self, answer: Taken) -> None:
        """The leader's answer is yours. You are not in the flight any more."""

    def flight_lead(self) -> None:
        """The leader failed, or its answer cannot be shared: call upstream yourself. If others
        wait on, you lead them, and `answered`, `failed`, `scatter` or `leave` is due."""

    def flight_deserted(self) -> None:
        """You lead, your own client has left, and so have all others: stop the call."""


class _Flight(Generic[Answer]):
    __slots__ = ("abandoned", "followers", "leader")

    def __init__(self, leader: Waiter[Answer]) -> None:
        self.leader = leader
        self.followers: dict[Waiter[Answer], None] = {}
        self.abandoned = False
        """The leader's own client has left; its call goes on for the followers."""


class Flights(Generic[Answer]):
    """All flights of one gateway process, by key."""

    def __init__(self) -> None:
        self._flights: dict[bytes, _Flight[Answer]] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._calling = False

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: bytes, waiter: Waiter[Answer]) -> bool:
        """Take part; whether `waiter` leads, and has to call upstream."""
        flight = self._flights.get(key)
        if flight is None:
            self._flights[key] = _Flight(waiter)
            return True
        flight.followers[waiter] = None
        return False

    def waiting(self, key: bytes) -> int:
        """Followers of a flight."""
        flight = self._flights.get(key)
        return len(flight.followers) if flight is not None else 0

    def answered(self, key: bytes, leader: Waiter[Answer], answer: Answer) -> None:
        """The leader's call came to a good end: all get its answer."""
        for follower in self._end(key, leader):
            self._tell(partial(follower.flight_answered, answer))

    def scatter(self, key: bytes, leader: Waiter[Answer]) -> None:
        """The leader's answer cannot be shared (too large, not finished): each calls for itself,
        all at once, because one after the other would wait longer than without a flight."""
        for follower in self._end(key, leader):
            self._tell(follower.flight_lead)

    def failed(self, key: bytes, leader: Waiter[Answer]) -> None:
        """The leader's call failed: the first follower leads now, the others go on waiting. So an
        upstream that is down is not asked by all at once."""
        flight = self._flights.get(key)
        if flight is None or flight.leader is not leader:
            return
        if not flight.followers:
            del self._flights[key]
            return
        flight.leader = next(iter(flight.followers))
        del flight.followers[flight.leader]
        flight.abandoned = False
        self._tell(flight.leader.flight_lead)

    def leave(self, key: bytes, waiter: Waiter[Answer]) -> bool:
        """The waiter's client went away. Whether its upstream call must go on, because it leads
        and others wait for it: starting the call again elsewhere would cost the work twice."""
        flight = self._flights.get(key)
        if flight is None:
            return False
        if flight.leader is not waiter:
            self._follower_leaves(key, flight, waiter)
            return False
        flight.abandoned = bool(flight.followers)
        if not flight.followers:
            del self._flights[key]
        return flight.abandoned

    def _follower_leaves(self, key: bytes, flight: _Flight[Answer], waiter: Waiter[Answer]) -> None:
        flight.followers.pop(waiter, None)
        if flight.abandoned and not flight.followers:
            del self._flights[key]
            self._tell(flight.leader.flight_deserted)

    def _end(self, key: bytes, leader: Waiter[Answer]) -> list[Waiter[Answer]]:
        """Close the flight; who followed. Nobody, if it is not this leader's."""
        flight = self._flights.get(key)
        if flight is None or flight.leader is not leader:
            return []
        del self._flights[key]
        return list(flight.followers)

    def _tell(self, call: Callable[[], None]) -> None:
        """Calls made by a callback wait until it has returned: a thousand followers that fail one
        after the other are a queue, not a thousand frames."""
        self._calls.append(call)
        if self._calling:
            return
        self._calling = True
        try:
            while self._calls:
                self._calls.popleft()()
        finally:
            self._calling = False
            if self._calls:  # one of them raised: the others must hear all the same
                self._tell(self._calls.popleft())
