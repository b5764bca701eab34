"""Ledger: requests, tokens, concurrency and money; one reservation before dispatch, one settlement.

All counters of a request are reserved together or not at all. Nothing here waits: a ledger that
cannot say yet answers `Pending`.
"""

from typing import Protocol

import msgspec

from modelyard.domain.limits import Amounts, Counter, Denied, Standing

__all__ = [
    "Amounts", "Counter", "Denied", "Lease", "Ledger", "Pending", "Plan", "Standing",
]  # fmt: skip


class Plan(Protocol):
    """What a ledger worked out for a tuple of counters; its own business."""

    def pack(self, money_nano_usd: int) -> bytes:
        """See `Lease.pack`."""
        ...


class Lease(msgspec.Struct, gc=False):
    """What one request reserved. Callers keep it, pack it and settle it, and look at nothing."""

    plan: Plan
    tokens: int
    money_nano_usd: int
    bucket: int
    settled: bool = False

    def pack(self) -> bytes:
        """What somebody else needs to settle it after this process died; empty when nothing
        would be left open. At most 12 + 13 bytes per counter."""
        return self.plan.pack(self.money_nano_usd)


class Pending(msgspec.Struct, frozen=True):
    """No answer yet: somebody else decides at this moment, or a share is being fetched."""

    retry_in_s: float


class Ledger(Protocol):
    """For one event loop: not safe for threads."""

    def reserve(
        self, counters: tuple[Counter, ...], tokens: int, money_nano_usd: int | None, now_us: int
    ) -> Lease | Denied | Pending:
        """Take one request, the tokens and the money from all counters, or nothing from any.

        `tokens` and `money_nano_usd` are the most that the request may use; None is an unknown
        price (see `Bounds.unknown_price`). `now_us` is wall time. Pass the same tuple object for
        the same counters: it is the key of a cache. Raises Unavailable when the ledger is full.
        """
        ...

    def settle(self, lease: Lease, tokens: int, money_nano_usd: int, now_us: int) -> None:
        """The request ended and used so much: correct the reservation and release what it held.
        A lease that was settled before is left alone."""
        ...

    def standing(self, counters: tuple[Counter, ...], now_us: int) -> Standing:
        """What the tightest counters say now, for headers. Decides nothing."""
        ...

    def tick(self, now_us: int) -> None:
        """To be called about every 100 ms: do what was put off, keep shares alive."""
        ...

    def close(self) -> None:
        """Give back what is kept for later. Leases must not be settled afterwards."""
        ...
