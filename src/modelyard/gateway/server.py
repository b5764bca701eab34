"""The gateway's HTTP/1.1 protocol: bytes in, exchanges out, bytes back.

One connection serves one request at a time; what a client sends ahead waits in the buffer, bounded.
Anything malformed gets a typed 4xx and a closed connection.
"""

import asyncio
import logging
from typing import cast

from modelyard import errors
from modelyard.gateway import own
from modelyard.gateway.core import Gateway
from modelyard.gateway.dialects import openai
from modelyard.gateway.exchange import Exchange
from modelyard.gateway.routes import CHAT_COMPLETIONS, ROUTES, Route, route_of
from modelyard.lib import clock
from modelyard.lib.http import (
    CHUNKED,
    LAST_CHUNK,
    NO_BODY,
    ChunkedReader,
    RequestHead,
    chunk,
)

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_GATEWAY_ERROR = b"X-Modelyard-Error-Source: gateway\r\n"
HIGH_WATER_BYTES = 256 * 1024
LINGER_S = 3.0
"""How long what a refused client still sends is read and dropped."""

_PATHS = ", ".join([f"POST {route.path}" for route in ROUTES.values()] + ["GET /v1/models"])


def _envelope(path: bytes, error: errors.ModelyardError, status: int) -> bytes:
    """An error in the words of the path's dialect; OpenAI's where the path has none."""
    return ROUTES.get(path, CHAT_COMPLETIONS).error_body(error, status)


class ClientConnection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, gateway: Gateway, connections: "set[ClientConnection]") -> None:
        self._gateway = gateway
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._head: RequestHead | None = None
        self._length = 0
        self._chunks: ChunkedReader | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._exchange: Exchange | None = None
        self._keep_alive = True
        self._chunked_answer = False
        self._started_s = 0.0
        self._idle_since_s = clock.monotonic_s()
        self._reading_paused = False
        self._lingers = False
        self._linger_until_s = 0.0

    # --- asyncio.Protocol ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's, so this cannot be an assertion.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        if len(self._connections) >= self._gateway.settings.max_connections:
            self._transport.abort()
            return
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()

    def eof_received(self) -> bool:
        return False  # a client that closes its side does not wait for an answer

    def data_received(self, data: bytes) -> None:
        if self._linger_until_s:
            return
        self._buffer = self._buffer + data if self._buffer else data
        if self._exchange is not None:
            self._bound_pipelined()
            return
        try:
            self._advance()
        except Exception:  # a fault of ours ends this connection with an answer, and no other
            log.exception("a request could not be handled")
            self._break_down()

    def pause_writing(self) -> None:
        if self._exchange is not None and self._exchange.attempt is not None:
            self._exchange.attempt.pause()

    def resume_writing(self) -> None:
        if self._exchange is not None and self._exchange.attempt is not None:
            self._exchange.attempt.resume()

    # --- reading ---------------------------------------------------------------------------

    def _advance(self) -> None:
        try:
            while self._buffer and self._exchange is None and self._transport is not None:
                if not (self._read_head() if self._head is None else self._read_body()):
                    return
        except errors.TooLarge as error:
            self._refuse(431 if self._head is None else 413, error)
        except errors.Invalid as error:
            self._refuse(400, error)

    def _model_route(self) -> Route | None:
        """The route of a request that calls a model; None for all others."""
        return route_of(self._head) if self._head is not None else None

    def _read_head(self) -> bool:
        if not self._started_s:
            self._started_s = clock.monotonic_s()
        end = self._buffer.find(b"\r\n\r\n")
        limit = self._gateway.settings.max_header_bytes
        if end > limit or (end < 0 and len(self._buffer) > limit):
            raise errors.TooLarge(f"the request head is over {limit} bytes")
        if end < 0:
            return False
        head, length = self._gateway.heads.parse(self._buffer[:end])
        self._buffer = self._buffer[end + 4 :]
        self._head = head
        self._length = length
        self._keep_alive = head.keep_alive and not self._gateway.draining
        if length == NO_BODY:
            self._route(b"")
            return True
        if length == len(self._buffer):
            body, self._buffer = self._buffer, b""
            self._route(body)
            return True
        body_limit = self._gateway.settings.max_body_bytes
        if length > body_limit:
            raise errors.TooLarge(
                f"the body has {length} bytes; the limit is {body_limit}",
                hint="send less, or raise gateway.max_body_bytes",
                code="body_too_large",
            )
        if length == CHUNKED:
            self._chunks = ChunkedReader()
        if head.expects_continue and not self._buffer:
            self._write(_CONTINUE)
        return True

    def _read_body(self) -> bool:
        assert self._head is not None
        if self._chunks is not None:
            return self._read_chunks(self._chunks)
        missing = self._length - self._size
        if len(self._buffer) < missing:
            self._pieces.append(self._buffer)
            self._size += len(self._buffer)
            self._buffer = b""
            return False
        self._pieces.append(self._buffer[:missing])
        self._buffer = self._buffer[missing:]
        self._route(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
        return True

    def _read_chunks(self, chunks: ChunkedReader) -> bool:
        piece = chunks.feed(self._buffer)
        self._buffer = chunks.rest
        self._pieces.append(piece)
        self._size += len(piece)
        limit = self._gateway.settings.max_body_bytes
        if self._size > limit:
            raise errors.TooLarge(f"the body is over {limit} bytes", code="body_too_large")
        if chunks.done:
            self._route(b"".join(self._pieces))
        return chunks.done

    def _bound_pipelined(self) -> None:
        """A client may send ahead, but not without end."""
        if len(self._buffer) > self._gateway.settings.max_header_bytes and self._transport:
            self._reading_paused = True
            self._transport.pause_reading()

    # --- routing ---------------------------------------------------------------------------

    def _route(self, body: bytes) -> None:
        head = self._head
        assert head is not None
        self._pieces, self._size, self._chunks = [], 0, None
        path = head.path
        route = route_of(head)
        if route is not None:
            self._exchange = Exchange(self._gateway, self, head, body, route, self._started_s)
            self._exchange.run()
        elif path in ROUTES:
            self._not_posted(head, path)
        else:
            self._answer_own(head, path)

    def _answer_own(self, head: RequestHead, path: bytes) -> None:
        found = own.find(head)
        if found is None:
            self._unknown(head, path)
            return
        one, rest = found
        if head.method not in one.methods:
            self._wrong_method(path, b", ".join(one.methods))
            return
        try:
            said = own.answer(self._gateway, head, one, rest)
        except errors.ModelyardError as error:
            self._error(openai.status_of(error), error)
            return
        self._whole(*said)

    def _not_posted(self, head: RequestHead, path: bytes) -> None:
        """Some clients try a WebSocket first, and take an answer at once as "use HTTP"."""
        if head.headers.get(b"upgrade", b"").lower() != b"websocket":
            self._wrong_method(path, b"POST")
            return
        error = errors.Invalid(
            f"{path.decode('latin-1')} is not served over WebSocket",
            hint="POST it over HTTP",
            code="upgrade_not_supported",
        )
        headers = own.JSON + _GATEWAY_ERROR + b"Upgrade: HTTP/1.1\r\n"
        self._whole(426, headers, _envelope(path, error, 426))

    def _wrong_method(self, path: bytes, allowed: bytes) -> None:
        what = f"{path[:100].decode('latin-1')} takes {allowed.decode()}"
        body = _envelope(path, errors.Invalid(what, code="method_not_allowed"), 405)
        self._whole(405, own.JSON + _GATEWAY_ERROR + b"Allow: %b\r\n" % allowed, body)

    def _unknown(self, head: RequestHead, path: bytes) -> None:
        what = f"{head.method.decode()} {path[:100].decode('latin-1')}"
        error = errors.NotFound(
            f"no such route: {what}",
            hint=_PATHS,
            code="unknown_route",
        )
        self._error(404, error)

    # --- exchange.Client -------------------------------------------------------------------

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        connection = b"" if self._keep_alive else b"Connection: close\r\n"
        head = b"HTTP/1.1 %d %b\r\n%b%bContent-Length: %d\r\n\r\n" % (
            status,
            openai.reason_of(status).encode(),
            headers,
            connection,
            len(body),
        )
        bare = self._head is not None and self._head.method == b"HEAD"
        self._write(head if bare else head + body)

    def start_stream(self, status: int, headers: bytes) -> None:
        # HTTP/1.0 knows no chunks: there the end of the connection is the end of the stream.
        self._chunked_answer = self._head is not None and self._head.modern
        self._keep_alive = self._keep_alive and self._chunked_answer
        framing = b"Transfer-Encoding: chunked\r\n" if self._chunked_answer else b""
        if not self._keep_alive:
            framing += b"Connection: close\r\n"
        self._write(
            b"HTTP/1.1 %d %b\r\n%b%b\r\n"
            % (status, openai.reason_of(status).encode(), headers, framing)
        )

    def write_stream(self, data: bytes) -> None:
        self._write(chunk(data) if self._chunked_answer else data)

    def end_stream(self, data: bytes, *, clean: bool) -> None:
        if not self._chunked_answer:
            self._write(data)
        else:
            piece = chunk(data) if data else b""
            self._write(piece + LAST_CHUNK if clean else piece)
        self._keep_alive = self._keep_alive and clean

    def exchange_over(self) -> None:
        self._exchange = None
        self._next()
        if self._transport is None or self._transport.is_closing():
            return
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        if self._buffer:
            # Not from here: the exchange that just ended is still on the stack.
            asyncio.get_running_loop().call_soon(self._advance)

    # --- writing ---------------------------------------------------------------------------

    def _whole(self, status: int, headers: bytes, body: bytes) -> None:
        self.answer(status, headers, body)
        self._next()

    def _error(self, status: int, error: errors.ModelyardError) -> None:
        path = self._head.path if self._head is not None else b""
        self._whole(status, own.JSON + _GATEWAY_ERROR, _envelope(path, error, status))

    def _refuse(self, status: int, error: errors.ModelyardError) -> None:
        """After a malformed message nothing behind it can be trusted: answer and close.

        A model call whose head was read is recorded like any other.
        """
        self._keep_alive = False
        self._lingers = True
        self._buffer = b""
        self._pieces = []
        route = self._model_route()
        if route is None:
            self._error(status, error)
            return
        assert self._head is not None
        self._exchange = Exchange(self._gateway, self, self._head, b"", route, self._started_s)
        self._exchange.turn_away(status, error)

    def _break_down(self) -> None:
        self._keep_alive = False
        if self._exchange is not None and not self._exchange.is_over:
            self._exchange.break_down()
        elif self._transport is not None:
            self._transport.close()

    def _next(self) -> None:
        """Ready for another request, or closed."""
        self._head = None
        self._started_s = 0.0
        self._idle_since_s = clock.monotonic_s()
        if not self._keep_alive:
            self._close()

    def _close(self) -> None:
        """Closing at once while the client still sends would make the kernel reset the connection
        and throw our answer away: what still comes is read and dropped for a while."""
        if self._transport is None:
            return
        if self._lingers and self._transport.can_write_eof():
            self._linger_until_s = clock.monotonic_s() + LINGER_S
            self._transport.write_eof()
        else:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # --- time limits -----------------------------------------------------------------------

    def check_limits(self, now_s: float) -> None:
        """Close what idles or dawdles (slow-loris)."""
        if self._exchange is not None or self._transport is None:
            return
        if self._linger_until_s:
            if now_s > self._linger_until_s:
                self._transport.close()
            return
        limits = self._gateway.settings
        if not self._started_s:
            if now_s - self._idle_since_s > limits.idle_timeout_s or self._gateway.draining:
                self._transport.close()
            return
        limit_s = limits.header_timeout_s if self._head is None else limits.body_timeout_s
        if now_s - self._started_s > limit_s:
            self._refuse(408, errors.TimedOut(f"the request was not complete after {limit_s:g} s"))


class Server:
    """Accepts connections on a listening socket and ends them in order."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.connections: set[ClientConnection] = set()

    def connection(self) -> ClientConnection:
        """The protocol factory."""
        return ClientConnection(self.gateway, self.connections)

    def check_limits(self) -> None:
        """Once a second or so."""
        now_s = clock.monotonic_s()
        for connection in list(self.connections):
            connection.check_limits(now_s)
