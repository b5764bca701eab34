"""Regression 10: one of two targets answers 500, 429 or 401, or never, for good.

What gateways get wrong: 25 failures in a row cool nothing down, each process learns it for itself,
a come-back is tried by everybody at once, and `Retry-After` is lost on the way to the client.
"""

import asyncio
from pathlib import Path

import pytest
from tests.platform import Platform
from tests.regression.clients import Reply, Watched, ask, body, lines, served
from tests.regression.conftest import PROCESSES
from tests.unit.gateway.rig import endpoint, rig, service

from modelyard.domain.snapshot import Retries
from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio
REQUESTS = 240
FEW = 4 * PROCESSES
"""Requests that may meet it before everybody knows, and those that try it out again; by turns it
would be half of all."""
BROKEN = {
    "500": Behaviour(fault="error", status=500),
    "429": Behaviour(fault="error", status=429, retry_after_s=30),
    "401": Behaviour(fault="error", status=401),
    "closes": Behaviour(fault="refuse"),
    "never answers": Behaviour(first_token_s=3600),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_all_processes_leave_it_alone_and_every_request_is_answered(
    three: Platform, kind: str
) -> None:
    bad, good = Watched(BROKEN[kind]), Watched()
    timeouts = {"first_token_s": 0.4}
    async with served(three, "pair", bad, good, timeouts=timeouts), lines(three, 2) as found:
        key = three.key.encode()

        async def turn(number: int) -> Reply:
            return await found[number % len(found)].ask(body("pair", stream=True), key)

        replies = []
        for number in range(0, REQUESTS, len(found)):
            turns = range(number, number + len(found))
            replies += await asyncio.gather(*map(turn, turns))
        assert [(reply.status, reply.done) for reply in replies] == [(200, 1)] * REQUESTS
        assert 1 <= len(bad.calls) <= FEW
        assert len(good.calls) == REQUESTS


@pytest.mark.parametrize("met_by", [1, 4 * PROCESSES])
async def test_a_come_back_is_tried_by_one_request(three: Platform, met_by: int) -> None:
    """Half open: while the probe hangs, nobody else on any process is sent after it, whether one
    process found out that it fails or all did at once."""
    bad, good = Watched(BROKEN["500"]), Watched(Behaviour(first_token_s=0.01))
    async with served(three, "pair", bad, good), lines(three, 4) as found:
        key = three.key.encode()
        while len(bad.calls) < min(met_by, PROCESSES):
            asked = (line.ask(body("pair"), key) for line in found[:met_by])
            assert {reply.status for reply in await asyncio.gather(*asked)} == {200}
        await asyncio.sleep(0.3)  # all processes have seen that it fails
        bad.behaviour = Behaviour(first_token_s=1.8)
        seen, bad.most_active = len(bad.calls), 0

        async def load(line: object) -> None:
            while len(bad.calls) == seen or bad.active:
                assert (await line.ask(body("pair"), key)).status == 200  # type: ignore[attr-defined]

        async with asyncio.timeout(60):
            await asyncio.gather(*map(load, found))
        assert bad.most_active == 1
        bad.behaviour = Behaviour()
        async with asyncio.timeout(20):
            while len(bad.calls) < seen + 20:
                assert (await found[0].ask(body("pair"), key)).status == 200


async def test_a_new_address_begins_with_a_clean_slate(tmp_path: Path) -> None:
    """What was published of a failing target must not keep others from the one that replaced it."""
    bad, good = EchoServer(BROKEN["429"]), EchoServer()
    async with rig(tmp_path) as one:
        one.serve(echo=[endpoint(await bad.start())])
        assert (await ask(one.port, body())).status == 429
        (load,) = one.gateway.region.loads().values()
        assert load.open_until_us > 0
        one.serve(echo=[endpoint(await good.start())])
        assert one.gateway.region.loads() == {}
        assert (await ask(one.port, body())).status == 200
    await bad.stop()
    await good.stop()


async def test_an_ejected_target_is_asked_when_there_is_no_other(tmp_path: Path) -> None:
    """Fail open: it gets another chance before a client gets an error of ours."""
    server = EchoServer(BROKEN["500"])
    url = await server.start()
    async with rig(tmp_path) as one:
        one.serve(echo=[endpoint(url)])
        assert [(await ask(one.port, body())).status for _ in range(5)] == [500] * 5
        server.behaviour = Behaviour()
        assert (await ask(one.port, body())).status == 200
    await server.stop()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_wait_that_upstreams_ask_for_reaches_the_client(
    tmp_path: Path, stream: bool
) -> None:
    servers = [EchoServer(Behaviour(fault="error", status=429, retry_after_s=7)) for _ in range(2)]
    urls = [await server.start() for server in servers]
    async with rig(tmp_path) as one:
        targets = [endpoint(url, str(number)) for number, url in enumerate(urls)]
        one.offer(service("echo", *targets, retries=Retries(attempts=2, backoff_s=0.0)))
        for _ in range(3):
            reply = await ask(one.port, body(stream=stream))
            assert (reply.status, reply.headers["retry-after"]) == (429, "7")
            assert reply.error["message"] == "as told"
            assert reply.headers["x-modelyard-error-source"] == "upstream"
    for server in servers:
        await server.stop()
