"""`modelyard up`: binds the addresses, starts and restarts the processes, owns the replicas.

It is small on purpose: everything else may die and comes back; when this one dies, all die.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from modelyard import app as composition
from modelyard.adapters.target.channel import handlers
from modelyard.adapters.target.process import ProcessTarget
from modelyard.control.reconcile import ACTOR
from modelyard.control.services import STATUS_KIND
from modelyard.control.status import Status, forgotten
from modelyard.domain import snapshot as snapshots
from modelyard.errors import Conflict, ModelyardError, Unavailable
from modelyard.gateway.ledger import Watch
from modelyard.gateway.recorder import close_lost_slots
from modelyard.gateway.shared import PublishedLoad, SharedFile, endpoint_hash
from modelyard.lib import clock
from modelyard.lib.channel import serve
from modelyard.lib.datafolder import DataFolder, write_private
from modelyard.lib.fetch import fetch
from modelyard.lib.tls import calling, listening
from modelyard.ports.meta import Change, all_of
from modelyard.settings import Settings, to_json

READY_S = 30.0
STOP_S = 15.0
BACKOFF_S = 0.1
_GATEWAY_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "8388608", "MALLOC_TRIM_THRESHOLD_": "16777216"}
"""For glibc: keep the memory of a large request for the next one. Left to itself it gives each
buffer of 100 KB back to the kernel, and the page faults of the next cost more than the request."""
MAX_BACKOFF_S = 5.0
LOOK_S = 1.0
"""How often it is looked whether somebody holds the ledger for too long."""
STEADY_S = 10.0

log = logging.getLogger(__name__)


def run(settings: Settings, on_ready: Callable[[dict[str, Any]], None]) -> int:
    """Run the platform until SIGTERM or SIGINT; the exit code.

    `on_ready` is called once with `{gateway_url, control_url, pid, data, first_start, admin_key}`
    (the key only at the first start). Raises Conflict when the folder or a port is taken.
    """
    # Documents hold upstream keys, and a folder that existed before may be open to others.
    os.umask(0o077)
    for where, tls in (("gateway", settings.gateway.tls), ("control", settings.control.tls)):
        listening(tls.certificate, tls.key, where)
    folder = DataFolder(settings.data)
    folder.create()
    lock = folder.lock()
    try:
        admin_key = _prepare(settings, folder)
        return asyncio.run(Supervisor(settings, folder).run(admin_key, on_ready))
    finally:
        folder.run.unlink(missing_ok=True)
        lock.close()


def _prepare(settings: Settings, folder: DataFolder) -> str:
    """Bring the folder into the state that the processes start from; the first admin key."""
    app = composition.build(settings)
    try:
        key = app.access.first_admin_key(clock.now_us()) or ""
        if key:
            write_private(folder.admin_key, key + "\n")
        _forget_replicas(app)
        snapshot = app.snapshots.compile(clock.now_us())
        write_private(folder.snapshot, snapshots.encode(snapshot).decode())
        return key
    finally:
        app.close()


def _forget_replicas(app: composition.App) -> None:
    """Replicas ended with the former supervisor: nothing may be sent to their ports."""
    for stored in all_of(app.meta, "*", STATUS_KIND):
        status = msgspec.convert(stored.body, Status)
        fresh = forgotten(status)
        if fresh == status:
            continue
        change = Change(stored.key, msgspec.to_builtins(fresh), stored.generation)
        app.meta.commit([change], ACTOR, "the platform was started")


class Supervisor:
    """The running platform."""

    def __init__(self, settings: Settings, folder: DataFolder) -> None:
        self._settings = settings
        self._folder = folder
        self._stopping = asyncio.Event()
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._shared = SharedFile(folder.shared, settings.gateway.workers)
        self._ledger = Watch(folder.ledger)
        self._target = ProcessTarget(settings.replicas, folder.logs, self._in_flight)

    async def run(self, admin_key: str, on_ready: Callable[[dict[str, Any]], None]) -> int:
        """Start everything, say so, wait for the signal, stop everything."""
        settings = self._settings
        gateway = _listen(settings.gateway.host, settings.gateway.port, "--port")
        control = _listen(settings.control.host, settings.control.port, "--control-port")
        gateway_url = _url(gateway, bool(settings.gateway.tls.certificate))
        control_url = _url(control, bool(settings.control.tls.certificate))
        self._catch_signals()
        urls = {
            "MODELYARD_INTERNAL_GATEWAY_URL": gateway_url,
            "MODELYARD_INTERNAL_CONTROL_URL": control_url,
        }
        keepers = [
            asyncio.create_task(self._keep("control", urls, listener=control, channel=True)),
            asyncio.create_task(self._keep("reconciler", urls, channel=True)),
        ]
        keepers.append(asyncio.create_task(self._watch_ledger()))
        for number in range(settings.gateway.workers):
            environment = {**urls, "MODELYARD_INTERNAL_PROCESS": str(number)}
            keepers.append(
                asyncio.create_task(self._keep(f"gateway-{number}", environment, listener=gateway))
            )
        try:
            await self._await_ready(gateway_url, control_url)
            known = self._write_run(gateway_url, control_url)
            key = {"admin_key": admin_key} if admin_key else {}
            on_ready({**known, "first_start": bool(admin_key), **key})
            await self._stopping.wait()
        finally:
            self._stopping.set()
            await self._stop(keepers)
        return 0

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            # Asked twice: whoever asks wants out now. The kernel ends the children with us.
            os._exit(130)
        self._stopping.set()

    def _write_run(self, gateway_url: str, control_url: str) -> dict[str, Any]:
        settings = self._settings
        known = {
            "gateway_url": gateway_url,
            "control_url": control_url,
            "pid": os.getpid(),
            "data": str(self._folder.root),
            "gateway_certificate": _absolute(settings.gateway.tls.certificate),
            "control_certificate": _absolute(settings.control.tls.certificate),
        }
        write_private(self._folder.run, json.dumps(known))
        return known

    async def _await_ready(self, gateway_url: str, control_url: str) -> None:
        deadline_s = clock.monotonic_s() + READY_S
        settings = self._settings
        for url, tls in (
            (f"{control_url}/healthz", settings.control.tls),
            (f"{gateway_url}/healthz", settings.gateway.tls),
        ):
            trusted = calling(tls.certificate)
            while not await _answers(url, trusted):
                if self._stopping.is_set():
                    return
                if clock.monotonic_s() > deadline_s:
                    raise Unavailable(
                        f"{url} does not answer {READY_S:g} s after the start",
                        hint="its process says why above",
                    )
                await asyncio.sleep(0.05)

    # --- processes -------------------------------------------------------------------------

    async def _keep(
        self,
        name: str,
        environment: dict[str, str],
        *,
        listener: socket.socket | None = None,
        channel: bool = False,
    ) -> None:
        """Keep one process running; each start gets a channel of its own."""
        pause_s = BACKOFF_S
        while not self._stopping.is_set():
            started_s = clock.monotonic_s()
            code = await self._run_once(name, environment, listener, channel)
            if self._stopping.is_set():
                return
            if clock.monotonic_s() - started_s > STEADY_S:
                pause_s = BACKOFF_S
            log.warning("%s ended with status %s and is started again", name, code)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            pause_s = min(pause_s * 2, MAX_BACKOFF_S)

    async def _run_once(
        self,
        name: str,
        environment: dict[str, str],
        listener: socket.socket | None,
        channel: bool,
    ) -> int:
        kind, _, number = name.partition("-")
        if number:
            await self._close_slots(int(number))
        passed: list[int] = []
        theirs: socket.socket | None = None
        serving: asyncio.Task[None] | None = None
        if listener is not None:
            passed.append(listener.fileno())
            environment = {**environment, "MODELYARD_INTERNAL_LISTEN_FD": str(listener.fileno())}
        if channel:
            ours, theirs = socket.socketpair()
            passed.append(theirs.fileno())
            environment = {**environment, "MODELYARD_INTERNAL_CHANNEL_FD": str(theirs.fileno())}
            serving = asyncio.create_task(serve(ours, handlers(self._target)))
        try:
            process = await self._spawn(kind, environment, passed)
        finally:
            if theirs is not None:
                theirs.close()
        self._children[name] = process
        try:
            return await process.wait()
        finally:
            del self._children[name]
            if serving is not None:
                serving.cancel()

    async def _spawn(
        self, kind: str, environment: dict[str, str], passed: list[int]
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"modelyard.entry.{kind}",
            stdin=asyncio.subprocess.PIPE,
            env={
                **(_GATEWAY_MEMORY if kind == "gateway" else {}),
                **os.environ,
                **environment,
                "MODELYARD_INTERNAL_SETTINGS": to_json(self._settings),
                "MODELYARD_INTERNAL_PARENT": str(os.getpid()),
            },
            pass_fds=passed,
            start_new_session=True,
        )  # fmt: skip

    async def _close_slots(self, number: int) -> None:
        """What a dead gateway process left open becomes `gateway_lost` records."""
        folder = self._folder
        try:
            lost = await asyncio.get_running_loop().run_in_executor(
                None, close_lost_slots, folder.shared, folder.spool, number, self._settle
            )
        except (ModelyardError, OSError) as error:
            log.warning("open requests of gateway-%d are not closed: %s", number, error)
            return
        if lost:
            log.warning("%d requests were open when gateway-%d ended", lost, number)

    def _settle(self, held: bytes) -> None:
        self._ledger.settle_packed(held, clock.now_us())

    async def _watch_ledger(self) -> None:
        """A gateway process that was frozen while it held the ledger stops all others from
        admitting anything: end it, and the kernel lets go for it."""
        while True:
            await asyncio.sleep(LOOK_S)
            number = self._ledger.stuck(clock.now_us())
            process = self._children.get(f"gateway-{number}")
            if process is not None:
                log.warning("gateway-%s holds the ledger and does not go on: it is ended", number)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def _stop(self, keepers: list[asyncio.Task[None]]) -> None:
        """Gateways first, so that open answers end; then those who feed them; then replicas."""
        for prefix in ("gateway", "reconciler", "control"):
            await self._stop_children(prefix)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._target.stop(), STOP_S)
        for task in keepers:
            task.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)

    async def _stop_children(self, prefix: str) -> None:
        processes = [process for name, process in self._children.items() if name.startswith(prefix)]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        waiting = [asyncio.create_task(process.wait()) for process in processes]
        if waiting:
            await asyncio.wait(waiting, timeout=STOP_S)
        for process in processes:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    def _in_flight(self, endpoint: str) -> int:
        key = endpoint_hash(endpoint)
        regions = (self._shared.region(number) for number in range(self._shared.processes))
        return sum(region.loads().get(key, PublishedLoad()).in_flight for region in regions)


def _absolute(path: str) -> str:
    return str(Path(path).resolve()) if path else ""


def _listen(host: str, port: int, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(4096)
    except OSError as error:
        listener.close()
        raise Conflict(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint=f"choose another with {option} (0 lets the system choose)",
        ) from error
    listener.setblocking(False)
    return listener


def _url(listener: socket.socket, secure: bool) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def _answers(url: str, tls: ssl.SSLContext | None) -> bool:
    try:
        return (await fetch(url, token="", timeout_s=2.0, tls=tls)).status == 200
    except ModelyardError:
        return False
