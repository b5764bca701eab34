"""Regression 9: whatever an upstream does wrong, the client gets a typed answer, and never a lie.

Before the first byte: a status that fits, or another target's answer. After it: an error in the
stream, and no `[DONE]`. What gateways get wrong: errors inside a 200 become answers, a stream that
was cut ends as if it were whole, and after a retry the beginning of the text is there twice.
`tests/e2e/test_gateway.py` holds the record of each; here is what the client sees.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.regression.clients import Reply, ask, body, until
from tests.unit.gateway.rig import Rig, endpoint, rig, service, upstream

from modelyard.domain.snapshot import Retries, Timeouts
from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio
WORDS = "one two three "
WAYS = {
    "streamed": (True, True),
    "whole": (False, True),
    "assembled": (False, False),
}
"""Whether the client streams, and whether the upstream cancels without a stream."""
SOON = Timeouts(first_token_s=0.3, idle_s=0.3, total_s=20)
AFTER = 3


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    server = EchoServer()
    yield server
    await server.stop()


async def asked(one: Rig, way: str, url: str, *others: str, **more: Any) -> Reply:
    """What a client gets in this way when these upstreams serve it."""
    stream, cancels = WAYS[way]
    targets = [
        endpoint(each, str(number), cancels_without_stream=cancels)
        for number, each in enumerate((url, *others))
    ]
    retries = Retries(attempts=len(targets), backoff_s=0.0)
    one.offer(service("echo", *targets, timeouts=SOON, retries=retries))
    return await ask(one.port, body(stream=stream, **more))


def assert_typed(reply: Reply, status: int) -> None:
    """An error of ours or of the upstream, in the envelope, with a status that fits."""
    assert (reply.status, reply.whole) == (status, True)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-modelyard-error-source"] == "upstream"
    assert reply.error["message"]
    assert reply.error["type"]


def assert_broken_off(reply: Reply, text: str) -> None:
    """What came is there, then an error, and nothing says that this was all."""
    assert (reply.status, reply.whole, reply.done) == (200, False, 0)
    assert "error" in reply.events[-1]
    assert reply.events[-1]["error"]["message"]
    assert all("error" not in event for event in reply.events[:-1])
    assert reply.text == text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fault", "told", "status"),
    [
        ("error_first", 400, 400),
        ("error_first", 429, 429),
        ("error_first", 500, 502),
        ("error", 400, 400),
        ("error", 401, 502),
        ("error", 403, 502),
        ("error", 404, 404),
        ("error", 422, 422),
        ("error", 429, 429),
        ("error", 500, 500),
        ("error", 503, 503),
        ("refuse", 500, 502),
        ("truncate", 500, 502),
        ("garbage", 500, 502),
        ("gzip", 500, 502),
        ("stall", 500, 504),
        ("error_event", 500, 502),
    ],
)
async def test_a_fault_before_the_first_byte_has_its_status(
    tmp_path: Path, echo: EchoServer, way: str, fault: str, told: int, status: int
) -> None:
    echo.behaviour = Behaviour(fault=fault, status=told)
    unstreamed = way == "whole"
    if fault == "error_first" and unstreamed and told == 500:
        status = 500  # unstreamed it is an error with its own status
    async with rig(tmp_path, first_byte_timeout_s=0.3) as one:
        reply = await asked(one, way, await echo.start())
        assert_typed(reply, status)
        assert len(one.records()) == 1


@pytest.mark.parametrize("fault", ["error_event", "truncate", "garbage", "stall"])
async def test_a_fault_after_the_first_byte_ends_the_stream_as_an_error(
    tmp_path: Path, echo: EchoServer, fault: str
) -> None:
    echo.behaviour = Behaviour(fault=fault, fault_after_tokens=AFTER, tokens=9)
    other = EchoServer()
    async with rig(tmp_path) as one:
        reply = await asked(one, "streamed", await echo.start())
        assert_broken_off(reply, WORDS)
        assert "not json" not in reply.body.decode()
        assert len(other.calls) == 0
    await other.stop()


@pytest.mark.parametrize("fault", ["error_event", "truncate", "garbage", "stall"])
async def test_what_was_never_streamed_to_the_client_is_tried_elsewhere(
    tmp_path: Path, echo: EchoServer, fault: str
) -> None:
    """An assembled answer that breaks off late: the client has seen nothing of it."""
    echo.behaviour = Behaviour(fault=fault, fault_after_tokens=AFTER, tokens=9)
    bad, good = await echo.start(), EchoServer()
    async with rig(tmp_path) as one:
        fine = await good.start()
        replies = [await asked(one, "assembled", *pair) for pair in ((bad, fine), (fine, bad))]
        assert [(reply.status, reply.text) for reply in replies] == [(200, WORDS)] * 2
    await good.stop()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "fault", ["error_first", "error", "refuse", "truncate", "garbage", "gzip", "stall"]
)
async def test_after_a_retry_the_text_is_there_once(
    tmp_path: Path, echo: EchoServer, way: str, fault: str
) -> None:
    echo.behaviour = Behaviour(fault=fault, status=503)
    bad, good = await echo.start(), EchoServer()
    fine = await good.start()
    async with rig(tmp_path, first_byte_timeout_s=0.3) as one:
        for number in range(2):  # one of them meets the bad one first
            pair = (bad, fine) if number else (fine, bad)
            reply = await asked(one, way, *pair)
            assert (reply.status, reply.whole) == (200, True)
            assert reply.text == WORDS
            if reply.done:
                assert reply.done == 1
                roles = [event for event in reply.events if _role(event)]
                assert len(roles) == 1, "and so is the role"
    assert echo.calls, "it was tried"
    await good.stop()


def _role(event: dict[str, Any]) -> bool:
    return any("role" in choice["delta"] for choice in event["choices"])


@pytest.mark.parametrize("way", WAYS)
async def test_a_slow_drip_is_the_same_answer(tmp_path: Path, echo: EchoServer, way: str) -> None:
    """Byte for byte, as the engine writes them: no piece of an event is taken for one."""
    url = await echo.start()
    async with rig(tmp_path) as one:
        first = await asked(one, way, url)
        echo.behaviour = Behaviour(fault="slow")
        dripped = await asked(one, way, url)
        assert (dripped.status, dripped.whole, dripped.text) == (200, True, first.text)
        assert len(dripped.events if dripped.done else [0]) == len(
            first.events if first.done else [0]
        )
        assert dripped.done == first.done


# --- upstreams that the echo engine is too polite for --------------------------------------------

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"one "}}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
CLOSE = b"Connection: close\r\n\r\n"


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A chunked stream."""
    sized = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return EVENTS + b"Transfer-Encoding: chunked\r\n\r\n" + sized + end


RAW: dict[str, tuple[bytes, Callable[[Reply], None]]] = {
    "no end mark, but a proper end of the body": (
        chunked(TOKEN, LAST), lambda reply: assert_broken_off(reply, "one ")),
    "no end mark, and the connection is the end": (
        EVENTS + CLOSE + TOKEN + LAST, lambda reply: assert_broken_off(reply, "one ")),
    "cut in the middle of an event": (
        EVENTS + CLOSE + TOKEN + TOKEN[:20], lambda reply: assert_broken_off(reply, "one ")),
    "cut in the middle of a chunk": (
        chunked(TOKEN, end=b"ff\r\ndata: {"), lambda reply: assert_broken_off(reply, "one ")),
    "a chunk size that is none": (
        chunked(TOKEN, end=b"zz\r\n"), lambda reply: assert_typed(reply, 502)),
    "events that are no text": (
        chunked(TOKEN, b"data: \xff\xfe\n\n"), lambda reply: assert_broken_off(reply, "one ")),
    "an error as a bare string": (
        chunked(TOKEN, b'data: {"error":"out of memory"}\n\n', DONE),
        lambda reply: assert_broken_off(reply, "one ")),
    "an error as an event of its own name": (
        chunked(TOKEN, b'event: error\ndata: {"error":{"message":"gone"}}\n\n'),
        lambda reply: assert_broken_off(reply, "one ")),
    "nothing but the end mark": (
        chunked(DONE), lambda reply: assert_whole_stream(reply, "")),
    "more after the end mark": (
        chunked(TOKEN, LAST, DONE, TOKEN, DONE), lambda reply: assert_whole_stream(reply, "one ")),
    "comments to keep it alive": (
        chunked(b": ping\n\n", TOKEN, b": ping\n\n", LAST, DONE),
        lambda reply: assert_whole_stream(reply, "one ")),
    "no HTTP": (b"hello\r\n\r\n", lambda reply: assert_typed(reply, 502)),
    "an empty answer": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", lambda reply: assert_typed(reply, 502)),
    "a page of a proxy": (
        b"HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
        lambda reply: assert_typed(reply, 502)),
    "a redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        lambda reply: assert_typed(reply, 502)),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        lambda reply: assert_typed(reply, 502)),
    "a head without end": (
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, lambda reply: assert_typed(reply, 502)),
    "headers that would split ours": (
        b"HTTP/1.1 429 No\r\nRetry-After: 1\rX: y\r\nContent-Length: 2\r\n\r\n{}",
        lambda reply: assert_typed(reply, 502)),
}  # fmt: skip


def assert_whole_stream(reply: Reply, text: str) -> None:
    assert (reply.status, reply.whole, reply.done) == (200, True, 1)
    assert reply.text == text
    assert reply.body.endswith(DONE)


@pytest.mark.parametrize("kind", RAW)
async def test_bytes_that_no_engine_should_send(tmp_path: Path, kind: str) -> None:
    sent, expect = RAW[kind]

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(sent)
        return False

    async with upstream(answer) as url, rig(tmp_path) as one:
        expect(await asked(one, "streamed", url))
        assert len(one.records()) == 1


async def test_an_answer_too_many_is_nobody_elses(tmp_path: Path) -> None:
    """What an upstream sends without being asked must not answer the next client's request."""
    numbers = iter(range(100))

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> bool:
        number = next(numbers)
        for said in (str(number), "nobody's"):
            told = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
        return True

    async with upstream(answer) as url, rig(tmp_path) as one:
        said = [(await asked(one, "whole", url)).text for _ in range(5)]
        assert said == ["0", "1", "2", "3", "4"]


async def test_a_compressed_answer_is_not_asked_for(tmp_path: Path) -> None:
    """The client's `Accept-Encoding` stays here: what comes back must be readable."""
    heads: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        told = gzip.compress(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(told), told))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with rig(tmp_path) as one:
        one.serve(echo=[endpoint(f"http://127.0.0.1:{port}/v1")])
        reply = await ask(one.port, body(), b"Accept-Encoding: gzip, br")
        assert_typed(reply, 502)
        assert b"\r\nAccept-Encoding: identity\r\n" in heads[0]
        assert b"gzip" not in heads[0]
        await until(lambda: not one.gateway.active)
    server.close()
