"""A control plane in memory for tests, over real HTTP where that matters."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from modelyard.app import App, secrets_of
from modelyard.control.access import Access
from modelyard.control.insight import Insight
from modelyard.control.limits import Limits
from modelyard.control.providers import Providers
from modelyard.control.registry import Registry
from modelyard.control.services import Services
from modelyard.control.snapshots import Snapshots
from modelyard.entry.api import create_api
from modelyard.entry.control import Server
from modelyard.lib.datafolder import DataFolder
from modelyard.ports.engine import LaunchSpec, ReplicaState
from modelyard.settings import Settings
from modelyard.testing.stores import MemoryBlobStore, MemoryMetaStore, MemoryRecordStore

NOWHERE = "http://127.0.0.1:9"
"""Where no gateway listens."""


class MemoryTarget:
    """Implements Target: it remembers what was asked and runs nothing."""

    def __init__(self) -> None:
        self.applied: dict[str, tuple[LaunchSpec, int]] = {}
        self.states: list[ReplicaState] = []
        self.lines: dict[str, list[str]] = {}

    def apply(self, revision: str, spec: LaunchSpec, replicas: int) -> None:
        """See the port."""
        self.applied[revision] = (spec, replicas)

    def replicas(self) -> Sequence[ReplicaState]:
        """See the port."""
        return self.states

    def delete(self, revision: str) -> None:
        """See the port."""
        self.applied.pop(revision, None)

    def logs(self, replica: str, lines: int) -> Sequence[str]:
        """See the port."""
        return self.lines.get(replica, [])[-lines:]


def memory_app(folder: Path, settings: Settings | None = None) -> App:
    """All parts on memory stores; `folder` holds the secrets. Close it after use."""
    data = DataFolder(folder)
    data.create()
    meta, blobs, records = MemoryMetaStore(), MemoryBlobStore(), MemoryRecordStore()
    secrets, store = secrets_of(data)
    return App(
        settings=settings or Settings(data=folder),
        folder=data,
        meta=meta,
        blobs=blobs,
        records=records,
        access=Access(meta, data.pepper()),
        insight=Insight(records),
        limits=Limits(meta),
        providers=Providers(meta, secrets, store),
        secrets=secrets,
        registry=Registry(meta, blobs),
        services=Services(meta),
        snapshots=Snapshots(meta),
    )


@contextmanager
def serving(
    app: App, target: MemoryTarget | None = None, gateway_url: str = NOWHERE
) -> Iterator[str]:
    """The API of the app on a port that the system chose: its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with served(create_api(app, target or MemoryTarget(), gateway_url, url), listener):
            yield url


@contextmanager
def served(api: FastAPI, listener: socket.socket) -> Iterator[Server]:
    """An API of `create_api` on a listening socket, in a thread of its own."""
    config = uvicorn.Config(api, log_level="error", access_log=False, timeout_graceful_shutdown=3)
    server = Server(config, api.state.context)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join()
        api.state.context.app.snapshots.close()
