"""The process target with real processes: the echo engine, killed and broken for real."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from modelyard.adapters.target.process import ProcessTarget
from modelyard.errors import Conflict, NotFound
from modelyard.lib.fetch import fetch
from modelyard.ports.engine import LaunchSpec, ReplicaState
from modelyard.settings import ReplicaSettings
from modelyard.testing.echo import EchoEngine

pytestmark = pytest.mark.anyio

FAST = ReplicaSettings(
    restart_backoff_s=0.05, breaker_crashes=3, drain_timeout_s=5.0, memory_headroom_bytes=0
)


@asynccontextmanager
async def target(tmp_path: Path, load: Callable[[str], int] = lambda _: 0) -> AsyncIterator[Any]:
    running = ProcessTarget(FAST, tmp_path, load)
    try:
        yield running
    finally:
        await running.stop()


async def until(
    running: ProcessTarget, wanted: Callable[[list[ReplicaState]], Any], limit_s: float = 20.0
) -> list[ReplicaState]:
    async with asyncio.timeout(limit_s):
        while True:
            states = list(running.replicas())
            if wanted(states):
                return states
            await asyncio.sleep(0.02)


def ready(states: list[ReplicaState]) -> list[ReplicaState]:
    return [state for state in states if state.phase == "ready"]


def spec(**options: Any) -> LaunchSpec:
    return EchoEngine().plan(None, options)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_replicas_answer_and_leave_nothing_behind(tmp_path: Path) -> None:
    async with target(tmp_path) as running:
        running.apply("a-1", spec(), 2)
        running.apply("a-1", spec(), 2)
        states = await until(running, lambda states: len(ready(states)) == 2)
        assert len(states) == 2
        answer = await fetch(f"{states[0].url}/models", token="", timeout_s=2)
        assert answer.status == 200
        with pytest.raises(Conflict, match="another launch spec"):
            running.apply("a-1", spec(tokens=3), 2)
        running.apply("a-1", spec(), 1)
        await until(running, lambda states: len(states) == 1)
        assert "listening" in "".join(running.logs(running.replicas()[0].id, 10))
        with pytest.raises(NotFound):
            running.logs("nobody", 1)
    assert not any(alive(state.pid) for state in states)


async def test_a_killed_replica_comes_back_under_its_name(tmp_path: Path) -> None:
    async with target(tmp_path) as running:
        running.apply("a-1", spec(), 1)
        (before,) = await until(running, ready)
        os.kill(before.pid, signal.SIGKILL)
        (after,) = await until(running, lambda states: ready(states) and states[0].restarts)
        assert after.id == before.id
        assert after.pid != before.pid


async def test_a_replica_that_always_dies_opens_the_breaker_and_says_why(tmp_path: Path) -> None:
    broken = LaunchSpec(engine="x", command=("sh", "-c", "echo no such weights >&2; kill -SEGV $$"))
    async with target(tmp_path) as running:
        running.apply("b-1", broken, 1)
        (state,) = await until(running, lambda states: states[0].phase == "failed")
        assert "SIGSEGV: segmentation fault" in state.reason
        assert "no such weights" in state.reason
        assert state.restarts == FAST.breaker_crashes


async def test_a_replica_that_cannot_fit_waits_and_says_what_it_needs(tmp_path: Path) -> None:
    async with target(tmp_path) as running:
        huge = LaunchSpec(engine="x", command=("sleep", "60"), memory_bytes=2**60)
        running.apply("c-1", huge, 1)
        (state,) = await until(running, lambda states: states[0].reason)
        assert state.phase == "pending"
        assert "MiB of memory" in state.reason
        assert state.pid == 0


async def test_a_damaged_file_is_never_started(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"not what was pushed")
    async with target(tmp_path) as running:
        damaged = LaunchSpec(
            engine="x", command=("sleep", "60"), files={str(file): "sha256:" + "0" * 64}
        )
        running.apply("d-1", damaged, 1)
        (state,) = await until(running, lambda states: states[0].restarts)
        assert "is damaged" in state.reason


async def test_a_stopped_replica_first_finishes_what_it_works_on(tmp_path: Path) -> None:
    load = {"open": 1}
    async with target(tmp_path, lambda _: load["open"]) as running:
        running.apply("e-1", spec(), 1)
        (state,) = await until(running, ready)
        running.delete("e-1")
        await until(running, lambda states: states[0].phase == "draining")
        await asyncio.sleep(1.0)
        assert alive(state.pid)
        load["open"] = 0
        await until(running, lambda states: not states)
        assert not alive(state.pid)
