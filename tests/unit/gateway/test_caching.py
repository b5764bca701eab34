"""The caches on real requests: hits in both forms, one call for equal ones."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.rig import Rig, endpoint, post, rig, service, until

from modelyard.domain.snapshot import Bounds, Cache, Price, SemanticCache
from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio
PRICE = Price(input=1_000_000_000, output=1_000_000_000)


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    server = EchoServer()
    yield server
    await server.stop()


def body(text: str = "one two three", **more: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": "echo", "messages": messages, **more}).encode()


async def ask(one: Rig, sent: bytes, *fields: bytes) -> tuple[int, str, bytes]:
    """Status, `x-modelyard-cache` and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(post(sent, b"Connection: close", *fields))
    head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    mark = head.partition(b"X-Modelyard-Cache: ")[2].partition(b"\r\n")[0].decode()
    return int(head.split(b" ")[1]), mark, answer


def text_of(stream: bytes) -> str:
    """The text of a streamed answer."""
    events = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: {")]
    deltas = [choice["delta"] for event in events for choice in json.loads(event)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
async def test_an_answer_is_given_again_in_the_form_that_was_asked_for(
    tmp_path: Path, echo: EchoServer, first: bool, second: bool
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        bounds = Bounds(tokens_per_minute=10_000)
        one.offer(service("echo", endpoint(url), price=PRICE, cache=Cache(ttl_s=60)), bounds=bounds)
        assert (await ask(one, body(stream=first)))[1] == "miss"
        status, mark, answer = await ask(one, body(stream=second))
        assert (status, mark) == (200, "hit")
        assert len(echo.calls) == 1
        if second:
            assert answer.count(b"[DONE]") == 1
            assert b'"usage"' not in answer
            assert text_of(answer) == "one two three "
        else:
            choice = json.loads(answer)["choices"][0]
            assert choice["message"]["content"] == "one two three "
        made, given = one.records()
        assert (made["outcome"], given["outcome"]) == ("completed", "cached")
        assert given["tokens_output"] == made["tokens_output"] == 3
        assert made["cost_nano_usd"] > 0
        assert given["cost_nano_usd"] == 0
        assert given["attempts"] == 0


async def test_a_client_may_refuse_the_cache_and_no_header_comes_without_one(
    tmp_path: Path, echo: EchoServer
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        one.offer(service("echo", endpoint(url), cache=Cache(ttl_s=60)))
        for _ in range(2):
            assert (await ask(one, body(), b"Cache-Control: no-cache"))[1] == "bypass"
        assert (await ask(one, body()))[1] == "hit", "it was kept all the same"
        assert (await ask(one, body("new"), b"Cache-Control: no-store"))[1] == "bypass"
        assert (await ask(one, body("new")))[1] == "miss"
        one.offer(service("echo", endpoint(url)))
        assert (await ask(one, body()))[1] == ""


@pytest.mark.parametrize("stream", [False, True])
async def test_equal_requests_at_once_are_one_call(
    tmp_path: Path, echo: EchoServer, stream: bool
) -> None:
    url = await echo.start()
    echo.behaviour = Behaviour(first_token_s=0.1)
    async with rig(tmp_path) as one:
        one.offer(service("echo", endpoint(url), cache=Cache(ttl_s=60)))
        asked = [ask(one, body(stream=stream and number % 2 == 0)) for number in range(10)]
        found = await asyncio.gather(*asked)
        assert [status for status, _, _ in found] == [200] * 10
        assert sorted(mark for _, mark, _ in found) == ["hit"] * 9 + ["miss"]
        assert len(echo.calls) == 1


async def test_when_a_call_fails_one_of_those_who_wait_tries_it(
    tmp_path: Path, echo: EchoServer
) -> None:
    url = await echo.start()
    echo.behaviour = Behaviour(first_token_s=0.1, fault="truncate")
    async with rig(tmp_path) as one:
        one.offer(service("echo", endpoint(url), cache=Cache(ttl_s=60)))
        asking = [asyncio.create_task(ask(one, body())) for _ in range(5)]
        await until(lambda: len(one.gateway.active) == 5)
        await until(lambda: len(echo.calls) == 1)
        echo.behaviour = Behaviour()
        found = [await task for task in asking]
        assert sorted(status for status, _, _ in found) == [200] * 4 + [502]
        assert len(echo.calls) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_leader_that_leaves_does_not_take_the_call_along(
    tmp_path: Path, echo: EchoServer, stream: bool
) -> None:
    url = await echo.start()
    echo.behaviour = Behaviour(first_token_s=0.2)
    async with rig(tmp_path) as one:
        one.offer(service("echo", endpoint(url), price=PRICE, cache=Cache(ttl_s=60)))
        leader = await one.connect()
        leader.writer.write(post(body(stream=stream)))
        await until(lambda: echo.active)
        waiting = asyncio.create_task(ask(one, body()))
        await until(lambda: len(one.gateway.active) == 2)
        leader.close()
        assert (await waiting)[:2] == (200, "hit")
        assert len(echo.calls) == 1
        rows = {row["outcome"]: row for row in one.records()}
        assert set(rows) == {"cancelled", "cached"}
        assert rows["cancelled"]["tokens_output"] == 3
        assert rows["cancelled"]["cost_nano_usd"] > 0


async def test_when_all_have_left_the_call_ends(tmp_path: Path, echo: EchoServer) -> None:
    url = await echo.start()
    echo.behaviour = Behaviour(first_token_s=3600)
    async with rig(tmp_path) as one:
        one.offer(service("echo", endpoint(url), cache=Cache(ttl_s=60)))
        wires = [await one.connect() for _ in range(3)]
        for number, wire in enumerate(wires):
            wire.writer.write(post(body()))
            await until(lambda number=number: len(one.gateway.active) == number + 1)
        await until(lambda: echo.active)
        for wire in wires:
            wire.close()
        await until(lambda: not echo.active)
        await until(lambda: not one.gateway.active)
        assert [row["outcome"] for row in one.records()] == ["cancelled"] * 3
        assert len(one.gateway.cache.flights) == 0


SEMANTIC = Cache(ttl_s=60, semantic=SemanticCache(service="embed", threshold=0.3))


async def test_questions_that_mean_the_same_have_one_answer(
    tmp_path: Path, echo: EchoServer
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        one.offer(
            service("echo", endpoint(url, "a"), cache=SEMANTIC),
            service("embed", endpoint(url, "b")),
        )
        cold = {"temperature": 0}
        first = "where is my parcel that I sent last week please"
        assert (await ask(one, body(first, **cold)))[:2] == (200, "miss")
        near = "where is my parcel that I sent last week please?"
        status, mark, answer = await ask(one, body(near, **cold))
        assert (status, mark) == (200, "hit")
        assert json.loads(answer)["choices"][0]["message"]["content"].strip() == first
        assert (await ask(one, body("how tall is the tower", **cold)))[1] == "miss"
        assert (await ask(one, body(near, temperature=1)))[1] == "miss", "too warm to compare"
        rows = one.records()
        asked = [row for row in rows if row["service"] == "embed"]
        assert len(asked) == 3
        assert {row["caused_by"] for row in asked} <= {row["request_id"] for row in rows}


@pytest.mark.parametrize("fault", ["error", "garbage", "refuse"])
async def test_an_embedding_service_that_fails_costs_nobody_an_answer(
    tmp_path: Path, echo: EchoServer, fault: str
) -> None:
    bad = EchoServer(Behaviour(fault=fault))
    good, broken = await echo.start(), await bad.start()
    async with rig(tmp_path) as one:
        one.offer(
            service("echo", endpoint(good, "a"), cache=SEMANTIC),
            service("embed", endpoint(broken, "b")),
        )
        for _ in range(2):
            status, _, answer = await ask(one, body(temperature=0))
            assert status == 200
            assert json.loads(answer)["choices"][0]["message"]["content"] == "one two three "
        one.offer(service("echo", endpoint(good, "a"), cache=SEMANTIC))
        assert (await ask(one, body("another", temperature=0)))[0] == 200
    await bad.stop()


async def test_a_client_that_leaves_while_its_question_is_embedded(
    tmp_path: Path, echo: EchoServer
) -> None:
    url = await echo.start()
    slow = EchoServer(Behaviour(first_token_s=3600))
    hangs = await slow.start()
    async with rig(tmp_path) as one:
        one.offer(
            service("echo", endpoint(url, "a"), cache=SEMANTIC),
            service("embed", endpoint(hangs, "b")),
        )
        wire = await one.connect()
        wire.writer.write(post(body(temperature=0)))
        await until(lambda: slow.calls)
        wire.close()
        await until(lambda: not one.gateway.active)
        assert {row["outcome"] for row in one.records()} == {"cancelled"}
    await slow.stop()
