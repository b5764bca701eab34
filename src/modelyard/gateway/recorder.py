"""Records from the ending of a request to the control plane, through a spool on disk.

An entry is in the mapped spool before the last bytes of its answer are written, so a killed
process loses none. Segments are shipped in order; the store remembers per segment how many
entries it has, so shipping again after any crash stores nothing twice.

A segment is a file of frames (`lib/frames`), each with the JSON `[kind, row]`.
"""

import contextlib
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from modelyard.domain.records import Outcome
from modelyard.errors import Unavailable
from modelyard.gateway.shared import SharedFile
from modelyard.lib import clock, frames, ids

SEGMENT_BYTES = 4 * 1024 * 1024
_encoder = msgspec.json.Encoder()


class Segment:
    """One spool file being written. Its stem is the source name of its batches."""

    def __init__(self, folder: Path, size_bytes: int = SEGMENT_BYTES) -> None:
        self.path = folder / f"seg_{ids.uuid7().hex()}.spool"
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Allocated now, so that no later write can meet a full disk (a fatal SIGBUS).
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size_bytes)
            else:
                os.pwrite(descriptor, bytes(size_bytes), 0)
            self._view = memoryview(mmap.mmap(descriptor, size_bytes))
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise Unavailable(
                f"no room for records in {folder}: {error.strerror}",
                hint="free disk space in the data folder",
            ) from error
        finally:
            os.close(descriptor)
        self.written = 0
        """Bytes of whole frames."""

    def append(self, payload: bytes) -> bool:
        """Write one entry; False when it does not fit any more."""
        if self.written + 2 * frames.HEAD.size + len(payload) > len(self._view):
            return False
        self.written = frames.put(self._view, self.written, payload)
        return True

    def read(self, at: int, limit: int) -> memoryview:
        """What was written from `at` on, at most `limit` bytes; nothing once it is closed.

        It is no copy, and stays readable when the segment is closed meanwhile.
        """
        return self._view[at : min(self.written, at + limit)]

    def close(self) -> None:
        """What was written stays, and the file ends there, so that no zeros are sent. Unmapped
        once nobody reads it any more."""
        self._view = memoryview(b"")
        with contextlib.suppress(OSError):  # zeros at the end do no harm
            os.truncate(self.path, self.written)


class Recorder:
    """The writing side, used by the gateway's event loop."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._limit_segments = max(2, limit_bytes // SEGMENT_BYTES)
        self.current: Segment | None = None
        self.full = False
        """Whether new requests must be refused, because they could not be recorded."""
        self._roll()

    def append(self, kind: str, record: Any) -> None:
        """Keep one record. Never fails: room for it was made before the request was admitted."""
        payload = _encoder.encode((kind, record))
        if self.current is not None and self.current.append(payload):
            return
        self._roll()
        if self.current is not None:
            self.current.append(payload)

    def check(self) -> None:
        """Recompute `full`; call it now and then."""
        waiting = sum(1 for _ in self.folder.glob("*.spool"))
        self.full = waiting > self._limit_segments
        if self.current is None:
            self._roll()

    def _roll(self) -> None:
        previous = self.current
        try:
            self.current = Segment(self.folder)
        except Unavailable:
            self.current = None
            self.full = True
            return
        self.full = False
        if previous is not None:
            previous.close()

    def sealed(self) -> list[Path]:
        """Segments that are no longer written, oldest first."""
        current = self.current.path if self.current else None
        return [path for path in sorted(self.folder.glob("*.spool")) if path != current]

    def close(self, shipped_bytes: int = 0) -> None:
        """Stop writing; a segment that was shipped whole (or is empty) is removed."""
        if self.current is not None:
            self.current.close()
            if self.current.written <= shipped_bytes:
                self.current.path.unlink(missing_ok=True)
            self.current = None


def open_request(held: bytes, record: bytes) -> bytes:
    """What a slot holds of an open request: what it reserved (see `Lease.pack`), and its record."""
    return b"%c%b%b" % (len(held), held, record)


def close_lost_slots(
    shared: Path, spool: Path, process: int, settle: Callable[[bytes], None]
) -> int:
    """Turn the slots that a dead gateway process left open into `gateway_lost` records, and settle
    what they had reserved.

    Called by the supervisor before it starts a process in that place; the number of records.
    """
    if not shared.exists():
        return 0
    file = SharedFile(shared, process + 1)
    try:
        region = file.region(process)
        payloads = [payload for _, payload in region.open_slots()]
        for payload in payloads:
            settle(payload[1 : 1 + payload[0]])
        lost = [record for payload in payloads if (record := _lost(payload[1 + payload[0] :]))]
        if lost:
            _write_lost(spool / str(process), lost)
        region.clear_slots()
        return len(lost)
    finally:
        del region
        file.close()


def _lost(payload: bytes) -> dict[str, Any] | None:
    try:
        record = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return None
    if not isinstance(record, dict):
        return None
    record["outcome"] = Outcome.GATEWAY_LOST.value
    record["status"] = 0
    record["duration_us"] = max(0, clock.now_us() - int(record["started_at_us"]))
    record["error_code"] = "gateway_lost"
    record["error_message"] = "the gateway process ended while this request was open"
    return record


def _write_lost(folder: Path, lost: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    payloads = [_encoder.encode(("request", record)) for record in lost]
    size = sum(len(payload) + frames.HEAD.size for payload in payloads) + frames.HEAD.size
    segment = Segment(folder, size)
    for payload in payloads:
        segment.append(payload)
    segment.close()
