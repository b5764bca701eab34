"""Regression 7: what is counted is what the upstream counted, to the token, however it is asked.

What gateways get wrong: streams have no usage or a guessed one, a client that did not ask gets the
usage chunk, and what `n`, tools and reasoning cost is missing from one of the two ways.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.regression.clients import Reply, ask, body, read, request
from tests.unit.gateway.rig import Rig, endpoint, rig, service

from modelyard.domain.snapshot import Bounds, Price
from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio
CHAT, TEXT = b"/v1/chat/completions", b"/v1/completions"
NANO = 1_000_000
PRICE = Price(input=2 * NANO, output=3 * NANO, cached=1 * NANO)
"""Nano-dollars a million tokens: 2, 3 and 1 a token."""
PER_MINUTE = 1_000_000
TOOL = {"type": "function", "function": {
    "name": "look_up",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}}},
}}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "reasoning": {"echo": {"reasoning_tokens": 4}},
    "tools": {"tools": [TOOL], "tool_choice": "required"},
    "several choices": {"n": 3},
    "several choices with reasoning": {"n": 2, "echo": {"reasoning_tokens": 2, "tokens": 7}},
    "cut off": {"max_tokens": 2},
    "cut off while reasoning": {"max_completion_tokens": 3, "echo": {"reasoning_tokens": 9}},
}
ASKED = {"stream": True, "stream_options": {"include_usage": True}}
WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "streamed": {"stream": True},
    "streamed, usage unwanted": {"stream": True, "stream_options": {"include_usage": False}},
    "streamed, usage asked for": ASKED,
    "streamed, other options": {"stream": True, "stream_options": {"x": 1}},
    "whole, said so": {"stream": False},
}


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    server = EchoServer()
    yield server
    await server.stop()


async def truth(url: str, content: bytes, path: bytes = CHAT) -> dict[str, Any]:
    """What the upstream answers to whom asks it directly and unstreamed."""
    port = int(url.rsplit(":", 1)[1].removesuffix("/v1"))
    data = request(content, path=path)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        reply, _ = read(head + await reader.readexactly(size))
        writer.close()
    assert reply.status == 200
    return dict(reply.json)


def last_record(one: Rig) -> dict[str, Any]:
    return one.records()[-1]


def counted(record: dict[str, Any]) -> tuple[int, int]:
    assert record["outcome"] == "completed"
    assert not record["usage_estimated"]
    return record["tokens_input"], record["tokens_output"]


def assert_usage(reply: Reply, way: str, usage: dict[str, Any]) -> None:
    """The client sees the upstream's usage where it is due, and nowhere else."""
    if not reply.done:
        assert reply.json["usage"] == usage
        return
    told = [event["usage"] for event in reply.events if event.get("usage")]
    assert told == ([usage] if way == "streamed, usage asked for" else [])
    if told:
        assert reply.events[-1]["choices"] == []
    else:
        assert all(event["choices"] for event in reply.events)
    assert reply.done == 1
    assert reply.body.endswith(b"data: [DONE]\n\n")


def said(reply: Reply) -> list[tuple[str, str, str, str]]:
    """Text, reasoning, arguments and end of each choice, streamed or whole."""
    found: dict[int, list[str]] = {}
    for event in reply.events if reply.done else [reply.json]:
        for choice in event["choices"]:
            one = found.setdefault(choice["index"], ["", "", "", ""])
            part = choice.get("delta") or choice.get("message") or {}
            one[0] += part.get("content") or choice.get("text") or ""
            one[1] += part.get("reasoning_content") or ""
            for call in part.get("tool_calls") or ():
                one[2] += call["function"].get("arguments") or ""
            one[3] = choice["finish_reason"] or one[3]
    return [(a, b, c, d) for _, (a, b, c, d) in sorted(found.items())]


@pytest.mark.parametrize("assembled", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
async def test_every_way_of_asking_counts_the_same(
    tmp_path: Path, echo: EchoServer, shape: str, assembled: bool
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        target = endpoint(url, cancels_without_stream=not assembled)
        bounds = Bounds(tokens_per_minute=PER_MINUTE)
        one.offer(service("echo", target, price=PRICE), bounds=bounds)
        true = await truth(url, body(**SHAPES[shape]))
        usage, used = true["usage"], 0
        first: list[tuple[str, str, str, str]] = []
        for way, options in WAYS.items():
            reply = await ask(one.port, body(**SHAPES[shape], **options))
            assert (reply.status, reply.whole) == (200, True), way
            assert_usage(reply, way, usage)
            record = last_record(one)
            expected = usage["prompt_tokens"], usage["completion_tokens"]
            assert counted(record) == expected, way
            assert record["cost_nano_usd"] == 2 * expected[0] + 3 * expected[1]
            first = first or said(reply)
            assert said(reply) == first, way
            used += sum(expected)
            if not reply.done:  # the head of a stream comes before its tokens are known
                left = int(reply.headers["x-ratelimit-remaining-tokens"])
                assert left == PER_MINUTE - used, "the ledger counts the same"
        assert len(first) == SHAPES[shape].get("n", 1)


@pytest.mark.parametrize("way", ["whole", "streamed", "streamed, usage asked for"])
async def test_text_completions_count_the_same(tmp_path: Path, echo: EchoServer, way: str) -> None:
    url = await echo.start()
    content = json.dumps({"model": "echo", "prompt": "one two three", "n": 2, **WAYS[way]}).encode()
    async with rig(tmp_path) as one:
        one.serve(echo=[endpoint(url)])
        reply = await ask(one.port, content, path=TEXT)
        usage = {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}
        assert_usage(reply, way, usage)
        assert counted(last_record(one)) == (3, 6)
        assert [text for text, *_ in said(reply)] == ["one two three ", "two three one "]


@pytest.mark.parametrize("assembled", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_that_the_engine_had_cached_are_told_apart(
    tmp_path: Path, echo: EchoServer, stream: bool, assembled: bool
) -> None:
    echo.behaviour = Behaviour(cache_blocks=100, block_tokens=2)
    url = await echo.start()
    async with rig(tmp_path) as one:
        target = endpoint(url, cancels_without_stream=not assembled)
        one.offer(service("echo", target, price=PRICE))
        for cached in (0, 2):
            reply = await ask(one.port, body(**ASKED) if stream else body())
            usage = reply.events[-1]["usage"] if stream else reply.json["usage"]
            assert usage["prompt_tokens_details"] == {"cached_tokens": cached}
            record = last_record(one)
            assert counted(record) == (3, 3)
            assert record["tokens_cached"] == cached
            assert record["cost_nano_usd"] == 2 * (3 - cached) + 1 * cached + 3 * 3


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_assembled_answer_is_the_engines_own(
    tmp_path: Path, echo: EchoServer, shape: str
) -> None:
    """Every documented field, but for those that differ between any two answers."""
    url = await echo.start()
    async with rig(tmp_path) as one:
        one.serve(echo=[endpoint(url, cancels_without_stream=False)])
        content = body(**SHAPES[shape])
        answers = [await truth(url, content), (await ask(one.port, content)).json]
    assert echo.calls[-1]["stream"] is True
    for answer in answers:
        answer["id"] = answer["created"] = None
        for choice in answer["choices"]:
            for call in choice["message"].get("tool_calls", ()):
                call["id"] = None
    assert answers[0] == answers[1]
