"""The snapshot that gateways serve from: compiled from documents, handed out by long poll."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec

from modelyard.control.access import KIND as KEY_KIND
from modelyard.control.access import is_valid
from modelyard.control.reconcile import Status
from modelyard.control.services import KIND as SERVICE_KIND
from modelyard.control.services import STATUS_KIND
from modelyard.domain import services
from modelyard.domain.snapshot import AccessKey, Price, Revision, Service, Snapshot, seal
from modelyard.errors import Invalid
from modelyard.lib import clock
from modelyard.ports.meta import Commit, Document, MetaStore, all_of, newest

NANO = 1_000_000_000
RELEVANT = {KEY_KIND, SERVICE_KIND, STATUS_KIND}
WATCH_S = 0.5
"""One look of the watching thread, which also bounds how long it outlives its last waiter."""

log = logging.getLogger(__name__)


class Snapshots:
    """Compiles when something relevant has changed; safe for many threads."""

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta
        self._lock = threading.Lock()
        self._current: Snapshot | None = None
        self._seen = 0
        self._watch = Watch(meta)

    def current(self, now_us: int) -> Snapshot:
        """The snapshot of what is stored now."""
        with self._lock:
            while self._current is not None and (commits := self._meta.watch(self._seen, 0.0)):
                self._seen = commits[-1].generation
                if any(map(_relevant, commits)):
                    self._current = None
            if self._current is None:
                self._seen = newest(self._meta, self._seen)
                self._current = self._compile(self._seen, now_us)
            return self._current

    async def newer(
        self, epoch: str, generation: int, wait_s: float, now_us: Callable[[], int] = clock.now_us
    ) -> Snapshot | None:
        """The snapshot once it is not the one that the caller has; None when that did not happen
        in time, or when `stop` was called. Waiting holds no thread."""
        deadline_s = clock.monotonic_s() + wait_s
        with self._watch.waiter() as changed:
            while True:
                changed.clear()
                current = await asyncio.to_thread(self.current, now_us())
                if (current.epoch, current.generation) != (epoch, generation):
                    return current
                left_s = deadline_s - clock.monotonic_s()
                if left_s <= 0 or self._watch.stopped or not await _happens(changed, left_s):
                    return None

    def stop(self) -> None:
        """End all waiting, now and from now on; nothing blocks."""
        self._watch.stop()

    def close(self) -> None:
        """`stop`, and wait until the store is not watched any more."""
        self._watch.stop()
        self._watch.join()

    def compile(self, now_us: int) -> Snapshot:
        """Services with what answers for them, and the keys that are valid now."""
        return self._compile(newest(self._meta), now_us)

    def _compile(self, generation: int, now_us: int) -> Snapshot:
        """`generation` was read before, so that the snapshot never claims more than it holds."""
        statuses = {
            (status.key.tenant, status.key.name): msgspec.convert(status.body, Status)
            for status in all_of(self._meta, "*", STATUS_KIND)
        }
        return seal(
            Snapshot(
                epoch=self._meta.epoch,
                generation=generation,
                created_at_us=now_us,
                services=tuple(
                    _service(document, statuses.get((document.key.tenant, document.key.name)))
                    for document in all_of(self._meta, "*", SERVICE_KIND)
                ),
                keys=tuple(
                    _key(document)
                    for document in all_of(self._meta, "*", KEY_KIND)
                    if is_valid(document, now_us)
                ),
            )
        )


class Watch:
    """One thread that wakes all who wait for relevant commits; it lives while somebody waits."""

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta
        self._lock = threading.Lock()
        self._waiters: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._thread: threading.Thread | None = None
        self.stopped = False

    @contextmanager
    def waiter(self) -> Iterator[asyncio.Event]:
        """An event of the running loop, set whenever something relevant may have changed."""
        event = asyncio.Event()
        with self._lock:
            self._waiters[event] = asyncio.get_running_loop()
            if self._thread is None and not self.stopped:
                self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)
                self._thread.start()
        try:
            yield event
        finally:
            with self._lock:
                del self._waiters[event]

    def stop(self) -> None:
        """Wake all waiters for the last time."""
        self.stopped = True
        self._wake()

    def join(self) -> None:
        """Wait for the end of the thread after `stop`."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        seen = -1
        while self._goes_on():
            try:
                seen = self._look(seen)
            except Exception:  # whatever it was, the gateways go on waiting for changes
                log.exception("changes are not seen for now")
                time.sleep(WATCH_S)

    def _look(self, seen: int) -> int:
        if seen < 0:
            seen = newest(self._meta)
            self._wake()  # what came before this look is not seen by the next one
            return seen
        commits = self._meta.watch(seen, WATCH_S)
        if any(map(_relevant, commits)):
            self._wake()
        return commits[-1].generation if commits else seen

    def _goes_on(self) -> bool:
        with self._lock:
            if self._waiters and not self.stopped:
                return True
            self._thread = None
            return False

    def _wake(self) -> None:
        with self._lock:
            waiters = list(self._waiters.items())
        for event, loop in waiters:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                continue  # its loop is closing: nobody waits


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _relevant(commit: Commit) -> bool:
    return any(key.kind in RELEVANT for key in commit.keys)


def _service(document: Document, status: Status | None) -> Service:
    revision = Revision(id="")
    if status is not None:
        revision = Revision(
            id=status.revision,
            model=status.model,
            model_version=status.model_version,
            model_digest=status.model_digest,
            engine=status.engine,
            endpoints=status.endpoints,
            price=_price(document.body),
        )
    return Service(
        tenant=document.key.tenant,
        name=document.key.name,
        revision=revision,
        created_at_us=document.updated_at_us,
    )


def _price(body: Mapping[str, Any]) -> Price | None:
    try:
        price = services.parse(dict(body)).spec.price
    except Invalid:
        return None  # the reconciler says so in the status; what runs goes on without a price
    if price is None:
        return None
    cached = price.cached_usd_per_million
    return Price(
        input=_nano(price.input_usd_per_million),
        output=_nano(price.output_usd_per_million),
        cached=_nano(price.input_usd_per_million if cached is None else cached),
    )


def _nano(dollars: float) -> int:
    """Nano-dollars, rounded up; through the decimal text, so that 0.1 is a tenth."""
    return int((Decimal(str(dollars)) * NANO).to_integral_value(ROUND_CEILING))


def _key(document: Document) -> AccessKey:
    body = document.body
    return AccessKey(
        id=body["id"],
        digest=body["digest"],
        tenant=document.key.tenant,
        role=body["role"],
        services=tuple(body["services"]),
        team=body["team"],
        person=body["person"],
        client=body["client"],
        expires_at_us=body["expires_at_us"],
    )
