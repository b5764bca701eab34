"""Entries of a spool segment: `length u32 · crc32 u32 · payload`, closed by a length of 0.

The gateway writes them and ships the bytes as they are; only the control plane takes them apart.
"""

import struct
import zlib

HEAD = struct.Struct("<II")


def put(buffer: memoryview, at: int, payload: bytes) -> int:
    """Write one frame; where the next one goes. The payload comes first, so that a reader sees
    a whole frame or none."""
    start = at + HEAD.size
    end = start + len(payload)
    buffer[start:end] = payload
    HEAD.pack_into(buffer, at, len(payload), zlib.crc32(payload))
    return end


def whole(data: bytes | memoryview) -> tuple[list[bytes], int]:
    """The payloads of all whole frames from the start, and how many bytes they take.

    A frame that is cut off or damaged (possible after a power cut) ends the list.
    """
    data = bytes(data)  # which is itself, if it is no view
    found: list[bytes] = []
    at = 0
    while at + HEAD.size <= len(data):
        length, checksum = HEAD.unpack_from(data, at)
        payload = data[at + HEAD.size : at + HEAD.size + length]
        if not length or len(payload) < length or zlib.crc32(payload) != checksum:
            break
        at += HEAD.size + length
        found.append(payload)
    return found, at
