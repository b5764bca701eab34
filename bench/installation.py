"""What chaos strikes at: a platform of its own, two outside endpoints, its databases."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from bench.peers import free_port
from bench.processes import Process, tree
from modelyard.client import Client
from modelyard.testing.echo import Behaviour, EchoServer

HEAL_S = 60.0
"""Most that anything may take to be well again."""
Result = TypeVar("Result")


class Installation:
    """`modelyard up` on a data folder, started again when asked."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.ports = [free_port(), free_port()]
        self.process: subprocess.Popen[str] | None = None
        self.seen: dict[int, Process] = {}

    def start(self) -> None:
        """Start it; a port or lock that the dead one still holds is waited for."""
        deadline = time.monotonic() + HEAL_S
        while not self._try_start():
            if time.monotonic() > deadline:
                raise SystemExit("the platform does not start again; its log is above")
            time.sleep(0.1)

    def _try_start(self) -> bool:
        gateway, control = map(str, self.ports)
        command = [
            *(sys.executable, "-m", "modelyard.entry.cli.main", "up", "-o", "json"),
            *("--data", str(self.data), "--port", gateway, "--control-port", control),
            *("--workers", "2"),
        ]
        with (self.data.parent / "platform.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        assert self.process.stdout is not None
        return bool(self.process.stdout.readline())

    def processes(self) -> list[Process]:
        """All that run now."""
        assert self.process is not None
        found = tree(self.process.pid)
        self.seen.update({one.pid: one for one in found})
        return found

    def stop(self) -> int:
        """End it as a user would; its exit code."""
        self.processes()
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(HEAL_S)

    def client(self) -> Client:
        """A client with the admin key."""
        key = (self.data / "admin.key").read_text().strip()
        return Client(f"http://127.0.0.1:{self.ports[1]}", key)


class Outside:
    """Two endpoints in a thread of this process, as an outside service has them."""

    def __init__(self) -> None:
        self._servers = [EchoServer(), EchoServer()]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.urls: list[str] = []

    def __enter__(self) -> "Outside":
        self._thread.start()
        self.urls = [self._call(server.start()) for server in self._servers]
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            self._call(server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(HEAL_S)

    @contextlib.contextmanager
    def one_is(self, behaviour: Behaviour) -> Iterator[None]:
        """The first endpoint behaves so for the time of a block, and is asked meanwhile."""
        server = self._servers[0]
        calls = len(server.calls)
        server.behaviour = behaviour
        try:
            yield
        finally:
            server.behaviour = Behaviour()
        if len(server.calls) == calls:
            raise SystemExit("the disturbed endpoint was never asked: this strike shows nothing")


@contextlib.contextmanager
def locked(data: Path) -> Iterator[None]:
    """Another process holds the write lock of every database in the folder."""
    files = [str(path) for path in sorted(data.rglob("*.sqlite"))]
    process = subprocess.Popen(
        [sys.executable, "-c", _LOCK, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit("the databases cannot be locked")
        yield
    finally:
        process.communicate()  # the end of its input ends it


_LOCK = """
import sqlite3, sys
held = [sqlite3.connect(name, timeout=10, isolation_level=None) for name in sys.argv[1:]]
for one in held:
    one.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + HEAL_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} took longer than {HEAL_S:g} s")
        time.sleep(0.1)
