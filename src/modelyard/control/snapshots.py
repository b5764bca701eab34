"""The snapshot that gateways serve from: compiled from documents, handed out by long poll."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelyard.control import compiling
from modelyard.control.services import STATUS_KIND
from modelyard.domain.documents import ACCESS_KEY, LIMIT, SERVICE
from modelyard.domain.snapshot import Snapshot, seal
from modelyard.lib import clock
from modelyard.ports.meta import Commit, MetaStore, all_of, newest

RELEVANT = {ACCESS_KEY, SERVICE, STATUS_KIND, LIMIT}
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
        """Services with what answers for them, the keys that are valid now, and their limits."""
        return self._compile(newest(self._meta), now_us)

    def _compile(self, generation: int, now_us: int) -> Snapshot:
        """`generation` was read before, so that the snapshot never claims more than it holds."""
        keys = compiling.keys(all_of(self._meta, "*", ACCESS_KEY), now_us)
        services = compiling.services(
            all_of(self._meta, "*", SERVICE), all_of(self._meta, "*", STATUS_KIND)
        )
        return seal(
            Snapshot(
                epoch=self._meta.epoch,
                generation=generation,
                created_at_us=now_us,
                services=services,
                keys=keys,
                limits=compiling.limits(all_of(self._meta, "*", LIMIT), services, keys),
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
                log.exception("changes could not be looked for; the next look is in a moment")
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
