"""The main of a gateway process: started by the supervisor, never by hand."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from modelyard.gateway.core import Gateway
from modelyard.gateway.feed import Shipper, SnapshotFeed
from modelyard.gateway.ledger import SharedLedger
from modelyard.gateway.server import Server
from modelyard.gateway.shared import SharedFile
from modelyard.lib import clock, lifeline
from modelyard.lib.datafolder import DataFolder
from modelyard.lib.tls import calling, listening
from modelyard.settings import Settings, from_json

DRAIN_S = 10.0
OPEN_FILES = 65_536
"""Files and connections that a gateway process may have open, if the system lets it."""

log = logging.getLogger(__name__)


def main() -> None:
    """Serve until SIGTERM, then finish what is open and ship the last records."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s gateway: %(message)s")
    environment = os.environ
    if "MODELYARD_INTERNAL_PARENT" in environment:
        lifeline.hold(int(environment["MODELYARD_INTERNAL_PARENT"]))
    settings = from_json(environment["MODELYARD_INTERNAL_SETTINGS"])
    listener = socket.socket(fileno=int(environment["MODELYARD_INTERNAL_LISTEN_FD"]))
    index = int(environment.get("MODELYARD_INTERNAL_PROCESS", "0"))
    control_url = environment["MODELYARD_INTERNAL_CONTROL_URL"]
    serve = _serve(settings, listener, index, control_url)
    if sys.platform == "win32":
        raise SystemExit("the gateway runs on Linux and macOS")
    import uvloop

    _allow_open_files()
    uvloop.run(serve)


def _allow_open_files() -> None:
    """A request takes two, and many shells allow a process 1024; it may have more if it asks."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(settings: Settings, listener: socket.socket, index: int, control_url: str) -> None:
    folder = DataFolder(settings.data)
    workers = settings.gateway.workers
    shared = SharedFile(folder.shared, workers)
    ledger = SharedLedger(folder.ledger, index, workers, now_us=clock.now_us())
    spool = folder.spool / str(index)
    gateway = Gateway(settings.gateway, shared, ledger, spool, index, folder.pepper(), folder.kept)
    token = folder.internal_token()
    trusted = calling(settings.control.tls.certificate)
    feed = SnapshotFeed(control_url, token, folder.snapshot, gateway.swap, str(index), trusted)
    feed.load()

    def orphans() -> list[Path]:
        return _orphans(folder.spool, workers) if index == 0 else []

    shipper = Shipper(control_url, token, gateway.recorder, orphans, trusted)
    server = Server(gateway)
    loop = asyncio.get_running_loop()
    tls = settings.gateway.tls
    secure = listening(tls.certificate, tls.key, "gateway")
    accepting = await loop.create_server(server.connection, sock=listener, backlog=4096, ssl=secure)
    tasks = [
        loop.create_task(work)
        for work in (gateway.run(), feed.run(), shipper.run(), _watch_limits(server))
    ]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    failed = await _until(stop, tasks)
    accepting.close()
    await _drain(gateway, server)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(Exception):  # what cannot be shipped stays in the spool
        await asyncio.wait_for(shipper.ship(), 2.0)
    gateway.recorder.close(shipper.shipped_bytes())
    if failed:
        raise SystemExit(1)


async def _until(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> bool:
    """Wait for the signal; True when a task that never ends has ended before.

    A gateway that lives on without its snapshot feed or recorder would be worse than one that is
    started anew.
    """
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    ended = [task for task in tasks if task.done()]
    for task in ended:
        log.error("the gateway process starts anew", exc_info=task.exception())
    return bool(ended)


async def _watch_limits(server: Server) -> None:
    while True:
        await asyncio.sleep(1.0)
        server.check_limits()


async def _drain(gateway: Gateway, server: Server) -> None:
    gateway.draining = True
    server.check_limits()
    for _ in range(int(DRAIN_S / 0.05)):
        if not gateway.active:
            return
        await asyncio.sleep(0.05)
    for exchange in list(gateway.active):
        exchange.cancel()


def _orphans(spool: Path, workers: int) -> list[Path]:
    """Segments of gateway processes that a smaller `--workers` no longer starts."""
    return sorted(
        path
        for folder in spool.iterdir()
        if folder.name.isdigit() and int(folder.name) >= workers
        for path in folder.glob("*.spool")
    )


if __name__ == "__main__":
    main()
