"""The main of the control process: API and pages. Started by the supervisor, never by hand."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from modelyard import app as composition
from modelyard.adapters.target.channel import ChannelTarget
from modelyard.entry.api import create_api
from modelyard.entry.api.context import Context
from modelyard.entry.ui import add_pages
from modelyard.lib import clock, lifeline
from modelyard.lib.channel import Channel
from modelyard.settings import Settings, from_json

PRUNE_EVERY_S = 3600.0
DAY_US = 24 * 3600 * 1_000_000

log = logging.getLogger(__name__)


def main() -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s control: %(message)s")
    lifeline.hold(int(os.environ["MODELYARD_INTERNAL_PARENT"]))
    settings = from_json(os.environ["MODELYARD_INTERNAL_SETTINGS"])
    app = composition.build(settings)
    target = ChannelTarget(Channel(int(os.environ["MODELYARD_INTERNAL_CHANNEL_FD"])))
    api = create_api(
        app,
        target,
        os.environ["MODELYARD_INTERNAL_GATEWAY_URL"],
        os.environ["MODELYARD_INTERNAL_CONTROL_URL"],
    )
    add_pages(api)
    listener = socket.socket(fileno=int(os.environ["MODELYARD_INTERNAL_LISTEN_FD"]))
    try:
        _run(_serve(api, settings, app, listener))
    finally:
        app.close()


def _run(serving: Coroutine[Any, Any, None]) -> None:
    """On uvloop where there is one."""
    if sys.platform == "win32":
        asyncio.run(serving)
        return
    import uvloop

    uvloop.run(serving)


async def _serve(
    api: FastAPI, settings: Settings, app: composition.App, listener: socket.socket
) -> None:
    tls = settings.control.tls
    config = uvicorn.Config(
        api,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,
        ssl_certfile=tls.certificate or None,
        ssl_keyfile=tls.key or None,
        server_header=False,
    )
    server = Server(config, api.state.context)
    pruning = asyncio.create_task(_prune(settings, app))
    try:
        await server.serve(sockets=[listener])
    finally:
        pruning.cancel()
        await asyncio.gather(pruning, return_exceptions=True)
        await asyncio.to_thread(app.snapshots.close)


class Server(uvicorn.Server):
    """Tells long answers (live events, snapshot polls) that the process ends."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Only ask for the end: uvicorn would raise the signal once more when it has finished,
        and kill the process before the stores are closed."""
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self._context.stop()
        await super().shutdown(sockets)


async def _prune(settings: Settings, app: composition.App) -> None:
    """Drop old days of records now and then."""
    while True:
        before_us = clock.now_us() - settings.control.records_retention_days * DAY_US
        try:
            await asyncio.to_thread(app.insight.prune, before_us)
        except Exception:  # the next hour may be better
            log.exception("old records could not be deleted; the next try deletes them")
        await asyncio.sleep(PRUNE_EVERY_S)


if __name__ == "__main__":
    main()
