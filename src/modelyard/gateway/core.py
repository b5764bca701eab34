"""One gateway process: what its requests share, and what it does between them."""

import asyncio
import contextlib
from pathlib import Path

import msgspec

from modelyard.domain.guarantees import Schemas
from modelyard.domain.records import AttemptRecord, Outcome, RequestRecord
from modelyard.domain.snapshot import AccessKey, Snapshot
from modelyard.gateway import listing
from modelyard.gateway.attempts import Attempt
from modelyard.gateway.cache import AnswerCache
from modelyard.gateway.catalog import Catalog
from modelyard.gateway.exchange import Exchange
from modelyard.gateway.kept.store import KeptResponses
from modelyard.gateway.ledger import SharedLedger
from modelyard.gateway.metrics import Metrics, render
from modelyard.gateway.recorder import Recorder, open_request
from modelyard.gateway.shared import SLOT_PAYLOAD_BYTES, SharedFile
from modelyard.gateway.waiting import ServiceQueue
from modelyard.lib import clock, ids
from modelyard.lib.http import HeadCache
from modelyard.ports.ledger import Lease
from modelyard.ports.meta import DEFAULT_TENANT
from modelyard.settings import GatewaySettings

TICK_S = 0.2
FINISH_S = 2.0
"""How long a connection may take to end its answer after the end mark."""

_encoder = msgspec.json.Encoder()


class Gateway:
    """The state of one process. Single-threaded: only its event loop touches it."""

    def __init__(
        self,
        settings: GatewaySettings,
        shared: SharedFile,
        ledger: SharedLedger,
        spool: Path,
        index: int,
        pepper: bytes,
        kept: Path,
    ) -> None:
        self.settings = settings
        self.shared = shared
        self.ledger = ledger
        self.index = index
        self.process = f"gateway-{index}"
        self.region = shared.region(index)
        self.others = [shared.region(n) for n in range(shared.processes) if n != index]
        self.unknown = RequestRecord(
            request_id="",
            tenant=DEFAULT_TENANT,  # until a key says more: its admins run the platform
            started_at_us=0,
            outcome=Outcome.FAILED,
            status=0,
            route="",
            process=self.process,
        )
        self.catalog = Catalog(pepper, self.region, settings, self.unknown, index)
        self.recorder = Recorder(spool, settings.spool_bytes)
        self.metrics = Metrics(self.region)
        self.active: set[Exchange] = set()
        self.cache = AnswerCache(settings.cache_bytes)
        self.schemas = Schemas()
        self.kept = KeptResponses(kept, pepper, settings.kept_bytes)
        self.shadows = 0
        """Copies for shadow services that are open."""
        self.heads = HeadCache()
        self._ids = ids.RequestIds()
        self._finishing: dict[Attempt, float] = {}
        self.draining = False

    # --- used by exchanges -----------------------------------------------------------------

    def new_request_id(self) -> str:
        """A fresh id; ours always, so that a client cannot forge the join key of records."""
        return self._ids.next()

    def open_slot(self, record: RequestRecord, lease: Lease | None) -> int:
        """A slot with what is known of the request and what it reserved, or -1."""
        held = lease.pack() if lease is not None else b""
        payload = open_request(held, _encoder.encode(record))
        if len(payload) > SLOT_PAYLOAD_BYTES:
            slim = msgspec.structs.replace(record, session="", client="", person="")
            payload = open_request(held, _encoder.encode(slim))[:SLOT_PAYLOAD_BYTES]
        return self.region.open_slot(payload)

    def ended(self, exchange: Exchange) -> None:
        """Keep the records of an ended request and free what it held.

        While the spool is full, what was refused is only counted: a flood of bad requests must not
        fill the disk.
        """
        self.active.discard(exchange)
        if exchange.shadow:
            self.shadows -= 1
        if exchange.slot >= 0 or not self.recorder.full:
            self._record(exchange.record, exchange.attempts)
        if exchange.slot >= 0:
            self.region.close_slot(exchange.slot)
        self.metrics.count(exchange.record)

    def _record(self, record: RequestRecord, attempts: list[AttemptRecord]) -> None:
        if len(attempts) == 1 and attempts[0].outcome == "ok":
            record.connect_us = attempts[0].connect_us
            record.first_byte_us = attempts[0].first_byte_us
        else:
            for attempt in attempts:
                self.recorder.append("attempt", attempt)
        self.recorder.append("request", record)

    def let_finish(self, attempt: Attempt) -> None:
        """Its exchange is over; give the connection a moment to end the answer."""
        attempt.detach()
        self._finishing[attempt] = clock.monotonic_s() + FINISH_S

    def pump_soon(self, queue: ServiceQueue) -> None:
        """A slot became free: let others go, but not from within whoever freed it."""
        asyncio.get_running_loop().call_soon(queue.pump)

    # --- between requests ------------------------------------------------------------------

    def swap(self, snapshot: Snapshot) -> None:
        """Serve from a new snapshot."""
        self.catalog.swap(snapshot)

    def tick(self) -> None:
        """Time limits, the others' load, room in the spool."""
        now_s = clock.monotonic_s()
        for exchange in list(self.active):
            exchange.check_limits(now_s)
        for attempt, until_s in list(self._finishing.items()):
            if until_s < now_s:
                attempt.cancel()
                del self._finishing[attempt]
        self.catalog.see_others(self.others)
        for queue in self.catalog.queues():
            queue.tick(now_s)
        self.recorder.check()
        self.ledger.tick(clock.now_us())

    async def run(self) -> None:
        """Tick until cancelled; write the shared file's pages to disk once a second, and
        now and then remove what was kept for long enough."""
        turn = 0
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()
            turn += 1
            if turn % 5 == 0:
                with contextlib.suppress(OSError):
                    await loop.run_in_executor(None, self._sync)
            if self.kept.is_due(clock.monotonic_s()):
                with contextlib.suppress(OSError):
                    await loop.run_in_executor(None, self.kept.sweep, clock.now_us())

    def _sync(self) -> None:
        self.shared.sync()
        self.ledger.sync()

    # --- what it says of itself ------------------------------------------------------------

    def render_metrics(self) -> bytes:
        """Prometheus text for all processes of the machine."""
        in_flight = {
            endpoint.id: endpoint.load.in_flight + endpoint.load.others
            for endpoint in self.catalog.endpoints.by_id.values()
        }
        age_s = max(0.0, (clock.now_us() - self.catalog.created_at_us) / 1_000_000)
        gauges = {
            "snapshot_generation": (
                "Generation of the snapshot being served",
                float(self.catalog.generation),
            ),
            "snapshot_age_seconds": ("Age of the snapshot being served", age_s),
            "spool_segments": (
                "Spool files whose records the control plane has not yet taken",
                float(len(self.recorder.sealed())),
            ),
        }
        return render([self.region, *self.others], in_flight, gauges)

    def models(self, key: AccessKey) -> bytes:
        """The body of `GET /v1/models` for this key."""
        return listing.models(self.catalog.services(key))

    def model(self, key: AccessKey, name: str) -> bytes:
        """The body of `GET /v1/models/{name}`; the key must be allowed to call it."""
        service = self.catalog.service(key, name)
        assert service is not None
        return listing.model(service)
