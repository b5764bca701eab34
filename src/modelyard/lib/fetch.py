"""A small HTTP/1.1 client for the platform's own processes: one call, one connection, no pool.

The gateway process must stay light, so it does not import a client library for the two calls it
makes to the control plane.
"""

import asyncio
import contextlib
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from modelyard.errors import Invalid, TimedOut, Unavailable
from modelyard.lib.http import CHUNKED, NO_BODY, UNTIL_CLOSE, ChunkedReader, parse_response

MAX_ANSWER_BYTES = 256 * 1024 * 1024


class Answer(NamedTuple):
    """Status and whole body."""

    status: int
    body: bytes


async def fetch(
    url: str,
    *,
    token: str,
    timeout_s: float,
    method: str = "GET",
    body: bytes | memoryview = b"",
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One request; `tls` says whom to trust, without it the system's authorities are.

    Raises Unavailable when the peer cannot be reached or breaks off, TimedOut.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    context = (tls or ssl.create_default_context()) if secure else None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                parts.hostname, port, ssl=context, limit=1024 * 1024
            )
            try:
                writer.writelines((head.encode("latin-1"), body))  # no copy of a large body
                return await _read(reader)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise TimedOut(f"no answer from {url} within {timeout_s:g} s") from None
    except (OSError, EOFError, Invalid) as error:
        raise Unavailable(f"cannot reach {url}: {error}") from error


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = parse_response((await reader.readuntil(b"\r\n\r\n"))[:-4])
    if head.length == NO_BODY:
        return Answer(head.status, b"")
    if head.length == UNTIL_CLOSE:
        return Answer(head.status, await reader.read(MAX_ANSWER_BYTES))
    if head.length != CHUNKED:
        return Answer(head.status, await reader.readexactly(head.length))
    chunks = ChunkedReader()
    pieces: list[bytes] = []
    while not chunks.done:
        data = await reader.read(65536)
        if not data:
            raise EOFError("the answer broke off")
        pieces.append(chunks.feed(data))
    return Answer(head.status, b"".join(pieces))
