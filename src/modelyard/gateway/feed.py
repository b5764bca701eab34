"""The two inner streams: snapshot down, records up. Neither is ever waited for by a request."""

import asyncio
import logging
import mmap
import os
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from modelyard.domain import snapshot as snapshots
from modelyard.errors import Invalid, ModelyardError
from modelyard.gateway.recorder import SEGMENT_BYTES, Recorder
from modelyard.lib.fetch import fetch

WAIT_S = 25.0
PAUSE_S = 0.25
"""Between two tries while the control plane does not answer."""
PIECE_BYTES = SEGMENT_BYTES
"""Sent at once, when so much waits: a whole segment, some 5,000 records."""
FLUSH_S = 0.15
"""How often new records are shipped; a page shows a request this much after it ended."""

log = logging.getLogger(__name__)


class SnapshotFeed:
    """Starts from the last good snapshot on disk, then follows the control plane."""

    def __init__(
        self,
        control_url: str,
        token: str,
        file: Path,
        swap: Callable[[snapshots.Snapshot], None],
        name: str,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._url = control_url
        self._token = token
        self._file = file
        self._swap = swap
        self._name = name
        self._generation = -1
        self._epoch = ""

    def load(self) -> None:
        """Serve from the snapshot on disk, if there is a good one."""
        try:
            self._take(snapshots.decode(self._file.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.warning("the snapshot on disk is not used: %s", error)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._poll()
            except (ModelyardError, ValueError, OSError) as error:
                log.info("no new snapshot: %s", error)
                await asyncio.sleep(PAUSE_S)

    async def _poll(self) -> None:
        answer = await fetch(
            f"{self._url}/internal/snapshot?since={self._generation}&epoch={self._epoch}"
            f"&wait_s={WAIT_S:g}&gateway={self._name}",
            token=self._token,
            timeout_s=WAIT_S + 10,
            tls=self._tls,
        )
        if answer.status == 200:
            snapshot = snapshots.decode(answer.body)
            self._take(snapshot)
            self._keep(answer.body)
        elif answer.status != 204:
            log.warning("the control plane answered %d for the snapshot", answer.status)
            await asyncio.sleep(PAUSE_S)

    def _take(self, snapshot: snapshots.Snapshot) -> None:
        self._swap(snapshot)
        self._generation, self._epoch = snapshot.generation, snapshot.epoch

    def _keep(self, data: bytes) -> None:
        """Whole or not at all; several gateway processes may do this at once."""
        temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(self._file)


class Shipper:
    """Sends spooled records to the control plane, oldest first, and deletes what it has taken.

    `orphans` are folders of gateway processes that no longer exist; the first process ships them.
    """

    def __init__(
        self,
        control_url: str,
        token: str,
        recorder: Recorder,
        orphans: Callable[[], list[Path]],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._url = control_url
        self._token = token
        self._recorder = recorder
        self._orphans = orphans
        self._sent: dict[str, Sent] = {}

    async def run(self) -> None:
        """Ship until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.ship()
            except (ModelyardError, OSError) as error:
                log.info("records wait in the spool: %s", error)
                await asyncio.sleep(PAUSE_S)

    async def ship(self) -> None:
        """Send all there is. Raises Unavailable or TimedOut when it could not."""
        for path in [*self._orphans(), *self._recorder.sealed()]:
            try:
                await self._ship(path.stem, partial(_read, path))
            except Invalid:
                log.exception("%s is put aside", path)
                path.rename(path.with_suffix(".refused"))
            path.unlink(missing_ok=True)
            self._sent.pop(path.stem, None)
        current = self._recorder.current
        if current is not None:
            await self._ship(current.path.stem, current.read)

    def shipped_bytes(self) -> int:
        """Of the segment that is being written."""
        current = self._recorder.current
        return self._sent.get(current.path.stem, Sent(0, 0)).size_bytes if current else 0

    async def _ship(self, source: str, read: Callable[[int, int], memoryview]) -> None:
        """Send one segment's frames as they are, from where the last answer ended. Started anew,
        it begins at the front: the store skips what it has."""
        sent = self._sent.get(source, Sent(0, 0))
        while piece := read(sent.size_bytes, PIECE_BYTES):
            taken = await self._send(source, sent.rows, piece)
            if not taken.size_bytes:
                return  # the end of a segment, or a frame that a power cut has torn
            sent = Sent(sent.size_bytes + taken.size_bytes, sent.rows + taken.rows)
            self._sent[source] = sent

    async def _send(self, source: str, first: int, piece: memoryview) -> "Sent":
        answer = await fetch(
            f"{self._url}/internal/records/{source}?first={first}",
            token=self._token,
            timeout_s=30,
            method="POST",
            body=piece,
            tls=self._tls,
        )
        if answer.status == 400:
            raise Invalid(f"the control plane cannot read its records: {answer.body[:200]!r}")
        if answer.status != 200:
            raise OSError(f"the control plane answered {answer.status}: {answer.body[:200]!r}")
        return msgspec.json.decode(answer.body, type=Sent)


class Sent(msgspec.Struct, frozen=True):
    """How much of a segment the control plane has stored."""

    size_bytes: int
    rows: int


def _read(path: Path, at: int, limit: int) -> memoryview:
    """Mapped, not copied; nothing from the file's end on."""
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if at >= size_bytes:
            return memoryview(b"")
        mapped = mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_READ)
    return memoryview(mapped)[at : at + limit]
