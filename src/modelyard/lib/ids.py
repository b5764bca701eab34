"""Identifiers: UUIDv7 with a prefix (RFC 9562 §5.7), so they sort by time of birth."""

import os
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u


def uuid7(at_ms: int | None = None) -> bytes:
    """16 bytes: 48 bits of milliseconds, version 7, 74 random bits."""
    millis = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    noise = int.from_bytes(os.urandom(10), "big")
    value = (millis & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | (noise >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | (noise & 0x3FFF_FFFF_FFFF_FFFF)
    return value.to_bytes(16, "big")


def request_id(raw: bytes | None = None) -> str:
    """`req_` and the 32 hexadecimal digits of a UUIDv7."""
    return "req_" + (raw or uuid7()).hex()


class RequestIds:
    """Request ids in series. Randomness is fetched from the system for many at once."""

    __slots__ = ("_at", "_noise")
    _EACH = 20
    """Hexadecimal digits of one id that are random."""

    def __init__(self) -> None:
        self._noise = ""
        self._at = 0

    def next(self) -> str:
        """What `request_id` makes."""
        at = self._at
        if at >= len(self._noise):
            self._noise = os.urandom(10 * 256).hex()
            at = 0
        self._at = at + self._EACH
        noise = self._noise[at : at + self._EACH]
        millis = time.time_ns() // 1_000_000
        return f"req_{millis:012x}7{noise[:3]}{_VARIANT[noise[3]]}{noise[4:19]}"


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""Two fixed bits and two random ones (RFC 9562 §4.1)."""


def began_us(identifier: str) -> int:
    """When an id was made, to the millisecond, as microseconds; 0 for what is no id of ours."""
    digits = identifier.rpartition("_")[2][:12]
    try:
        return int(digits, 16) * 1000
    except ValueError:
        return 0


def release_id() -> str:
    """`rel_` and the 32 hexadecimal digits of a UUIDv7."""
    return "rel_" + uuid7().hex()


def short_id(length: int = 10) -> str:
    """A random name for keys and replicas: lower case, no look-alikes."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
