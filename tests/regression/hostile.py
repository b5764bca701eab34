"""Bytes that no good client sends, and what may come of them."""

import asyncio
import json
import re
from itertools import count

from tests.regression.clients import Reply, read_all
from tests.unit.gateway.rig import KEY, Rig, Wire, until

from modelyard.lib import clock
from modelyard.lib.http import MAX_CHUNK_LINE_BYTES, MAX_TRAILER_BYTES

LATER_S = 1_000_000.0
MOST_BODY = 200_000
MARKER = re.compile(rb"marker-[a-z]+-[0-9]+")
PATH = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"Host: x\r\nAuthorization: Bearer " + KEY + b"\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
REFUSED = {400, 401, 404, 405, 408, 413, 431}


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


# --- what two servers might frame differently, or take for a request

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
