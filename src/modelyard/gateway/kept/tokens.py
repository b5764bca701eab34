"""Ids of kept responses: where the entry lies, and a proof that this installation has said so.

An id is `resp_` and 52 hexadecimal digits: segment (8 bytes), slot (2), and the first 16 bytes of
an HMAC-SHA256 over both and the tenant. Nobody can make an id that was not given out to his
tenant, and any process finds the entry without an index.
"""

import hashlib
import hmac
import re
from typing import NamedTuple

PREFIX = "resp_"
SEGMENT_BYTES = 8
_SLOT_BYTES = 2
_PROOF_BYTES = 16
_DIGITS = 2 * (SEGMENT_BYTES + _SLOT_BYTES + _PROOF_BYTES)
_ID = re.compile(f"{PREFIX}([0-9a-f]{{{_DIGITS}}})")
_PURPOSE = b"modelyard kept responses 1"


class Address(NamedTuple):
    """Where an entry lies."""

    segment: bytes
    slot: int

    def packed(self) -> bytes:
        """As it stands in an id."""
        return self.segment + self.slot.to_bytes(_SLOT_BYTES, "big")


class Tokens:
    """Makes and reads ids under one installation's secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, _PURPOSE, hashlib.sha256)

    def id_of(self, address: Address, tenant: str) -> str:
        """The id by which that tenant's clients name the entry."""
        packed = address.packed()
        return PREFIX + (packed + self._proof(packed, tenant)).hex()

    def read(self, id: str, tenant: str) -> Address | None:
        """Where the entry lies; None for what was never an id for that tenant."""
        match = _ID.fullmatch(id)
        if match is None:
            return None
        data = bytes.fromhex(match[1])
        packed, proof = data[:-_PROOF_BYTES], data[-_PROOF_BYTES:]
        if not hmac.compare_digest(proof, self._proof(packed, tenant)):
            return None
        return Address(packed[:SEGMENT_BYTES], int.from_bytes(packed[SEGMENT_BYTES:], "big"))

    def _proof(self, packed: bytes, tenant: str) -> bytes:
        message = packed + tenant.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, message, hashlib.sha256)[:_PROOF_BYTES]
