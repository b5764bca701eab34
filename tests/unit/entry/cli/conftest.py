"""The real control API in this process, over stores in a temporary folder, and no engine."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner, Result

from modelyard import app as composition
from modelyard.domain.records import AttemptRecord, RequestRecord
from modelyard.entry.api import create_api
from modelyard.entry.cli.main import cli
from modelyard.errors import NotFound
from modelyard.lib import clock, ids
from modelyard.lib.datafolder import DataFolder
from modelyard.ports.engine import LaunchSpec, ReplicaState
from modelyard.ports.meta import ABSENT, Change, Key
from modelyard.ports.records import Batch
from modelyard.settings import Settings, StoreSettings
from modelyard.testing.echo import Behaviour, EchoServer


class Replicas:
    """A target that runs nothing: it shows what it was given."""

    def __init__(self) -> None:
        self.states: list[ReplicaState] = []
        self.lines: dict[str, list[str]] = {}

    def apply(self, revision: str, spec: LaunchSpec, replicas: int) -> None:
        return

    def replicas(self) -> Sequence[ReplicaState]:
        return self.states

    def delete(self, revision: str) -> None:
        return

    def logs(self, replica: str, lines: int) -> Sequence[str]:
        if replica not in self.lines:
            raise NotFound(f"no replica {replica!r}")
        return self.lines[replica][-lines:]


@dataclass
class Platform:
    """What a test does to the platform behind the command's back."""

    app: composition.App
    target: Replicas
    data: Path
    url: str
    admin_key: str

    def run(self, *arguments: str, stdin: str = "") -> Result:
        """A command on this platform's data folder."""
        return run(*arguments, "--data", str(self.data), stdin=stdin)

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """Its answer with -o json; the command must go well."""
        result = self.run(*arguments, "-o", "json", stdin=stdin)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def status(self, service: str, **fields: Any) -> None:
        """What the reconciler would write."""
        key = Key("default", "ServiceStatus", service)
        before = self.app.meta.get(key)
        generation = self.app.services.get("default", service)["generation"]
        body = {"generation": generation, "phase": "ready", "message": "", "replicas": [],
                "endpoints": [], **fields}  # fmt: skip
        expected = before.generation if before else ABSENT
        self.app.meta.commit([Change(key, body, expected)], "reconciler", "test")

    def record(self, attempts: int = 1, **fields: Any) -> str:
        """A request that happened; its id."""
        request_id, now_us = ids.request_id(), clock.now_us()
        common = {"request_id": request_id, "tenant": "default", "started_at_us": now_us}
        facts = {"outcome": "completed", "status": 200, "route": "/v1/chat/completions",
                 "service": "support", "duration_us": 200_000, "ttft_us": 50_000,
                 "admission_us": 100, "tokens_input": 12, "tokens_output": 34,
                 "client": "test", "attempts": attempts}  # fmt: skip
        request = RequestRecord(**common, **{**facts, **fields})
        tries = [
            AttemptRecord(**common, number=number, endpoint="support-1", offset_us=number * 1000,
                          first_byte_us=40_000, duration_us=150_000, status=200, outcome="ok")
            for number in range(1, attempts + 1)
        ]  # fmt: skip
        self.app.insight.ingest(Batch("", 0, [request, *tries]))
        return request_id


def run(*arguments: str, stdin: str = "") -> Result:
    """A command, with nothing of this machine's environment."""
    clean = {"MODELYARD_URL": "", "MODELYARD_API_KEY": "", "MODELYARD_DEBUG": ""}
    return CliRunner(env=clean).invoke(cli, list(arguments), input=stdin, prog_name="modelyard")


@pytest.fixture(name="run")
def run_fixture() -> Callable[..., Result]:
    return run


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A control plane with nothing in it yet, and `run.json` as the supervisor writes it."""
    settings = Settings(data=tmp_path / "data", stores=StoreSettings())
    folder = DataFolder(settings.data)
    folder.create()
    app = composition.build(settings)
    key = app.access.first_admin_key(clock.now_us()) or ""
    folder.admin_key.write_text(key + "\n")
    target = Replicas()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        known = {"gateway_url": "http://gateway.test", "control_url": url, "pid": 1}
        folder.run.write_text(json.dumps(known))
        api = create_api(app, target, "http://gateway.test", url)
        with _serving(uvicorn.Config(api, log_level="error", lifespan="off"), listener):
            yield Platform(app, target, settings.data, url, key)
    app.close()


class _serving:
    """The server in a thread. The socket listens already, so early calls wait in its queue."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=(listener,))

    def _run(self, listener: socket.socket) -> None:
        asyncio.run(self._server.serve(sockets=[listener]))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def gateway() -> Iterator[Callable[..., str]]:
    """Starts an engine that echoes, in the place of a gateway; the address without /v1."""
    running: list[tuple[asyncio.AbstractEventLoop, threading.Thread, EchoServer]] = []

    def start(**behaviour: Any) -> str:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        server = EchoServer(Behaviour(**behaviour))
        running.append((loop, thread, server))
        url = asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        return url.removesuffix("/v1")

    yield start
    for loop, thread, server in running:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
