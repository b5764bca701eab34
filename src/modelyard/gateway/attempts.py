"""One try of a request at one endpoint."""

import asyncio
from typing import Protocol

from modelyard.domain.records import AttemptRecord
from modelyard.gateway.endpoints import Endpoint
from modelyard.gateway.upstream import Connection
from modelyard.lib import clock
from modelyard.lib.http import ResponseHead


class Caller(Protocol):
    """The exchange, as its attempt sees it."""

    def attempt_head(self, head: ResponseHead) -> None:
        """Status and headers of the answer."""

    def attempt_data(self, data: bytes) -> None:
        """A piece of its body."""

    def attempt_end(self, last: bytes) -> None:
        """The answer is whole."""

    def attempt_failed(self, code: str, reason: str) -> None:
        """It broke off; whether it began to answer is the caller's to know."""


class Attempt:
    """Connects (from the pool or anew), sends, and passes on what comes back.

    After `cancel` or `detach` the caller hears nothing more.
    """

    __slots__ = (
        "_caller",
        "_connection",
        "_request",
        "_task",
        "_timeout_s",
        "endpoint",
        "probes",
        "record",
        "started_s",
    )

    def __init__(
        self,
        caller: Caller,
        endpoint: Endpoint,
        record: AttemptRecord,
        started_s: float,
        *,
        probes: bool,
    ) -> None:
        self._caller: Caller | None = caller
        self.endpoint = endpoint
        self.record = record
        self.started_s = started_s
        self.probes = probes
        """Whether it tries out if the endpoint works again."""
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._request = b""
        self._timeout_s = 0.0

    def start(
        self,
        route: str,
        request_id: str,
        body: bytes,
        connect_timeout_s: float,
        headers: bytes = b"",
    ) -> None:
        """Send the request over a pooled connection, or open one within that time. `headers` are
        further lines of its head, each with its end of line."""
        self.send(self.endpoint.pool.request(route, request_id, body, headers), connect_timeout_s)

    def send(self, request: bytes, connect_timeout_s: float) -> None:
        """Send a whole request, as `start` does."""
        self._timeout_s = connect_timeout_s
        self._request = request
        connection = self.endpoint.pool.take()
        if connection is not None:
            self._connection = connection
            connection.send(self._request, self)
        else:
            self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self.endpoint.pool.open()
        except TimeoutError:
            self._fail("connect_timeout", f"no connection within {self._timeout_s:g} s")
            return
        except OSError as error:
            self._fail("connect_failed", f"cannot connect: {error.strerror or error}")
            return
        self._task = None
        self.record.connect_us = self.elapsed_us()
        if self._caller is None:
            connection.abort()
            return
        self._connection = connection
        connection.send(self._request, self)

    def elapsed_us(self) -> int:
        """Since the attempt began."""
        return int((clock.monotonic_s() - self.started_s) * 1_000_000)

    # --- control ---------------------------------------------------------------------------

    def cancel(self) -> None:
        """Close the connection at once, which makes the engine stop generating."""
        self._caller = None
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def detach(self) -> None:
        """The caller has all it needs; the connection may finish and go back to its pool."""
        self._caller = None

    def pause(self) -> None:
        """The client reads slower than the upstream writes."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Go on reading."""
        if self._connection is not None:
            self._connection.resume()

    # --- upstream.Listener -----------------------------------------------------------------

    def upstream_head(self, head: ResponseHead) -> None:
        self.record.first_byte_us = self.elapsed_us()
        self.record.status = head.status
        if self._caller is not None:
            self._caller.attempt_head(head)

    def upstream_data(self, data: bytes) -> None:
        if self._caller is not None:
            self._caller.attempt_data(data)

    def upstream_end(self, last: bytes) -> None:
        self._connection = None
        if self._caller is not None:
            self._caller.attempt_end(last)

    def upstream_lost(self, reason: str, *, unused: bool) -> None:
        self._connection = None
        if self._caller is None:
            return
        if unused:
            # The endpoint closed a kept-alive connection just as it was used: not a failure.
            self._task = asyncio.get_running_loop().create_task(self._connect())
            return
        self._fail("upstream_closed", reason)

    def _fail(self, code: str, reason: str) -> None:
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.attempt_failed(code, reason)
