"""The fastest upstream that says what an engine says: canned answers, two ports, one process.

    python -m bench.upstream

It prints its two ports as JSON. What a question holds decides: `"stream": true` streams, and
`[tokens=64 pace_us=0]` in its text says how many tokens come and how far apart. Each token is a
write of its own, as an engine's is.
"""

import asyncio
import functools
import json
import re
import signal
from typing import Any, cast

import uvloop

ANSWER_BYTES = 960
TOKEN = "zq"
"""In every streamed token; occurs nowhere else in an answer."""
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_PLAN = re.compile(rb"\[tokens=(\d+) pace_us=(\d+)\]")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_COMMON = {"id": "chatcmpl-bench", "created": 1_790_000_000, "model": "bench"}
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def _whole() -> bytes:
    """An unstreamed answer of ANSWER_BYTES."""

    def body(text: str) -> bytes:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 120, "completion_tokens": 200, "total_tokens": 320}
        answer = {**_COMMON, "object": "chat.completion", "choices": [choice], "usage": usage}
        return json.dumps(answer, separators=(",", ":")).encode()

    text = body("x" * (ANSWER_BYTES - len(body(""))))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(text) + text


def _event(value: dict[str, Any]) -> bytes:
    full = {**_COMMON, "object": "chat.completion.chunk", **value}
    return _chunk(b"data: " + json.dumps(full, separators=(",", ":")).encode() + b"\n\n")


def _delta(delta: dict[str, Any], reason: str | None = None) -> bytes:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


WHOLE = _whole()
_FIRST = _STREAM_HEAD + _delta({"role": "assistant", "content": ""})
# All different: a gateway may take repetition for a model gone mad and end the stream.
_TOKENS = [_delta({"content": f" {TOKEN}{number}"}) for number in range(100)]
_LAST = _delta({}, "stop")
_END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


@functools.cache
def _usage(tokens: int) -> bytes:
    usage = {"prompt_tokens": 120, "completion_tokens": tokens, "total_tokens": 120 + tokens}
    return _event({"choices": [], "usage": usage})


class Answerer(asyncio.Protocol):
    """One connection. Questions come one at a time, as every client here sends them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        question = self._buffer = self._buffer + data if self._buffer else data
        end = question.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(question, 0, end)
        if len(question) < end + 4 + (int(length[1]) if length else 0):
            return
        self._buffer = b""
        self._answer(question)

    def _answer(self, question: bytes) -> None:
        assert self._transport is not None
        if not _STREAM.search(question):
            self._transport.write(WHOLE)
            return
        plan = _PLAN.search(question)
        tokens, pace_us = (int(plan[1]), int(plan[2])) if plan else (16, 0)
        end = _LAST + (_usage(tokens) if _USAGE.search(question) else b"") + _END
        self._transport.write(_FIRST)
        self._later(tokens, pace_us / 1e6, end)

    def _later(self, left: int, pace_s: float, end: bytes) -> None:
        if pace_s:
            self._loop.call_later(pace_s, self._write, left, pace_s, end)
        else:
            self._loop.call_soon(self._write, left, pace_s, end)

    def _write(self, left: int, pace_s: float, end: bytes) -> None:
        if self._transport is None:
            return  # the client is gone
        if left:
            self._transport.write(_TOKENS[left % len(_TOKENS)])
            self._later(left - 1, pace_s, end)
        else:
            self._transport.write(end)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda: Answerer(loop), "127.0.0.1", 0, backlog=1024)
        for _ in range(2)
    ]
    print(json.dumps([one.sockets[0].getsockname()[1] for one in servers]), flush=True)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(_serve())
