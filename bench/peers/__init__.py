"""Gateways of others, each in an environment of its own, for comparison."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from bench import cores

START_S = 90.0


class Unusable(Exception):
    """It cannot be measured here; the text says why."""


class Running(NamedTuple):
    """A peer that answers chat requests."""

    url: str
    """Base URL without `/v1`."""
    key: str
    pid: int
    """Of the process that all others of it descend from."""


class Peer(Protocol):
    """A gateway of others."""

    name: str
    """For people, with its version once it is prepared."""
    suffix: str
    """Of its figures."""

    def prepare(self) -> None:
        """Make it ready to be started. Raises Unusable."""

    def run(
        self, folder: Path, upstreams: list[str], model: str
    ) -> contextlib.AbstractContextManager[Running]:
        """It, for the time of a block, before these base URLs (up to `/v1`). Raises Unusable."""


@contextlib.contextmanager
def started(
    command: list[str], port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A server's process on the gateway's core, ready on its port, for the time of a block."""
    with log.open("wb") as out, cores.as_gateway():
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=log.parent,
            env=environment,
        )  # fmt: skip
    try:
        _wait(process, port, log)
        yield process.pid
    finally:
        _stop(process)


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while not listens(port):
        if process.poll() is not None or time.monotonic() > deadline_s:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise Unusable(f"it does not start: {last[0] if last else 'it says nothing'}")
        time.sleep(0.1)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody answers on it."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
