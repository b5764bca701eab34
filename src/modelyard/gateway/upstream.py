"""Connections to endpoints: pooled, one request at a time, callbacks only.

A connection knows one `Listener`, the attempt that uses it. It frames the answer and hands on
the head, the body's pieces and the end; it decides nothing.
"""

import asyncio
import logging
import ssl
from typing import NamedTuple, Protocol, cast

from modelyard.domain.providers.endpoints import credentials
from modelyard.errors import Invalid
from modelyard.lib.http import (
    CHUNKED,
    NO_BODY,
    UNTIL_CLOSE,
    ChunkedReader,
    FieldCache,
    ResponseHead,
    parse_response,
)

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
MAX_IDLE = 256
"""Idle connections kept per endpoint and process."""
HIGH_WATER_BYTES = 256 * 1024
NOTHING: frozenset[str] = frozenset()


class Address(NamedTuple):
    """`base` is the path before `/v1`; `paths` says where a route path is something else."""

    host: str
    port: int
    secure: bool
    base: str
    api_key: str
    auth: str = "bearer"
    headers: tuple[tuple[str, str], ...] = ()
    paths: dict[str, str] = {}
    strips: str = ""
    """What route paths begin with that is called nothing there."""

    def path_of(self, route: str) -> str:
        """What a route path is called there; a query behind it stays."""
        route, mark, query = route.partition("?")
        there = self.paths.get(route) or self.base + route.removeprefix(self.strips)
        return f"{there}{'&' if '?' in there else mark}{query}" if query else there

    def request_head(self, route: str, without: frozenset[str] = NOTHING) -> bytes:
        """Everything of a POST head up to the value of Content-Length, but for those of its own
        headers whose names, in lower case, are in `without`."""
        return self.any_head("POST", self.path_of(route), without)

    def any_head(self, method: str, path: str, without: frozenset[str] = NOTHING) -> bytes:
        """The same of any method, with the path as it is called there."""
        default = 443 if self.secure else 80
        host = f"[{self.host}]" if ":" in self.host else self.host
        authority = host if self.port == default else f"{host}:{self.port}"
        lines = [f"{method} {path} HTTP/1.1", f"Host: {authority}"]
        if self.api_key:
            name, value = credentials(self.auth, self.api_key)
            lines.append(f"{name}: {value}")
        for name, value in self.headers:
            if name.lower() not in without:
                lines.append(f"{name}: {value}")
        if "content-type" not in without:
            lines.append("Content-Type: application/json")
        lines += ["Accept-Encoding: identity", "Content-Length: "]
        return "\r\n".join(lines).encode("latin-1")


class Listener(Protocol):
    """What a connection tells about the answer to its one request."""

    def upstream_head(self, head: ResponseHead) -> None:
        """The final status and headers are there."""

    def upstream_data(self, data: bytes) -> None:
        """A piece of the body."""

    def upstream_end(self, last: bytes) -> None:
        """The answer is whole with these last bytes; the connection is back in its pool."""

    def upstream_lost(self, reason: str, *, unused: bool) -> None:
        """The connection broke off. `unused`: a pooled connection that never answered a byte."""


class Connection(asyncio.Protocol):
    """One connection to one endpoint."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._listener: Listener | None = None
        self._buffer = b""
        self._head: ResponseHead | None = None
        self._chunks: ChunkedReader | None = None
        self._left = 0
        self._answered = False
        self.reused = False

    # --- used by the attempt ---------------------------------------------------------------

    def send(self, request: bytes, listener: Listener) -> None:
        """Write a whole request; its answer goes to the listener."""
        self._listener = listener
        self._head = None
        self._chunks = None
        self._answered = False
        assert self._transport is not None
        self._transport.write(request)

    def abort(self) -> None:
        """Close at once and tell nobody: the request is cancelled."""
        self._listener = None
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading: the client is slower than the upstream."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    @property
    def usable(self) -> bool:
        """Whether another request can go over it."""
        return self._transport is not None and not self._transport.is_closing()

    # --- asyncio.Protocol ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's, so this cannot be an assertion.
        self._transport = cast(asyncio.Transport, transport)
        self._pool.opened.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        listener, self._listener = self._listener, None
        if listener is None:
            return
        if self._head is not None and self._head.length == UNTIL_CLOSE and exc is None:
            listener.upstream_end(b"")
            return
        reason = f"connection lost: {exc}" if exc else "the upstream closed the connection"
        listener.upstream_lost(reason, unused=self.reused and not self._answered)

    def data_received(self, data: bytes) -> None:
        if self._listener is None:
            self._drop()  # an answer nobody asked for
            return
        self._answered = True
        try:
            if self._head is None:
                self._receive_head(data)
            else:
                self._receive_body(data)
        except Invalid as error:
            self._fail(error.message)
        except Exception:  # a fault of ours must end this request, not leave it hanging
            log.exception("an answer of %s could not be handled", self._pool.address.host)
            self._fail("the gateway could not handle the upstream's answer")

    # --- framing ---------------------------------------------------------------------------

    def _receive_head(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MAX_HEAD_BYTES:
                raise Invalid("the upstream's header is too large")
            self._buffer = buffer
            return
        self._buffer = b""
        head = parse_response(buffer[:end], self._pool.fields)
        rest = buffer[end + 4 :]
        if head.status < 200:  # 100 Continue and friends announce the real one
            if rest:
                self._receive_head(rest)
            return
        self._head = head
        self._left = head.length
        if head.length == CHUNKED:
            self._chunks = ChunkedReader()
        listener = self._listener
        assert listener is not None
        listener.upstream_head(head)
        if self._listener is not listener:
            return  # cancelled by what the head said
        if head.length == NO_BODY:
            self._finish(rest)
        elif rest:
            self._receive_body(rest)

    def _receive_body(self, data: bytes) -> None:
        listener = self._listener
        assert listener is not None
        if self._chunks is not None:
            decoded = self._chunks.feed(data)
            if self._chunks.done:
                self._finish(self._chunks.rest, decoded)
            elif decoded:
                listener.upstream_data(decoded)
        elif self._left == UNTIL_CLOSE:
            listener.upstream_data(data)
        elif len(data) < self._left:
            self._left -= len(data)
            listener.upstream_data(data)
        else:
            self._finish(data[self._left :], data[: self._left])

    def _finish(self, rest: bytes, last: bytes = b"") -> None:
        """Back to the pool first, so that the listener may use it again at once."""
        listener, self._listener = self._listener, None
        head = self._head
        if rest or head is None or not head.keep_alive:
            self._drop()
        else:
            self._pool.give_back(self)
        assert listener is not None
        listener.upstream_end(last)

    def _fail(self, reason: str) -> None:
        listener, self._listener = self._listener, None
        self._drop()
        if listener is not None:
            listener.upstream_lost(reason, unused=False)

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Pool:
    """Connections to one endpoint. Retired, it closes what is idle and keeps nothing."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.fields = FieldCache()
        self.heads: dict[str, bytes] = {}
        self._bare_heads: dict[tuple[str, frozenset[str]], bytes] = {}
        self._own = frozenset([name.lower() for name, _ in address.headers])
        self.idle: list[Connection] = []
        self.opened: set[Connection] = set()
        self._tls: ssl.SSLContext | None = None
        self._retired = False

    def request(self, route: str, request_id: str, body: bytes, headers: bytes = b"") -> bytes:
        """A whole request: one POST of `body`. `headers` are further lines of its head, each with
        its end of line; one of them replaces the address's own of that name."""
        head = self.heads.get(route)
        if head is None:
            head = self.heads[route] = self.address.request_head(route)
        if headers and self._own:
            head = self._head_beside(route, head, headers)
        identity = request_id.encode()
        return b"%b%d\r\nX-Request-Id: %b\r\n%b\r\n%b" % (
            head,
            len(body),
            identity,
            headers,
            body,
        )

    def passed(self, method: str, path: str, request_id: str, body: bytes, headers: bytes) -> bytes:
        """A whole request of any method to a path as it is called there; `headers` as above."""
        head = self.address.any_head(method, path, _names(headers))
        return b"%b%d\r\nX-Request-Id: %b\r\n%b\r\n%b" % (
            head,
            len(body),
            request_id.encode(),
            headers,
            body,
        )

    def _head_beside(self, route: str, head: bytes, headers: bytes) -> bytes:
        """The head without those of its own headers that these lines replace."""
        replaced = self._own & _names(headers)
        if not replaced:
            return head
        bare = self._bare_heads.get((route, replaced))
        if bare is None:
            bare = self.address.request_head(route, replaced)
            self._bare_heads[route, replaced] = bare
        return bare

    def take(self) -> Connection | None:
        """An idle connection, the last used first, or None."""
        while self.idle:
            connection = self.idle.pop()
            if connection.usable:
                connection.reused = True
                return connection
        return None

    async def open(self) -> Connection:
        """A new connection. Raises OSError."""
        loop = asyncio.get_running_loop()
        context = None
        if self.address.secure:
            # Reading the system's authorities takes longer than the handshake: once is enough.
            context = self._tls = self._tls or ssl.create_default_context()
        _, connection = await loop.create_connection(
            lambda: Connection(self), self.address.host, self.address.port, ssl=context
        )
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep it for the next request."""
        if self._retired or len(self.idle) >= MAX_IDLE:
            connection.abort()
        else:
            self.idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self.opened.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def retire(self) -> None:
        """The endpoint is gone from the snapshot; running requests may finish."""
        self._retired = True
        for connection in list(self.idle):
            connection.abort()
        self.idle.clear()


def _names(headers: bytes) -> frozenset[str]:
    """The names of header lines, in lower case."""
    lines = headers.decode("latin-1").split("\r\n")
    return frozenset([line.partition(":")[0].strip().lower() for line in lines])
