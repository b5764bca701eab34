"""Regression 6: the control plane is killed, then frozen, under load.

What gateways get wrong: a database that is gone turns valid keys into 401 and removes live models.
Here nothing of it is on a request's way; records wait on a bounded disk and are drained afterwards.
`tests/e2e/test_gateway_alone.py` holds the start without a control plane.
"""

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest
from bench.processes import tree
from tests.platform import Platform
from tests.regression.clients import Line, Reply, body, lines, records, served, until
from tests.regression.conftest import PROCESSES
from tests.unit.gateway.rig import endpoint, post, question, rig

from modelyard.errors import ModelyardError
from modelyard.gateway.recorder import SEGMENT_BYTES
from modelyard.testing.echo import EchoServer

pytestmark = pytest.mark.anyio
EACH = 60
"""Requests of one connection in one state of the control plane."""


def control(running: Platform) -> int | None:
    """The process of the control plane; None while there is none."""
    found = (one.pid for one in tree(running.process.pid) if one.kind == "control")
    return next(found, None)


async def load(found: list[Line], key: bytes) -> list[Reply]:
    """Every connection asks, half of the requests streamed."""

    async def one(line: Line) -> list[Reply]:
        return [await line.ask(body("steady", stream=n % 2 == 0), key) for n in range(EACH)]

    return [reply for some in await asyncio.gather(*map(one, found)) for reply in some]


def spool_bytes(running: Platform) -> int:
    """What waits on disk; one open segment a process is there always."""
    sizes = [path.stat().st_size for path in (running.data / "spool").rglob("*.spool")]
    assert len(sizes) >= PROCESSES
    return sum(sizes)


async def test_no_request_fails_and_no_record_is_lost(three: Platform) -> None:
    key = three.key.encode()
    async with served(three, "steady", EchoServer()), lines(three, 2) as found:
        first = await asyncio.to_thread(control, three)
        assert first is not None
        working = asyncio.create_task(load(found, key))
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        replies = await working
        await until_other(three, first)
        frozen = await asyncio.to_thread(control, three)
        assert frozen is not None
        os.kill(frozen, signal.SIGSTOP)
        try:
            replies += await load(found, key)
            assert spool_bytes(three) <= PROCESSES * 2 * SEGMENT_BYTES
        finally:
            os.kill(frozen, signal.SIGCONT)
        assert len(replies) == 2 * EACH * 2 * PROCESSES
        assert {(reply.status, reply.whole) for reply in replies} == {(200, True)}
        rows = await records(three, replies)
        assert {row["outcome"] for row in rows} == {"completed"}
        assert len({row["request_id"] for row in rows}) == len(replies)


async def until_other(running: Platform, pid: int) -> None:
    """The supervisor has started another control plane, and it answers."""
    async with asyncio.timeout(30):
        while await asyncio.to_thread(control, running) in (None, pid):
            await asyncio.sleep(0.05)
        while True:
            try:
                await asyncio.to_thread(running.client.overview)
            except ModelyardError:  # it starts
                await asyncio.sleep(0.05)
            else:
                return


async def test_the_spool_is_bounded_and_opens_again_when_it_is_drained(tmp_path: Path) -> None:
    """A control plane that is gone for days: what cannot be recorded is refused, nothing else."""
    limit = 2 * SEGMENT_BYTES
    async with rig(tmp_path, spool_bytes=limit) as one, EchoServer() as url:
        one.serve(echo=[endpoint(url)])

        async def status() -> int:
            answer = await one.talk(post(question(), b"Connection: close"))
            return int(answer.split(b" ")[1])

        assert await status() == 200
        large = msgspec.structs.replace(one.gateway.unknown, error_message="x" * 2000)
        while not one.gateway.recorder.full:
            one.gateway.recorder.append("request", large)
            one.gateway.recorder.check()
        assert await status() == 503
        size = sum(path.stat().st_size for path in one.gateway.recorder.folder.iterdir())
        assert limit <= size <= limit + SEGMENT_BYTES
        for path in one.gateway.recorder.sealed():
            path.unlink()  # the control plane has taken them
        await until(lambda: not one.gateway.recorder.full)
        assert await status() == 200
