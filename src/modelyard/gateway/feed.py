"""The two inner streams: snapshot down, records up. Neither is ever waited for by a request."""

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import msgspec

from modelyard.domain import snapshot as snapshots
from modelyard.errors import ModelyardError
from modelyard.gateway.recorder import Recorder, Segment, SegmentReader
from modelyard.lib.fetch import fetch

WAIT_S = 25.0
PAUSE_S = 0.25
"""Between two tries while the control plane does not answer."""
BATCH = 500
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
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._url = control_url
        self._token = token
        self._file = file
        self._swap = swap
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
            f"&wait_s={WAIT_S:g}",
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
        self._readers: dict[str, SegmentReader] = {}

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
            await self._ship_segment(path, None)
            path.unlink(missing_ok=True)
            self._readers.pop(path.stem, None)
        current = self._recorder.current
        if current is not None:
            await self._ship_segment(current.path, current)

    async def _ship_segment(self, path: Path, writing: Segment | None) -> None:
        reader = self._readers.get(path.stem)
        if reader is None:
            reader = SegmentReader(path)
            if writing is None or writing.entries:
                reader.take(await self._ask(path.stem))
            self._readers[path.stem] = reader
        while entries := reader.peek(BATCH):
            await self._send(path.stem, reader.entries + len(entries), entries)
            reader.take(len(entries))

    async def _ask(self, source: str) -> int:
        answer = await fetch(
            f"{self._url}/internal/records/{source}",
            token=self._token,
            timeout_s=10,
            tls=self._tls,
        )
        if answer.status != 200:
            raise OSError(f"the control plane answered {answer.status}")
        return msgspec.json.decode(answer.body, type=_Acknowledged).acknowledged

    async def _send(self, source: str, sequence: int, entries: list[bytes]) -> None:
        rows = b",".join(entries)
        body = b'{"source":"%b","sequence":%d,"rows":[%b]}' % (source.encode(), sequence, rows)
        answer = await fetch(
            f"{self._url}/internal/records",
            token=self._token,
            timeout_s=30,
            method="POST",
            body=body,
            tls=self._tls,
        )
        if answer.status != 200:
            raise OSError(f"the control plane answered {answer.status}: {answer.body[:200]!r}")


class _Acknowledged(msgspec.Struct):
    acknowledged: int
