"""A gateway inside the test's own event loop, on a port that the system chose."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from modelyard.domain.snapshot import AccessKey, Endpoint, Limit, Price, Revision, Service, Snapshot
from modelyard.gateway.core import Gateway
from modelyard.gateway.ledger import SharedLedger
from modelyard.gateway.server import ClientConnection, Server
from modelyard.gateway.shared import SharedFile
from modelyard.lib import clock, frames
from modelyard.settings import GatewaySettings

PEPPER = b"pepper"
KEY = b"my_abc_secret"


class Rig:
    """The gateway, its server, and what both left behind."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.shared = SharedFile(folder / "shared.bin", 1)
        self.ledger = SharedLedger(folder / "ledger.bin", now_us=clock.now_us())
        self.gateway = Gateway(
            GatewaySettings(**settings), self.shared, self.ledger, folder / "spool", 0, PEPPER,
            folder / "kept",
        )  # fmt: skip
        self.server = Server(self.gateway)
        self.port = 0
        self.wires: list[Wire] = []
        self.accidents: list[dict[str, Any]] = []
        """What the event loop was told of: exceptions that nobody expected."""

    def serve(self, **services: list[Endpoint]) -> None:
        """Serve these endpoints under these names from now on."""
        self.offer(*(service(name, *endpoints) for name, endpoints in services.items()))

    def offer(self, *services: Service, limits: tuple[Limit, ...] = (), **key: Any) -> None:
        """Serve these services from now on, to one key with these properties."""
        digest = hmac.new(PEPPER, KEY, hashlib.sha256).hexdigest()
        self.gateway.swap(
            Snapshot(
                epoch="e",
                generation=self.gateway.catalog.generation + 1,
                created_at_us=clock.now_us(),
                services=services,
                limits=limits,
                keys=(AccessKey(**{"id": "abc", "digest": digest, "tenant": "default",
                                   "role": "caller", **key}),),
            )
        )  # fmt: skip

    def records(self, kind: str = "request") -> list[dict[str, Any]]:
        """All records of a kind, in order."""
        current = self.gateway.recorder.current
        assert current is not None
        payloads, _ = frames.whole(current.read(0, current.written))
        return [row for found, row in map(json.loads, payloads) if found == kind]

    def in_flight(self) -> int:
        """Requests at endpoints, as other processes see them."""
        return sum(load.in_flight for load in self.gateway.region.loads().values())

    async def connect(self) -> "Wire":
        """A connection of a client, and the server's side of it."""
        before = set(self.server.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await until(lambda: self.server.connections != before)
        (protocol,) = self.server.connections - before
        self.wires.append(Wire(reader, writer, protocol))
        return self.wires[-1]

    async def talk(self, data: bytes) -> bytes:
        """All that comes back on one connection that sends this."""
        wire = await self.connect()
        wire.writer.write(data)
        answer = await wire.rest()
        wire.close()
        return answer


class Wire:
    """One connection; `feed` hands the server bytes exactly as they are cut here."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        protocol: ClientConnection,
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.protocol = protocol
        self.feed = protocol.data_received

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer, which says its length."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(head.split(b" ")[1]), await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """All until the server closes."""
        async with asyncio.timeout(10):
            return await self.reader.read()

    def close(self) -> None:
        """Go away."""
        self.writer.close()


@asynccontextmanager
async def rig(folder: Path, **settings: Any) -> AsyncIterator[Rig]:
    """A running gateway; at its end nothing may have gone wrong unseen, and nothing is open."""
    one = Rig(folder, **settings)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: one.accidents.append(context))
    accepting = await loop.create_server(one.server.connection, "127.0.0.1", 0)
    one.port = accepting.sockets[0].getsockname()[1]
    ticking = loop.create_task(one.gateway.run())
    try:
        yield one
        await until(lambda: not one.gateway.active)
    finally:
        ticking.cancel()
        accepting.close()
        for wire in one.wires:
            wire.close()
        one.serve()
        await until(lambda: not one.server.connections)
        one.gateway.recorder.close()
        one.shared.close()
        one.ledger.close()
    assert one.accidents == []


@asynccontextmanager
async def upstream(
    answer: Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]],
) -> AsyncIterator[str]:
    """An upstream that gets each request whole; it says whether the connection stays."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while await _serve(reader, writer, answer):
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    answer: Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]],
) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    return await answer(await reader.readexactly(length), writer)


def endpoint(url: str, name: str = "one", **options: Any) -> Endpoint:
    """An endpoint of a service."""
    return Endpoint(id=name, url=url, **{"slots": 64, **options})


def service(name: str, *endpoints: Endpoint, price: Price | None = None, **spec: Any) -> Service:
    """A service with one revision."""
    revision = Revision(id=f"{name}-1", endpoints=endpoints, price=price)
    return Service(tenant="default", name=name, revision=revision, **spec)


def question(model: str = "echo", **more: Any) -> bytes:
    """The body of a chat request."""
    messages = [{"role": "user", "content": "one two three"}]
    return json.dumps({"model": model, "messages": messages, **more}).encode()


def post(body: bytes, *fields: bytes, path: bytes = b"/v1/chat/completions") -> bytes:
    """A whole request."""
    lines = (
        b"POST %b HTTP/1.1" % path,
        b"Host: x",
        b"Authorization: Bearer " + KEY,
        b"Content-Length: %d" % len(body),
        *fields,
    )
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def until(condition: Callable[[], Any]) -> None:
    """Wait for it, at most 10 s."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)
