"""A client that shows everything: bytes as they came, and whether the answer was whole."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bench.processes import tree
from tests.platform import Platform
from tests.unit.gateway.rig import KEY

from modelyard.testing.echo import Behaviour, EchoServer

ANSWER_S = 30.0


class Reply(NamedTuple):
    """One answer. Header names are lower case; `status` is 0 where nothing came."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool
    """Whether it came to the end that its framing promised."""

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in OpenAI's envelope."""
        error = json.loads(self.body)["error"]
        assert set(error) >= {"message", "type", "code"}
        return dict(error)

    @property
    def events(self) -> list[Any]:
        """The JSON of every event of a stream but `[DONE]`."""
        found = [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [json.loads(data) for data in found if data != "[DONE]"]

    @property
    def text(self) -> str:
        """What was said, streamed or whole, by the first choice."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            choices = [one["choices"][0] for one in self.events if one.get("choices")]
            return "".join(choice["delta"].get("content") or "" for choice in choices)
        return str(self.json["choices"][0]["message"]["content"])

    @property
    def done(self) -> int:
        """How often the end mark of a stream came."""
        return self.body.count(b"data: [DONE]\n\n")


NOTHING = Reply(0, {}, b"", whole=False)


def read(data: bytes) -> tuple[Reply, bytes]:
    """The first answer in these bytes, and what follows it."""
    head, mark, rest = data.partition(b"\r\n\r\n")
    if not mark:
        return NOTHING, data
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}
    status = int(line.split(" ")[1])
    if headers.get("transfer-encoding") == "chunked":
        body, whole, rest = _dechunk(rest)
    else:
        size = int(headers.get("content-length", 0))
        body, whole, rest = rest[:size], len(rest) >= size, rest[size:]
    return Reply(status, headers, body, whole), rest


def read_all(data: bytes) -> list[Reply]:
    """All answers in these bytes, which must be nothing but answers."""
    found = []
    while data:
        reply, data = read(data)
        assert reply.status, data[:200]
        found.append(reply)
    return found


def _dechunk(data: bytes) -> tuple[bytes, bool, bytes]:
    pieces = []
    while True:
        line, mark, data = data.partition(b"\r\n")
        if not mark:
            return b"".join(pieces), False, b""
        size = int(line, 16)
        if size == 0:
            return b"".join(pieces), data.startswith(b"\r\n"), data[2:]
        pieces.append(data[:size])
        data = data[size + 2 :]


def body(model: str = "echo", **more: Any) -> bytes:
    """A chat request of three words; `messages` replaces them."""
    messages = [{"role": "user", "content": "one two three"}]
    return json.dumps({"model": model, "messages": messages, **more}).encode()


def request(
    content: bytes, *fields: bytes, key: bytes = KEY, path: bytes = b"/v1/chat/completions"
) -> bytes:
    """The bytes of a whole request."""
    lines = (
        b"POST %b HTTP/1.1" % path,
        b"Host: x",
        b"Authorization: Bearer " + key,
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(content),
        *fields,
    )
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


async def talk(port: int, data: bytes, *, close: bool = False) -> bytes:
    """All that comes back on one connection that sends this; `close` ends the client's side."""
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(data)
            if close:
                writer.write_eof()
            return await _until_closed(reader)
        finally:
            writer.close()


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    """What came until the end, also where the end is a reset."""
    pieces = []
    try:
        while piece := await reader.read(1 << 20):
            pieces.append(piece)
    except ConnectionError:
        return b"".join(pieces)
    return b"".join(pieces)


async def ask(
    port: int, content: bytes, *fields: bytes, key: bytes = KEY,
    path: bytes = b"/v1/chat/completions",
) -> Reply:  # fmt: skip
    """One request over a connection of its own; `NOTHING` where the connection broke."""
    data = request(content, *fields, b"Connection: close", key=key, path=path)
    try:
        return read(await talk(port, data))[0]
    except OSError:
        return NOTHING


class Line:
    """A kept connection to one gateway process; `pid` says to which."""

    def __init__(
        self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid = pid
        self._reader = reader
        self._writer = writer

    async def ask(
        self, content: bytes, key: bytes = KEY, path: bytes = b"/v1/chat/completions"
    ) -> Reply:
        """One model call; see `send`."""
        return await self.send(request(content, key=key, path=path))

    async def send(self, data: bytes) -> Reply:
        """A request and its answer; what came of it where the connection broke."""
        seen, reply = b"", NOTHING
        try:
            async with asyncio.timeout(ANSWER_S):
                self._writer.write(data)
                while not reply.whole:
                    piece = await self._reader.read(1 << 20)
                    if not piece:
                        break
                    seen += piece
                    reply, _ = read(seen)
        except OSError:
            return reply
        return reply

    def close(self) -> None:
        """Go away."""
        self._writer.close()


def gateways(running: Platform) -> list[int]:
    """The gateway processes of a platform that run now."""
    return [one.pid for one in tree(running.process.pid) if one.kind == "gateway"]


@asynccontextmanager
async def lines(running: Platform, each: int = 1) -> AsyncIterator[list[Line]]:
    """So many connections to each gateway process, in turn.

    The kernel gives a connection to whom it likes. While all others are stopped there is only one.
    """
    port, pids = port_of(running), await asyncio.to_thread(gateways, running)
    found: list[list[Line]] = []
    try:
        for pid in pids:
            with stopped(*(other for other in pids if other != pid)):
                found.append([await _line(pid, port) for _ in range(each)])
        yield [line for some in zip(*found, strict=True) for line in some]
    finally:
        for line in (line for some in found for line in some):
            line.close()


async def _line(pid: int, port: int) -> Line:
    line = Line(pid, *await asyncio.open_connection("127.0.0.1", port))
    assert (await line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200
    return line


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """These processes do nothing for the time of a block."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        while any(_state(pid) != "T" for pid in pids):
            time.sleep(0.001)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def port_of(running: Platform) -> int:
    """Where the gateway of a platform listens."""
    port = urlsplit(running.gateway_url).port
    assert port is not None
    return port


class Watched(EchoServer):
    """An upstream that remembers the most it had open at once."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.most_active = 0
        self._active = 0
        super().__init__(behaviour)

    @property
    def active(self) -> int:
        """Open requests."""
        return self._active

    @active.setter
    def active(self, value: int) -> None:
        self._active = value
        self.most_active = max(self.most_active, value)


@asynccontextmanager
async def served(
    running: Platform, name: str, *servers: EchoServer, engine: dict[str, Any] | None = None,
    **spec: Any,
) -> AsyncIterator[None]:  # fmt: skip
    """Upstreams of this process, served under `name` by all gateway processes."""
    urls = [await server.start() for server in servers]
    options = {"name": "openai", "urls": urls, **(engine or {})}
    await asyncio.to_thread(running.apply, name, engine=options, **spec)
    await known(running, name, running.key)
    try:
        yield
    finally:
        await asyncio.to_thread(running.client.delete_service, name)
        for server in servers:
            await server.stop()


async def new_key(running: Platform, name: str, **fields: Any) -> bytes:
    """A key that all gateway processes know already."""
    found = await asyncio.to_thread(running.client.create_key, role="caller", **fields)
    await known(running, name, found["key"])
    return str(found["key"]).encode()


async def known(running: Platform, name: str, key: str) -> None:
    """Wait until every gateway process lets this key see this service."""
    data = b"GET /v1/models/%b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % (
        name.encode(),
        key.encode(),
    )
    async with lines(running) as each, asyncio.timeout(20):
        for line in each:
            while (await line.send(data)).status != 200:
                await asyncio.sleep(0.02)


async def records(
    running: Platform, replies: Iterable[Reply], at_once: int = 8
) -> list[dict[str, Any]]:
    """The request records of these answers, in their order."""
    turns = asyncio.Semaphore(at_once)

    async def one(reply: Reply) -> dict[str, Any]:
        async with turns:
            found = await asyncio.to_thread(running.record, reply.headers["x-request-id"])
        return dict(found["request"])

    return list(await asyncio.gather(*(one(reply) for reply in replies)))


async def until(condition: Callable[[], Any], timeout_s: float = 15.0) -> None:
    """Wait for it."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)


def reset(writer: asyncio.StreamWriter) -> None:
    """Go away as a killed process may: without a word more than a reset."""
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()
