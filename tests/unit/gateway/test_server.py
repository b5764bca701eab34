"""The client's side of the gateway: however bytes are cut, and however long they take."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.gateway.rig import Rig, endpoint, post, question, rig

from modelyard.lib import clock
from modelyard.lib.http import chunk
from modelyard.testing.echo import EchoServer

pytestmark = pytest.mark.anyio
LATER_S = 1_000_000.0


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Rig]:
    server = EchoServer()
    async with rig(tmp_path, max_body_bytes=100_000, idle_timeout_s=60.0) as gateway:
        gateway.serve(echo=[endpoint(await server.start())])
        yield gateway
    await server.stop()


def chunked(body: bytes) -> bytes:
    pieces = b"".join(chunk(body[at : at + 20]) for at in range(0, len(body), 20))
    head = post(body, b"Transfer-Encoding: chunked").partition(b"\r\n\r\n")[0]
    head = head.replace(b"Content-Length: %d\r\n" % len(body), b"")
    return head + b"\r\n\r\n" + pieces + b"0\r\nTrailer: x\r\n\r\n"


@pytest.mark.parametrize("framed", [post, chunked])
async def test_a_request_cut_anywhere_is_the_same(one: Rig, framed: Any) -> None:
    request = framed(question())
    wire = await one.connect()
    for cut in range(1, len(request)):
        wire.feed(request[:cut])
        wire.feed(request[cut:])
        status, body = await wire.answer()
        assert status == 200, cut
        assert json.loads(body)["choices"][0]["message"]["content"] == "one two three "
    assert len(one.records()) == len(request) - 1
    assert len(one.server.connections) == 1, "all over one connection"


async def test_a_request_byte_by_byte(one: Rig) -> None:
    wire = await one.connect()
    for byte in chunked(question()):
        wire.feed(bytes([byte]))
    assert (await wire.answer())[0] == 200


async def test_what_is_sent_ahead_is_answered_in_order(one: Rig) -> None:
    words = [f"word{number}" for number in range(20)]
    requests = [post(json.dumps({"model": "echo", "messages": [{"content": word}]}).encode())
                for word in words]  # fmt: skip
    wire = await one.connect()
    wire.writer.write(b"".join(requests))
    answers = [json.loads((await wire.answer())[1]) for _ in words]
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert texts == [f"{word} " for word in words]


async def test_a_large_flood_sent_ahead_is_answered_whole(one: Rig) -> None:
    request = post(question(padding="x" * 2000))
    wire = await one.connect()
    wire.writer.write(request * 200)
    assert [(await wire.answer())[0] for _ in range(200)] == [200] * 200


@pytest.mark.parametrize(
    ("sent", "status", "recorded"),
    [
        (b"G", 408, False),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n", 408, False),
        (post(question())[:-1], 408, True),
        (chunked(question())[:-1], 408, True),
    ],
)
async def test_who_dawdles_is_told_and_closed(
    one: Rig, sent: bytes, status: int, recorded: bool
) -> None:
    wire = await one.connect()
    for byte in sent:
        wire.feed(bytes([byte]))
    wire.protocol.check_limits(clock.monotonic_s() + 15)
    wire.protocol.check_limits(clock.monotonic_s() + LATER_S)
    assert (await wire.answer())[0] == status
    assert await wire.rest() == b""
    assert [record["status"] for record in one.records()] == [status] * recorded


async def test_an_idle_connection_is_closed_in_silence(one: Rig) -> None:
    fresh, used = await one.connect(), await one.connect()
    used.writer.write(post(question()))
    await used.answer()
    for wire in (fresh, used):
        wire.protocol.check_limits(clock.monotonic_s() + 59)
        wire.protocol.check_limits(clock.monotonic_s() + 61)
        assert await wire.rest() == b""


async def test_a_body_over_the_limit_leaves_others_alone(one: Rig) -> None:
    other = await one.connect()
    for request in (post(b" " * 100_001), chunked(b" " * 100_001)):
        wire = await one.connect()
        wire.writer.write(request + post(question()))
        status, body = await wire.answer()
        assert (status, json.loads(body)["error"]["code"]) == (413, "body_too_large")
        assert await wire.rest() == b"", "nothing behind it is read as a request"
    other.writer.write(post(b" " * 100_000) + post(question()))
    assert [(await other.answer())[0] for _ in range(2)] == [400, 200]


async def test_too_many_connections_are_closed_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path, max_connections=2) as one:
        kept = [await one.connect(), await one.connect()]
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        assert await reader.read() == b""
        writer.close()
        kept[0].writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await kept[0].answer())[0] == 200


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /v1/chat/completions HTTP/1.1", 405),
        (b"DELETE /v1/completions HTTP/1.1", 405),
        (b"POST /healthz HTTP/1.1", 405),
        (b"DELETE /v1/models/echo HTTP/1.1", 405),
        (b"GET /v1/nothing HTTP/1.1", 404),
        (b"POST /chat/completions HTTP/1.1", 404),
        (b"GET //healthz HTTP/1.1", 404),
        (b"OPTIONS * HTTP/1.1", 404),
    ],
)
async def test_wrong_paths_and_methods_keep_the_connection(
    one: Rig, line: bytes, status: int
) -> None:
    wire = await one.connect()
    wire.writer.write(line + b"\r\nHost: x\r\n\r\n")
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert (b"\r\nAllow: " in head) is (status == 405)
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    error = json.loads(await wire.reader.readexactly(length))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    wire.writer.write(post(question()))
    assert (await wire.answer())[0] == 200


async def test_a_head_request_gets_no_body(one: Rig) -> None:
    for path in (b"/healthz", b"/nothing", b"/v1/models"):
        request = b"HEAD %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path
        head, _, body = (await one.talk(request)).partition(b"\r\n\r\n")
        assert b"Content-Length: " in head
        assert body == b""


@pytest.mark.parametrize("fields", [(), (b"Connection: keep-alive",)])
async def test_an_old_client_gets_a_stream_without_chunks(
    one: Rig, fields: tuple[bytes, ...]
) -> None:
    request = post(question(stream=True), *fields).replace(b"HTTP/1.1", b"HTTP/1.0")
    head, _, body = (await one.talk(request)).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"Connection: close" in head
    assert body.startswith(b"data: ")
    assert body.endswith(b"data: [DONE]\n\n")


REQUEST = post(question())


@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.lists(st.tuples(st.integers(0, len(REQUEST) - 1), st.integers(0, 255)), max_size=4),
       st.binary(max_size=20), st.integers(1, 200))  # fmt: skip
@example([], b"", 1)
async def test_any_bytes_end_in_an_answer_or_a_close(
    one: Rig, changes: list[tuple[int, int]], front: bytes, step: int
) -> None:
    data = bytearray(REQUEST)
    for at, byte in changes:
        data[at] = byte
    data[:0] = front
    wire = await one.connect()
    for at in range(0, len(data), step):
        wire.feed(bytes(data[at : at + step]))
    while one.gateway.active:
        await asyncio.sleep(0)
    wire.protocol.check_limits(clock.monotonic_s() + LATER_S)
    answer = await wire.rest()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert one.accidents == []
    wire.close()
