"""The rows that a request's counters have in the ledger's file, and a lease on them as bytes."""

import struct

import msgspec

from modelyard.domain.limits.rows import Row
from modelyard.ports.ledger import Counter

PACKED = struct.Struct("<BBHQ")  # version, process, rows, money held
PACKED_ROW = struct.Struct("<I8sB")  # row, half of its owner's hash, what is held
PACKED_VERSION = 1
PLACE, MONEY = 1, 2
"""What a lease holds of a row."""


class FilePlan(msgspec.Struct, gc=False):
    """The rows of a tuple of counters."""

    counters: tuple[Counter, ...]
    rows: tuple[Row, ...]
    generation: int
    counts_tokens: bool
    holds: bool
    process: int
    packed: bytes

    def pack(self, money_nano_usd: int) -> bytes:
        """See `Lease.pack`."""
        if not self.holds:
            return b""
        count = len(self.packed) // PACKED_ROW.size
        return PACKED.pack(PACKED_VERSION, self.process, count, money_nano_usd) + self.packed
