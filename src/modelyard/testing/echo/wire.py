"""The answering side of a connection, and the faults that happen on it."""

import asyncio
import gzip
import zlib
from typing import Any

import msgspec

from modelyard.testing.echo.behaviour import Behaviour

_GZIP_FORMAT = 31  # zlib's number for a gzip stream with the largest window


def error(message: str, code: str) -> dict[str, Any]:
    """An error in OpenAI's envelope."""
    return {"error": {"message": message, "type": code, "code": code}}


class Wire:
    """Writes one answer, whole or as events."""

    def __init__(self, writer: asyncio.StreamWriter, behaviour: Behaviour | None = None) -> None:
        self._writer = writer
        fault = behaviour.fault if behaviour else ""
        self._gzip = zlib.compressobj(wbits=_GZIP_FORMAT) if fault == "gzip" else None
        self._drips = fault == "slow"
        self._interval_s = behaviour.token_interval_s if behaviour else 0.0

    async def answer(self, status: int, value: Any, headers: bytes = b"") -> None:
        """A whole JSON answer."""
        await self.raw(status, b"application/json", msgspec.json.encode(value), headers)

    async def raw(self, status: int, kind: bytes, body: bytes, headers: bytes = b"") -> None:
        """A whole answer of any content type."""
        if self._gzip is not None:
            body, headers = gzip.compress(body), headers + b"Content-Encoding: gzip\r\n"
        self._writer.write(
            b"HTTP/1.1 %d X\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n"
            % (status, kind, headers, len(body))
        )
        await self._send(body)

    async def begin(self) -> None:
        """The head of an event stream."""
        self._writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b"
            b"Transfer-Encoding: chunked\r\n\r\n"
            % (b"Content-Encoding: gzip\r\n" if self._gzip else b"")
        )
        await self._writer.drain()

    async def event(self, value: Any) -> None:
        """One event with a JSON value."""
        await self.piece(b"data: " + msgspec.json.encode(value) + b"\n\n")

    async def piece(self, data: bytes) -> None:
        """Bytes of the stream, as they are."""
        if self._gzip is not None:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        await self._send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """`[DONE]` and the end of the stream."""
        await self.piece(b"data: [DONE]\n\n")
        if self._gzip is not None:
            rest = self._gzip.flush()
            self._writer.write(b"%x\r\n%b\r\n" % (len(rest), rest))
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def _send(self, data: bytes) -> None:
        if not self._drips:
            self._writer.write(data)
            await self._writer.drain()
            return
        for at in range(len(data)):
            self._writer.write(data[at : at + 1])
            await self._writer.drain()
            await asyncio.sleep(self._interval_s)
