"""One memory-mapped file that the gateway processes of a machine share.

Every process owns one region and is its only writer; all may read all. A region holds request
slots (what is open right now), rows with the load of each endpoint, and metric rows. The page
cache keeps the file when a process is killed; `sync` bounds what a power cut can take.

Layout: a header page, then `processes` regions of equal size. All integers are little-endian.
"""

import hashlib
import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from modelyard.errors import Unavailable

MAGIC = b"MYSHARE3"
PAGE = 4096

SLOTS = 4096
SLOT_BYTES = 1024
_SLOT_HEAD = struct.Struct("<H")  # length of the open record, 0 when the slot is free
SLOT_PAYLOAD_BYTES = SLOT_BYTES - _SLOT_HEAD.size

LOAD_ROWS = 512
_LOAD = struct.Struct("<16sQQQQ")  # digest of the endpoint id, then LOAD_CELLS numbers
LOAD_BYTES = _LOAD.size
LOAD_CELLS = 4
"""Of an endpoint, as one process sees it: requests in flight, prompt tokens that wait to be
computed, when its breaker lets requests through again, and until when at most a request of its
tries the endpoint out (both in monotonic microseconds)."""

METRIC_ROWS = 256
METRIC_LABEL_BYTES = 256
METRIC_VALUES = 64
METRIC_BYTES = METRIC_LABEL_BYTES + METRIC_VALUES * 8

_LOADS_AT = SLOTS * SLOT_BYTES
_METRICS_AT = _LOADS_AT + LOAD_ROWS * LOAD_BYTES
REGION_BYTES = -(-(_METRICS_AT + METRIC_ROWS * METRIC_BYTES) // PAGE) * PAGE


def endpoint_hash(endpoint_id: str) -> bytes:
    """16 bytes that stand for an endpoint in the load rows."""
    return hashlib.blake2b(endpoint_id.encode(), digest_size=16).digest()


class PublishedLoad(NamedTuple):
    """What one gateway process says of an endpoint; see LOAD_CELLS."""

    in_flight: int = 0
    waiting_tokens: int = 0
    open_until_us: int = 0
    probe_until_us: int = 0


class SharedFile:
    """The whole file, mapped. Use `region` for one process's part."""

    def __init__(self, path: Path, processes: int) -> None:
        """Open, and make it anew when it is missing, of another layout or too small."""
        self.path = path
        size = PAGE + processes * REGION_BYTES
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._prepare(size)
            self._map = mmap.mmap(self._descriptor, os.fstat(self._descriptor).st_size)
        except OSError as error:
            os.close(self._descriptor)
            raise Unavailable(
                f"cannot map {path} ({size} bytes): {error.strerror}",
                hint="free disk space in the data folder",
            ) from error
        self.processes = (len(self._map) - PAGE) // REGION_BYTES

    def _prepare(self, size: int) -> None:
        header = os.pread(self._descriptor, len(MAGIC) + 8, 0)
        if header != MAGIC + struct.pack("<Q", REGION_BYTES):
            os.ftruncate(self._descriptor, 0)
        if os.fstat(self._descriptor).st_size < size:
            # Allocated, not sparse: writing to a hole of a full disk would be a fatal SIGBUS.
            _allocate(self._descriptor, size)
            os.pwrite(self._descriptor, MAGIC + struct.pack("<Q", REGION_BYTES), 0)

    def region(self, process: int) -> "Region":
        """The part of process `process`, counted from 0."""
        return Region(self._map, PAGE + process * REGION_BYTES)

    def sync(self) -> None:
        """Write changed pages to disk; blocks, so call it from a thread."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Unmap. Regions must not be used afterwards."""
        try:
            self._map.close()
        except BufferError:
            pass  # a region still holds a view; the map goes with the last of them
        os.close(self._descriptor)


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.pwrite(descriptor, b"\0" * size, 0)


class Region:
    """One process's slots, load rows and metric rows."""

    def __init__(self, mapped: mmap.mmap, at: int) -> None:
        self._map = mapped
        self._at = at
        self._loads = memoryview(mapped)[at + _LOADS_AT : at + _METRICS_AT]
        self._free = list(range(SLOTS - 1, -1, -1))
        self._load_rows: dict[bytes, int] = {}

    @property
    def process(self) -> int:
        """Whose it is."""
        return (self._at - PAGE) // REGION_BYTES

    # --- request slots -------------------------------------------------------------------

    def open_slot(self, payload: bytes) -> int:
        """Store what is known of a request; the slot's number, or -1 when all are taken.

        `payload` is at most SLOT_PAYLOAD_BYTES long. The length is written last, so a slot is
        either whole or free.
        """
        if not self._free:
            return -1
        slot = self._free.pop()
        self.update_slot(slot, payload)
        return slot

    def update_slot(self, slot: int, payload: bytes) -> None:
        """Replace the content of an open slot."""
        at = self._at + slot * SLOT_BYTES
        self._map[at + 2 : at + 2 + len(payload)] = payload
        _SLOT_HEAD.pack_into(self._map, at, len(payload))

    def close_slot(self, slot: int) -> None:
        """Free it."""
        _SLOT_HEAD.pack_into(self._map, self._at + slot * SLOT_BYTES, 0)
        self._free.append(slot)

    def open_slots(self) -> Iterator[tuple[int, bytes]]:
        """Slots found open, with their content: what a dead process left behind."""
        for slot in range(SLOTS):
            at = self._at + slot * SLOT_BYTES
            (length,) = _SLOT_HEAD.unpack_from(self._map, at)
            if 0 < length <= SLOT_PAYLOAD_BYTES:
                yield slot, self._map[at + 2 : at + 2 + length]

    def clear_slots(self) -> None:
        """Free all slots and forget all load: the process that owned them is gone."""
        for slot in range(SLOTS):
            _SLOT_HEAD.pack_into(self._map, self._at + slot * SLOT_BYTES, 0)
        self._loads[:] = bytes(len(self._loads))
        self._free = list(range(SLOTS - 1, -1, -1))
        self._load_rows = {}

    # --- endpoint load -------------------------------------------------------------------

    def load_row(self, key: bytes) -> "memoryview | array[int]":
        """The LOAD_CELLS numbers of an endpoint, all 0, writable in place; claimed on first use.
        When no row is left, they are this process's own."""
        row = self._load_rows.get(key, -1)
        if row < 0:
            taken = set(self._load_rows.values())
            row = next((number for number in range(LOAD_ROWS) if number not in taken), -1)
            if row < 0:
                return array("Q", bytes(8 * LOAD_CELLS))
            self._load_rows[key] = row
            _LOAD.pack_into(self._loads, row * LOAD_BYTES, key, 0, 0, 0, 0)
        at = row * LOAD_BYTES + 16
        return self._loads[at : at + 8 * LOAD_CELLS].cast("Q")

    def release_row(self, key: bytes) -> None:
        """Give the row of an endpoint back that no longer exists."""
        row = self._load_rows.pop(key, -1)
        if row >= 0:
            _LOAD.pack_into(self._loads, row * LOAD_BYTES, bytes(16), 0, 0, 0, 0)

    def loads(self) -> dict[bytes, "PublishedLoad"]:
        """Of each endpoint what this process published, where there is anything."""
        return {
            key: PublishedLoad(*numbers)
            for key, *numbers in _LOAD.iter_unpack(self._loads)
            if any(numbers)
        }

    # --- metric rows ---------------------------------------------------------------------

    def metric_labels(self, row: int) -> bytes:
        """The label text of a metric row; empty when the row is free."""
        at = self._at + _METRICS_AT + row * METRIC_BYTES
        return self._map[at : at + METRIC_LABEL_BYTES].rstrip(b"\0")

    def claim_metric_row(self, row: int, labels: bytes) -> None:
        """Name a free row; its values are zero."""
        at = self._at + _METRICS_AT + row * METRIC_BYTES
        self._map[at + METRIC_LABEL_BYTES : at + METRIC_BYTES] = bytes(METRIC_VALUES * 8)
        self._map[at : at + METRIC_LABEL_BYTES] = labels.ljust(METRIC_LABEL_BYTES, b"\0")

    def metric_values(self, row: int) -> "memoryview":
        """The row's METRIC_VALUES unsigned 64-bit values, writable in place."""
        at = self._at + _METRICS_AT + row * METRIC_BYTES + METRIC_LABEL_BYTES
        return memoryview(self._map)[at : at + METRIC_VALUES * 8].cast("Q")
