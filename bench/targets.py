"""What gets measured: an upstream by itself, Modelyard before it, a peer before it."""

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

from bench import usage
from bench.peers import litellm
from bench.processes import tree

MODEL = "bench"
QUIET_S = 0.3
SETTLE_S = 30.0


class Target(NamedTuple):
    """Something that answers chat requests. `pids` are the processes whose time counts."""

    name: str
    url: str
    key: str
    pids: tuple[int, ...] = ()
    settle: Callable[[], None] = lambda: None
    """Waits until what is done after the answers is done."""


def end_on_sigterm() -> None:
    """Make SIGTERM end this process as Ctrl-C does, with what it started."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@contextlib.contextmanager
def upstream() -> Iterator[list[str]]:
    """The fast fake upstream; its two base URLs up to `/v1`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.upstream"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        yield [f"http://127.0.0.1:{port}/v1" for port in ports]
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def modelyard(folder: Path, upstreams: list[str], workers: int) -> Iterator["Ours"]:
    """A whole platform with one service before the upstreams."""
    with platform(folder / "data", "--workers", str(workers)) as running:
        running.apply(MODEL, engine={"name": "openai", "urls": upstreams})
        yield Ours(running)


class Ours:
    """Modelyard, its gateway's processes told from the others."""

    def __init__(self, running: Platform) -> None:
        self.platform = running
        found = tree(running.process.pid)
        self.gateways = tuple(one.pid for one in found if one.kind == "gateway")
        self.others = tuple(one.pid for one in found if one.kind != "gateway")

    def target(self) -> Target:
        """The gateway."""
        url = f"{self.platform.gateway_url.rstrip('/').removesuffix('/v1')}/v1/chat/completions"
        return Target("Modelyard", url, self.platform.key, self.gateways, self.settle)

    def settle(self) -> None:
        """Wait until the control plane has stored what the gateway recorded."""
        deadline_s = time.monotonic() + SETTLE_S
        before = usage.cpu_s(self.others) or 0.0
        while time.monotonic() < deadline_s:
            time.sleep(QUIET_S)
            now = usage.cpu_s(self.others) or 0.0
            if now - before < QUIET_S / 5:
                return
            before = now

    def completed(self) -> int:
        """Records of requests that were answered."""
        rows = self.platform.client.metrics(service=MODEL, outcome="completed")
        return int(sum(row["requests"] for row in rows))


@contextlib.contextmanager
def peer(folder: Path, upstreams: list[str], workers: int) -> Iterator[Target | str]:
    """LiteLLM's proxy before the same upstreams, or the reason why there is none."""
    try:
        litellm.prepare()
        running = litellm.LiteLLM(folder, upstreams, MODEL, workers)
    except litellm.Unusable as error:
        yield str(error)
        return
    try:
        pids = tuple(one.pid for one in tree(running.process.pid))
        name = f"LiteLLM {litellm.version()}"
        yield Target(name, f"{running.url}/v1/chat/completions", running.key, pids)
    finally:
        running.stop()
