"""What gets measured: an upstream by itself, Modelyard before it, peers before it."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.platform import Platform, platform

from bench import cores, usage
from bench.peers import Peer, Running
from bench.processes import tree

MODEL = "bench"
QUIET_S = 0.3
SETTLE_S = 60.0
NEVER_BINDS = 1_000_000_000
"""Requests and tokens a minute of the metered key: counted for every request, never reached."""


class Target(NamedTuple):
    """Something that answers chat requests."""

    name: str
    """For people."""
    suffix: str
    """Of its figures in the JSON."""
    url: str
    key: str
    pids: Callable[[], tuple[int, ...]] = tuple
    """The processes whose time counts."""
    settle: Callable[[], None] = lambda: None
    """Waits until what is done after the answers is done."""


def end_on_signal() -> None:
    """Make SIGTERM and Ctrl-C end this process with what it started; further ones do not disturb
    the clearing up."""

    def end(number: int, _: object) -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, lambda *_: None)
        sys.exit(128 + number)

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, end)


@contextlib.contextmanager
def upstream(program: Path) -> Iterator[list[str]]:
    """The fast fake upstream; its two base URLs up to `/v1`."""
    process = subprocess.Popen([str(program)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        yield [f"http://127.0.0.1:{port}/v1" for port in ports]
    finally:
        process.terminate()
        process.communicate(timeout=10)


@contextlib.contextmanager
def modelyard(folder: Path, upstreams: list[str], workers: int = 1) -> Iterator["Ours"]:
    """A whole platform with one service before the upstreams, its gateway on the gateway's core."""
    with platform(folder / "data", "--workers", str(workers)) as running:
        running.apply(MODEL, engine={"name": "openai", "urls": upstreams})
        ours = Ours(running)
        cores.move_to_gateway(ours.gateways())
        yield ours


class Ours:
    """Modelyard, its gateway's processes told from the others."""

    def __init__(self, running: Platform) -> None:
        self.platform = running
        self.metered_key, self.limited = create_caller_key(running)
        found = tree(running.process.pid)
        self._gateways = tuple(one.pid for one in found if one.kind == "gateway")
        self._others = tuple(one.pid for one in found if one.kind != "gateway")

    def gateways(self) -> tuple[int, ...]:
        """The processes that answer."""
        return self._gateways

    def others(self) -> tuple[int, ...]:
        """Control plane, reconciler, supervisor."""
        return self._others

    def metered(self) -> Target:
        """A caller's key with limits; every profile records each request and counts metrics."""
        return self._target("Modelyard", "", self.metered_key)

    def bare(self) -> Target:
        """The admin's key, no limits."""
        return self._target("bare", "bare", self.platform.key)

    def _target(self, name: str, suffix: str, key: str) -> Target:
        return Target(name, suffix, self.url, key, self.gateways, self.settle)

    @property
    def url(self) -> str:
        """Where chat requests go."""
        base = self.platform.gateway_url.rstrip("/").removesuffix("/v1")
        return f"{base}/v1/chat/completions"

    def settle(self) -> None:
        """Wait until the control plane has stored what the gateway recorded."""
        deadline_s = time.monotonic() + SETTLE_S
        before = usage.cpu_s(self._others) or 0.0
        while time.monotonic() < deadline_s:
            time.sleep(QUIET_S)
            now = usage.cpu_s(self._others) or 0.0
            if now - before < QUIET_S / 5:
                return
            before = now

    def recorded(self) -> int:
        """Records of requests that were answered."""
        return self.outcomes().get("completed", 0)

    def outcomes(self) -> dict[str, int]:
        """Records by how the request ended."""
        rows = self.platform.client.metrics(group_by="outcome")
        return {row["group"]: row["requests"] for row in rows}


def create_caller_key(running: Platform, label: str = "bench") -> tuple[str, bool]:
    """A caller's key, with limits of requests and tokens that never bind where this version knows
    limits; whether it does."""
    command = [sys.executable, "-m", "modelyard.entry.cli.main", "keys", "create"]
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    limited = "--rpm" in told.stdout and "--tpm" in told.stdout
    limits = [f"--rpm={NEVER_BINDS}", f"--tpm={NEVER_BINDS}"] if limited else []
    made = subprocess.run(
        [*command, "--label", label, *limits, "-o", "json"],
        capture_output=True, text=True, check=True,
        env={**usage.plain_environment(), "MODELYARD_URL": running.control_url,
             "MODELYARD_API_KEY": running.key},
    )  # fmt: skip
    return str(json.loads(made.stdout)["key"]), limited


@contextlib.contextmanager
def peer(one: Peer, folder: Path, upstreams: list[str]) -> Iterator[Target]:
    """A peer before the same upstreams. Raises Unusable."""
    one.prepare()
    with one.run(folder, upstreams, MODEL) as running:
        yield _target_of(one, running)


def _target_of(one: Peer, running: Running) -> Target:
    def pids() -> tuple[int, ...]:
        return tuple(process.pid for process in tree(running.pid))

    return Target(one.name, one.suffix, f"{running.url}/v1/chat/completions", running.key, pids)
