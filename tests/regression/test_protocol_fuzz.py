"""Bytes that no good client sends, at the gateway's own HTTP/1.1 protocol.

Whatever comes: a typed 4xx or a closed connection; never a 5xx, a hang, an accident in the event
loop, or another client's bytes. Beside every hostile client a steady one asks, and gets exactly its
own answers. (How well-formed requests are cut is in `tests/unit/gateway/test_server.py`.)
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.platform import Platform
from tests.regression.clients import Reply, gateways, lines, port_of, read, read_all, served, talk
from tests.regression.clients import body as body_of
from tests.unit.gateway.rig import KEY, Rig, Wire, endpoint, rig, until, upstream

from modelyard.lib import clock
from modelyard.lib.http import MAX_CHUNK_LINE_BYTES, MAX_HEADERS, MAX_TRAILER_BYTES
from modelyard.testing.echo import EchoServer

pytestmark = pytest.mark.anyio
LATER_S = 1_000_000.0
MOST_BODY = 200_000
MARKER = re.compile(rb"marker-[a-z]+-[0-9]+")
PATH = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"Host: x\r\nAuthorization: Bearer " + KEY + b"\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
REFUSED = {400, 401, 404, 405, 408, 413, 431}
slow = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def parrot(body: bytes, writer: asyncio.StreamWriter) -> bool:
    """An upstream that says the first marker of what it was asked, streamed where it should."""
    found = MARKER.search(body)
    said = found.group().decode() if found else "nothing"
    choice = {"index": 0, "message": {"content": said}, "delta": {"content": said},
              "finish_reason": "stop"}  # fmt: skip
    told = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    if json.loads(body).get("stream"):
        told = f"data: {told}\n\ndata: [DONE]\n\n"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(told), told.encode()))
    return True


class Steady:
    """A client that does nothing wrong, on a connection of its own."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._numbers = count()

    async def ask(self) -> None:
        """It gets its own answer, and nothing else is on its connection."""
        marker = f"marker-steady-{next(self._numbers)}"
        self._wire.writer.write(whole(marker))
        status, body = await self._wire.answer()
        assert (status, MARKER.findall(body)) == (200, [marker.encode()] * 2)
        assert not self._wire.reader._buffer  # type: ignore[attr-defined]


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Rig]:
    limits = {"max_body_bytes": MOST_BODY, "max_header_bytes": 16_384}
    async with upstream(parrot) as url, rig(tmp_path, **limits) as gateway:
        gateway.serve(echo=[endpoint(url)])
        yield gateway


@pytest.fixture
async def steady(one: Rig) -> Steady:
    return Steady(await one.connect())


def content(marker: str, **more: object) -> bytes:
    messages = [{"role": "user", "content": marker}]
    return json.dumps({"model": "echo", "messages": messages, **more}).encode()


def whole(marker: str, *fields: bytes, **more: object) -> bytes:
    """A good request."""
    body = content(marker, **more)
    lines = b"".join(field + b"\r\n" for field in fields)
    return PATH + HOST + lines + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes) -> bytes:
    """A request with a body that is chunked already."""
    return PATH + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + body


async def outcome(one: Rig, data: bytes, step: int = 0) -> list[Reply]:
    """All answers to these bytes, sent at once or in pieces; then the time limits strike."""
    wire = await one.connect()
    for at in range(0, len(data), step or len(data) or 1):
        wire.feed(data[at : at + (step or len(data))])
        if step:
            await asyncio.sleep(0)
    await until(lambda: not one.gateway.active)
    wire.protocol.check_limits(clock.monotonic_s() + LATER_S)
    wire.protocol.check_limits(clock.monotonic_s() + 2 * LATER_S)
    replies = read_all(await wire.rest())
    wire.close()
    assert one.accidents == []
    return replies


def assert_refused(replies: list[Reply], *statuses: int) -> None:
    """One typed refusal and the end of the connection, or no word at all."""
    assert len(replies) <= 1
    for reply in replies:
        assert reply.status in (statuses or REFUSED)
        assert reply.headers["connection"] == "close"
        assert set(reply.error) == {"message", "type", "param", "code"}


# --- what two servers might frame differently ----------------------------------------------------

BODY = b"0\r\n\r\n"
SMUGGLED = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\ntRANSFER-eNCODING: chunked\r\n",
    b"Content-Length: 5\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\nContent-Length: 0\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 5,6\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: 5.0\r\n",
    b"Content-Length: 1e1\r\n",
    b"Content-Length: 5 5\r\n",
    b"Content-Length: \r\n",
    b"Content-Length: 5\x0b\r\n",
    b"Content-Length: \xd9\xa5\r\n",
    b"Content-Length: 0000000000000000005\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length:\r\n 5\r\n",
    b"Content-Length : 5\r\n",
    b"Content-Length\t: 5\r\n",
    b"Content-Length\x00: 5\r\n",
    b"\xffContent-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, gzip\r\n",
    b"Transfer-Encoding: chunked;q=1\r\n",
    b"Transfer-Encoding: 'chunked'\r\n",
    b'Transfer-Encoding: "chunked"\r\n',
    b"Transfer-Encoding: chunked\x00\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n",
    b"Transfer-Encoding: chu\r\n nked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\n",
    b"X: y\rTransfer-Encoding: chunked\r\n",
    b"X: y\r\rTransfer-Encoding: chunked\r\n",
    b"X: y\x00\r\nContent-Length: 5\r\n",
]


@pytest.mark.parametrize("fields", SMUGGLED)
async def test_ambiguous_framing_is_refused_and_its_tail_is_no_request(
    one: Rig, steady: Steady, fields: bytes
) -> None:
    data = PATH + HOST + fields + b"\r\n" + BODY + HEALTH
    replies = await outcome(one, data)
    assert len(replies) == 1
    assert_refused(replies, 400, 413)
    await steady.ask()


@pytest.mark.parametrize(
    "fields", [b"Transfer_Encoding: chunked\r\n", b"Content_Length: 5\r\n", b"TE: chunked\r\n"]
)
async def test_a_header_that_only_looks_like_framing_frames_nothing(
    one: Rig, fields: bytes
) -> None:
    replies = await outcome(one, PATH + HOST + fields + b"\r\n" + BODY + HEALTH)
    assert [reply.status for reply in replies] == [400, 400], "no body; what follows is garbage"
    assert replies[1].headers["connection"] == "close"


async def test_chunks_over_http_1_0_are_refused(one: Rig) -> None:
    old = PATH.replace(b"1.1", b"1.0")
    data = old + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + BODY + HEALTH
    replies = await outcome(one, data)
    assert len(replies) == 1
    assert_refused(replies, 400)


# --- heads ---------------------------------------------------------------------------------------

HEADS = [
    b"GET /healthz\r\n\r\n",  # HTTP/0.9
    b"GET\r\n\r\n",
    b"\r\n\r\n",
    b"\r\n\r\n\r\n\r\n" + HEALTH,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n",
    b"GET /healthz http/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1 \r\nHost: x\r\n\r\n",
    b"GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET\t/healthz\tHTTP/1.1\r\nHost: x\r\n\r\n",
    b" GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /heal thz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"G\x00T /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"G{T /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n\tb\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x7f" * 500,  # TLS
    b"\x80\x2e\x01\x00\x02" + b"\x00" * 40,  # SSL 2
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n\r\n",  # Redis
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"\x00" * 20_000,
    b"\r\n" * 10_000,
]


@pytest.mark.parametrize("data", HEADS)
async def test_what_is_no_request_is_refused(one: Rig, steady: Steady, data: bytes) -> None:
    assert_refused(await outcome(one, data))
    await steady.ask()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://other.example/v1/chat/completions", 404),
        (b"http://other.example", 404),
        (b"other.example:80", 404),
        (b"*", 404),
        (b"//healthz", 404),
        (b"/healthz/../v1/models", 404),
        (b"/v1/models/%00", 401),
        (b"/" + b"a" * 10_000, 404),
        (b"/healthz#x", 404),
        (b"/healthz?" + b"&" * 10_000, 200),
        (b"\\healthz", 404),
        (b"/healthz;x", 404),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"CONNECT", b"TRACE", b"PROPFIND"])
async def test_targets_of_every_form(one: Rig, method: bytes, target: bytes, status: int) -> None:
    """They are well-formed, so the connection goes on; none is taken for another path."""
    replies = await outcome(one, method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n" + HEALTH)
    if method != b"GET":
        status = 405 if status in (200, 401) else 404
    assert [reply.status for reply in replies] == [status, 200]
    assert b"other.example" not in replies[1].body


async def test_a_flood_of_header_fields_is_too_large(one: Rig, steady: Steady) -> None:
    few = b"".join(b"x-%d: y\r\n" % number for number in range(MAX_HEADERS - 1))
    many = few + b"x-a: y\r\nx-b: y\r\n"
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    assert [reply.status for reply in await outcome(one, get + few + b"\r\n")] == [200]
    assert_refused(await outcome(one, get + many + b"\r\n"), 431)
    same = b"x: y\r\n" * 2_000
    assert [reply.status for reply in await outcome(one, get + same + b"\r\n")] == [200]
    assert_refused(await outcome(one, get + same * 2 + b"\r\n"), 431)
    await steady.ask()


@pytest.mark.parametrize("step", [0, 1000, 7])
async def test_a_head_over_the_limit_is_too_large_however_it_comes(one: Rig, step: int) -> None:
    data = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n" + HEALTH
    replies = await outcome(one, data, step)
    assert len(replies) == 1
    assert_refused(replies, 431)


@pytest.mark.parametrize(
    "value", [b"\xff\xfe", b"\xc3\xa9", b"\xed\xa0\x80", b"\x80" * 100, b"caf\xe9"]
)
async def test_bytes_that_are_no_text_in_a_header_do_no_harm(one: Rig, value: bytes) -> None:
    """They are allowed there (RFC 9110 §5.5); they end up in records as they are."""
    fields = (b"User-Agent: " + value, b"X-Modelyard-Session: " + value, b"X: " + value)
    replies = await outcome(one, whole("marker-bytes-1", *fields))
    assert [reply.status for reply in replies] == [200]
    keyless = PATH + b"Host: x\r\nAuthorization: Bearer " + value + b"\r\nContent-Length: 0\r\n\r\n"
    assert [reply.status for reply in await outcome(one, keyless)] == [401]


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf", b"\x00"]
)
async def test_a_body_that_is_no_text_is_refused_and_the_connection_goes_on(
    one: Rig, bad: bytes
) -> None:
    body = content("marker-bytes-2").replace(b"marker", b"mar" + bad)
    data = PATH + HOST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    replies = await outcome(one, data + whole("marker-bytes-3"))
    assert [reply.status for reply in replies] == [400, 200]
    assert replies[0].error["code"] == "invalid_json"


# --- chunks --------------------------------------------------------------------------------------

CHUNKS = [
    b"zz\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"\r\nhello\r\n0\r\n\r\n",
    b";x\r\nhello\r\n0\r\n\r\n",
    b"5_0\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhelloX\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhell\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"5;\x00\r\nhello\r\n0\r\n\r\n",
    b"5;x\nGET /healthz HTTP/1.1\r\nhello\r\n0\r\n\r\n",
    b"5;x\rGET /healthz HTTP/1.1\r\nhello\r\n0\r\n\r\n",
    b"5;" + b"x" * MAX_CHUNK_LINE_BYTES + b"\r\nhello\r\n0\r\n\r\n",
    b"5" * (MAX_CHUNK_LINE_BYTES + 10),
    b"0\r\nno colon\r\n\r\n",
    b"0\r\nX: a\nGET /healthz HTTP/1.1\r\n\r\n",
    b"0\r\nX: \x00\r\n\r\n",
    b"0\r\n X: folded\r\n\r\n",
    b"0\r\n" + b"X: y\r\n" * MAX_TRAILER_BYTES,
    b"0\r\nX: " + b"y" * MAX_TRAILER_BYTES + b"\r\n\r\n",
    b"0\r\n\n" + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("body", CHUNKS)
@pytest.mark.parametrize("step", [0, 1])
async def test_malformed_chunks_are_refused_and_their_tail_is_no_request(
    one: Rig, steady: Steady, body: bytes, step: int
) -> None:
    replies = await outcome(one, chunked(body) + HEALTH, step and max(1, len(body) // 200))
    assert len(replies) == 1
    assert_refused(replies, 400, 408)
    await steady.ask()


async def test_good_chunks_of_every_kind_are_read(one: Rig) -> None:
    body = content("marker-chunks-1")
    for head in (b"%x", b"%X", b"0000%x", b"%x;ext", b'%x;name="va;lue"', b"%x ;a=b", b"%x\t"):
        data = chunked(head % len(body) + b"\r\n" + body + b"\r\n0;last\r\nTrailer: x\r\n\r\n")
        replies = await outcome(one, data + HEALTH)
        assert [reply.status for reply in replies] == [200, 200], head
        assert b"marker-chunks-1" in replies[0].body


@pytest.mark.parametrize("step", [0, 4093])
async def test_a_bomb_of_tiny_chunks_is_just_a_body(one: Rig, step: int) -> None:
    body = content("marker-bomb-1", padding="x" * 100_000)
    data = chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
    replies = await outcome(one, data + HEALTH, step)
    assert [reply.status for reply in replies] == [200, 200]
    assert b"marker-bomb-1" in replies[0].body


@pytest.mark.parametrize(
    "data",
    [
        chunked(b"fffffffffff\r\n" + b"x" * (MOST_BODY + 1)),
        chunked(b"%x\r\n%b\r\n" % (10_000, b"x" * 10_000) * 21),
        chunked(b"1\r\nx\r\n" * (MOST_BODY + 1)),
        PATH + HOST + b"Content-Length: %d\r\n\r\n" % (MOST_BODY + 1),
        PATH + HOST + b"Content-Length: 999999999999999999\r\n\r\n" + b"x" * 1000,
        PATH + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MOST_BODY + 1),
    ],
    ids=["huge size", "many chunks", "tiny chunks", "said", "said huge", "asked first"],
)
async def test_a_body_over_the_limit_is_too_large_before_it_is_read(
    one: Rig, steady: Steady, data: bytes
) -> None:
    replies = await outcome(one, data, 16_000)
    assert len(replies) == 1
    assert_refused(replies, 413)
    await steady.ask()


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [whole("marker-slow-1"), chunked(b"1\r\nx\r\n" * 50)])
async def test_who_drips_bytes_is_told_and_closed_while_others_are_served(
    tmp_path: Path, sent: bytes
) -> None:
    """Slow-loris: each byte in time, the request never."""
    limits = {"header_timeout_s": 0.2, "body_timeout_s": 0.3}
    async with upstream(parrot) as url, rig(tmp_path, **limits) as one:
        one.serve(echo=[endpoint(url)])
        steady = Steady(await one.connect())
        wires = [await one.connect() for _ in range(20)]
        for byte in sent:
            for wire in wires:
                wire.writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
            one.server.check_limits()
            if wires[0].reader._buffer:  # type: ignore[attr-defined]
                break
        await steady.ask()
        for wire in wires:
            assert_refused(read_all(await wire.rest()), 408)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("sent", [1.0, 0.9, 0.5, 0.1, 0.0])
async def test_a_half_closed_connection_is_closed(
    one: Rig, steady: Steady, sent: float, stream: bool
) -> None:
    data = whole("marker-half-1", stream=stream)
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(data[: int(len(data) * sent)])
    writer.write_eof()
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert answer == b"" or [reply.status for reply in read_all(answer)] == [200]
    await until(lambda: not one.gateway.active)
    await steady.ask()


async def test_a_client_that_never_reads_holds_up_nobody(one: Rig, steady: Steady) -> None:
    """It is sent answers until its buffer is full; then it waits, alone."""
    wire = await one.connect()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    wire.writer.write(HEALTH * 20_000)
    for _ in range(5):
        await asyncio.sleep(0.01)
        await steady.ask()
    wire.writer.transport.abort()


# --- requests sent ahead -------------------------------------------------------------------------


def requests(name: str) -> Iterator[tuple[bytes, int, bytes]]:
    """Requests of every kind, the status of each, and what its answer must hold."""
    for number in count():
        marker = f"marker-{name}-{number}"
        kinds = (
            (whole(marker), 200, marker.encode()),
            (whole(marker, stream=True), 200, marker.encode()),
            (HEALTH, 200, b'"ok"'),
            (whole(marker).replace(b'"echo"', b'"nope"'), 404, b"nope"),
            (whole(marker).replace(KEY, b"my_no_key"), 401, b"incorrect API key"),
            (whole(marker).replace(b'"model"', b"'model'"), 400, b"not valid JSON"),
            (b"GET /v1/x%d HTTP/1.1\r\nHost: x\r\n\r\n" % number, 404, b"/v1/x%d " % number),
            (b"DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405, b"takes GET"),
        )
        yield kinds[number * 7 % len(kinds)]


@pytest.mark.parametrize("step", [0, 1, 61, 5000])
async def test_what_is_sent_ahead_is_answered_in_order_up_to_the_garbage(
    one: Rig, steady: Steady, step: int
) -> None:
    many = [found for found, _ in zip(requests("ahead"), range(64), strict=False)]
    data = b"".join(request for request, _, _ in many)
    garbage = b"\x00\x01garbage\r\n\r\n"
    wire = await one.connect()
    sent = data + garbage + whole("marker-after-1") + HEALTH
    for at in range(0, len(sent), step or len(sent)):
        wire.feed(sent[at : at + (step or len(sent))])
    await until(lambda: wire.protocol._transport is None or wire.protocol._linger_until_s)
    wire.protocol.check_limits(clock.monotonic_s() + LATER_S)
    replies = read_all(await wire.rest())
    assert [reply.status for reply in replies] == [status for _, status, _ in many] + [400]
    for reply, (_, _, part) in zip(replies, many, strict=False):
        assert part in reply.body
        assert set(MARKER.findall(reply.body)) <= {part}
    assert b"marker-after" not in b"".join(reply.body for reply in replies)
    await steady.ask()


async def test_two_clients_that_send_ahead_get_their_own_answers(one: Rig) -> None:
    async def client(name: str, wire: Wire) -> None:
        many = [found for found, _ in zip(requests(name), range(96), strict=False)]
        wire.writer.write(b"".join(request for request, _, _ in many))
        seen, replies = b"", []
        async with asyncio.timeout(20):
            while len(replies) < len(many):
                seen += await wire.reader.read(65536)
                while (found := read(seen))[0].whole:
                    replies.append(found[0])
                    seen = found[1]
        assert seen == b""
        for reply, (_, status, part) in zip(replies, many, strict=True):
            assert reply.status == status
            assert part in reply.body
            assert set(MARKER.findall(reply.body)) <= {part}

    names = ("left", "right", "middle")
    wires = [await one.connect() for _ in names]
    await asyncio.gather(*map(client, names, wires))


# --- the same over real sockets ------------------------------------------------------------------


async def test_real_processes_survive_all_of_it(three: Platform) -> None:
    """uvloop's transports, real sockets, other clients meanwhile; and no process is another one."""
    port, before = port_of(three), await asyncio.to_thread(gateways, three)
    hostile = [PATH + HOST + fields + b"\r\n" + BODY + HEALTH for fields in SMUGGLED]
    hostile += [chunked(body) + HEALTH for body in CHUNKS]
    hostile += [*HEADS, *(os.urandom(size) for size in (1, 100, 10_000, 70_000))]

    async def attack(data: bytes) -> int:
        for close in (True, False) if b"\r\n\r\n" in data[:-4] else (True,):
            replies = read_all(await talk(port, data, close=close))
            assert_refused(replies)
        return len(replies)

    async with served(three, "calm", EchoServer()), lines(three) as found:
        busy = asyncio.gather(*map(attack, hostile))
        answered = 0
        while not busy.done() or answered < 30:
            for line in found:
                reply = await line.ask(body_of("calm"), three.key.encode())
                assert (reply.status, reply.text) == (200, "one two three ")
                answered += 1
        assert sum(await busy) > len(hostile) * 0.8, "most of them are told why"
    assert await asyncio.to_thread(gateways, three) == before


# --- anything ------------------------------------------------------------------------------------

SEED = whole("marker-seed-0", b"User-Agent: x/1", b"Connection: keep-alive")
SEEDS = (
    SEED,
    whole("marker-seed-1", b"Connection: close", stream=True),
    chunked(b"%x\r\n%b\r\n0\r\nT: x\r\n\r\n" % (len(content("marker-s-2")), content("marker-s-2"))),
    HEALTH + SEED,
)
SPICES = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"0\r\n\r\n", b"\xff",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1", HEALTH, b'"', b"{",
    b"\\", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Host: y\r\n", b"99999999999",
    b"chunked",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid request with a few things put in, taken out, doubled or changed."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        change = draw(st.sampled_from(["put", "cut", "double", "swap", "noise"]))
        if change == "put":
            data[at:at] = draw(st.sampled_from(SPICES))
        elif change == "cut":
            del data[at:end]
        elif change == "double":
            data[end:end] = data[at:end]
        elif change == "swap":
            data[at:end] = draw(st.sampled_from(SPICES))
        else:
            data[at:end] = draw(st.binary(max_size=8))
    return bytes(data)


def assert_sane(replies: list[Reply]) -> None:
    """Answers of ours, each with its own bytes, and nothing after a refusal that closes."""
    for number, reply in enumerate(replies):
        assert reply.status in REFUSED | {100, 200}, reply
        assert b"steady" not in reply.body, "nobody else's bytes"
        if reply.status in (408, 413, 431):
            assert number == len(replies) - 1
        if reply.headers.get("connection") == "close":
            assert number == len(replies) - 1


@slow
@given(mutated(), st.sampled_from([0, 0, 1, 13, 200]))
@example(SEED[:-1], 0)
@example(SEED + b"\r\n", 0)
@example(SEED.replace(b"\r\n", b"\n"), 0)
async def test_any_change_to_a_request_ends_in_an_answer_or_a_close(
    one: Rig, steady: Steady, data: bytes, step: int
) -> None:
    replies = await outcome(one, data, step)
    assert_sane(replies)
    await steady.ask()


field_name = st.sampled_from(
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Authorization",
     b"X", b"host", b"TE", b"Trailer", b"Upgrade", b"", b" X", b"X ", b"\x00"]
)  # fmt: skip
field_value = st.sampled_from(
    [b"x", b"", b"5", b"0", b"chunked", b"close", b"keep-alive", b"100-continue", b"a, b", b"\x00",
     b"h2c", b"Bearer " + KEY, b"\xff", b"5, 5", b"gzip, chunked"]
)  # fmt: skip
colon = st.sampled_from([b": ", b":", b" : ", b"", b":\t"])
line_end = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n "])
method = st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"", b"get"])
target = st.sampled_from(
    [b"/healthz", b"/v1/chat/completions", b"/v1/models", b"*", b"http://x/", b"/\x00", b""]
)
version = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b""])
field = st.tuples(field_name, colon, field_value, line_end).map(b"".join)
message = st.tuples(
    method, st.just(b" "), target, st.just(b" "), version, line_end,
    st.lists(field, max_size=6).map(b"".join), st.just(b"\r\n"),
    st.sampled_from([b"", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n",
                     content("marker-s-2")]),
).map(b"".join)  # fmt: skip


@slow
@given(st.lists(message, min_size=1, max_size=4).map(b"".join), st.sampled_from([0, 1, 50]))
async def test_messages_of_odd_parts_end_in_answers_or_a_close(
    one: Rig, steady: Steady, data: bytes, step: int
) -> None:
    assert_sane(await outcome(one, data, step))
    await steady.ask()


async def test_noise_is_refused(one: Rig, steady: Steady) -> None:
    for size in (1, 10, 1000, 30_000):
        for _ in range(10):
            assert_refused(await outcome(one, os.urandom(size)))
    await steady.ask()
