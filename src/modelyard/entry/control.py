"""The main of the control process: API and pages. Started by the supervisor, never by hand."""

import asyncio
import contextlib
import logging
import os
import socket
import sys

import uvicorn
from fastapi import FastAPI

from modelyard import app as composition
from modelyard.adapters.target.channel import ChannelTarget
from modelyard.entry.api import create_api
from modelyard.entry.ui import add_pages
from modelyard.errors import ModelyardError
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
        asyncio.run(_serve(api, settings, app, listener))
    finally:
        app.close()
    sys.exit(0)


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
    server = _Server(config, api)
    pruning = asyncio.create_task(_prune(settings, app))
    try:
        await server.serve(sockets=[listener])
    finally:
        pruning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pruning


class _Server(uvicorn.Server):
    """Tells long answers (live events, snapshot polls) that the process ends."""

    def __init__(self, config: uvicorn.Config, api: FastAPI) -> None:
        super().__init__(config)
        self._api = api

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._api.state.context.stopping.set()
        await super().shutdown(sockets)


async def _prune(settings: Settings, app: composition.App) -> None:
    """Drop old days of records now and then."""
    while True:
        before_us = clock.now_us() - settings.control.records_retention_days * DAY_US
        try:
            await asyncio.to_thread(app.insight.prune, before_us)
        except ModelyardError as error:
            log.warning("old records are kept for now: %s", error)
        await asyncio.sleep(PRUNE_EVERY_S)


if __name__ == "__main__":
    main()
