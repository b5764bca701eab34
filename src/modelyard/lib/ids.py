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
