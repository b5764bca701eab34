"""Wall time as integer microseconds UTC; durations from a monotonic clock.

Nothing in `domain/` reads a clock: it takes one of these values as an argument.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime


def now_us() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


monotonic_s: Callable[[], float] = time.monotonic
"""Seconds on a clock that never goes back; only differences mean anything."""


def to_iso(at_us: int) -> str:
    """`1700000000000000` → `2023-11-14T22:13:20.000000Z`."""
    return (
        datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    )


def from_iso(text: str) -> int:
    """The inverse of `to_iso`; a time without a zone is taken as UTC.

    Raises ValueError on anything that is not ISO 8601.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000)
