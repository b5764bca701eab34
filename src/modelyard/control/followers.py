"""Which snapshot each gateway process serves from: what it said when it last asked for one."""

import threading
from typing import NamedTuple

GONE_AFTER_S = 40.0
"""A gateway process asks at least every 25 s; one that did not is no longer there."""


class Follower(NamedTuple):
    """One gateway process."""

    name: str
    epoch: str
    generation: int
    asked_at_s: float


class Followers:
    """Safe for many threads. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Follower] = {}

    def asks(self, name: str, epoch: str, generation: int, now_s: float) -> None:
        """It serves from this generation and asks for a newer one."""
        with self._lock:
            self._known[name] = Follower(name, epoch, generation, now_s)

    def present(self, now_s: float) -> list[Follower]:
        """Those that asked lately, by name."""
        with self._lock:
            for gone in [
                one.name for one in self._known.values() if now_s - one.asked_at_s > GONE_AFTER_S
            ]:
                del self._known[gone]
            return sorted(self._known.values())
