"""Routes that no dialect models: sound, pictures, re-ranking, and whatever a service's document
lists. The client's bytes go to an endpoint of the service and its answer comes back as it is, under
the same keys, limits and records as every other call."""

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from modelyard.domain.chat import Usage
from modelyard.errors import Forbidden, NotFound
from modelyard.gateway import endings
from modelyard.gateway.answers import MAX_ANSWER_BYTES, fail, refuse
from modelyard.gateway.body import Inspected
from modelyard.gateway.dialects import units
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.endpoints import Endpoint
from modelyard.gateway.forms import MULTIPART, with_model
from modelyard.gateway.stream import Tally
from modelyard.lib.http import RequestHead, ResponseHead
from modelyard.lib.sse import EventSplitter

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange

PREFIX = b"/pass/"
"""`/pass/SERVICE/v1/…`: a route of the service's document, with any method."""
_SAFE = re.compile(r"(?:/[A-Za-z0-9_~:@-][A-Za-z0-9._~:@-]*)+")
"""No empty segments, dots in front or escapes: what a pattern allows is what is asked for."""
_FORWARDED = (
    b"accept",
    b"openai-beta",
    b"anthropic-beta",
    b"anthropic-version",
    b"idempotency-key",
)
_ANSWERED = frozenset({
    b"content-type", b"content-disposition", b"retry-after", b"retry-after-ms", b"x-should-retry",
})  # fmt: skip


def named_service(path: bytes) -> str:
    """The service in `/pass/SERVICE/…`; empty when there is none."""
    name, slash, _ = path.removeprefix(PREFIX).partition(b"/")
    return name.decode("latin-1") if slash else ""


def target(exchange: "Exchange", endpoint: Endpoint) -> tuple[str, str]:
    """The method, and the path with its query there. Raises NotFound, Forbidden."""
    head, route = exchange.head, exchange.route
    path = route.path
    if route.by_service:
        place = head.path.removeprefix(PREFIX).partition(b"/")[2]
        path = _allowed(exchange, f"/{place.decode('latin-1')}")
    there = endpoint.pool.address.path_of(path)
    query = head.target.partition(b"?")[2].decode("latin-1")
    if query:
        there += ("&" if "?" in there else "?") + query
    return head.method.decode(), there


def _allowed(exchange: "Exchange", path: str) -> str:
    assert exchange.service is not None
    spec = exchange.service.spec
    if not _SAFE.fullmatch(path):
        raise NotFound(f"{path[:100]!r} is no path that can be passed on", code="unknown_route")
    for pattern in spec.passes:
        if fnmatchcase(path, pattern):
            exchange.record.route = f"/pass{pattern}"
            return path
    known = ", ".join(spec.passes) or "none"
    raise Forbidden(
        f"service {spec.name!r} does not pass {path[:100]} on",
        hint=f"spec.passes of its document lists what it does: {known}",
        code="route_not_passed",
    )


def request(exchange: "Exchange", endpoint: Endpoint, model: str) -> bytes:
    """The whole request for the endpoint."""
    seen, head = exchange.seen, exchange.head
    assert seen is not None
    method, path = target(exchange, endpoint)
    body = exchange.body
    if not exchange.route.by_service:
        body = with_model(body, seen, model)
    return endpoint.pool.passed(method, path, exchange.record.request_id, body, _fields(head))


def _fields(head: RequestHead) -> bytes:
    """Of the client's headers, those that mean something to whoever answers. What is no form is
    JSON: many clients call that something else when they are not told to."""
    lines = [(name, head.headers.get(name)) for name in _FORWARDED]
    kind = head.headers.get(b"content-type", b"")
    lines.append((b"content-type", kind if kind.lower().startswith(MULTIPART) else None))
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in lines if value)


def by_service(head: RequestHead) -> Inspected:
    """What there is to decide on where the path names the service."""
    return Inspected(model=named_service(head.path))


class Passing:
    """JSON is collected, because its end tells what it took; all else is passed on as it comes."""

    streams_upstream = False

    def __init__(self, exchange: "Exchange") -> None:
        self.exchange = exchange
        self.tally = Tally()
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._events: EventSplitter | None = None
        self._collects = True

    def broken(self, error: Told) -> bytes:
        """Nothing: whoever waits for more sees that the connection is cut."""
        return b""

    def head(self, head: ResponseHead) -> None:
        self._head = head
        kind = head.get(b"content-type").lower()
        self._collects = not 200 <= head.status < 300 or b"json" in kind or not kind
        if kind.startswith(b"text/event-stream"):
            self._events = EventSplitter()

    def data(self, data: bytes) -> None:
        if self._collects:
            self._pieces.append(data)
            self._size += len(data)
            if self._size > MAX_ANSWER_BYTES:
                fail(self.exchange, "the upstream's answer is too large")
            return
        self._see(data)
        self._commit()
        self.exchange.record.response_bytes += len(data)
        if self.exchange.client is not None:
            self.exchange.client.write_stream(data)

    def end(self, last: bytes) -> None:
        head, exchange = self._head, self.exchange
        assert head is not None
        if not self._collects:
            self._see(last)
            self._commit()
            self._count(None)
            endings.with_stream_end(exchange, last)
            return
        body = b"".join((*self._pieces, last))
        if not 200 <= head.status < 300:
            refuse(exchange, head, body)
            return
        self._count(units.read(body, exchange.record.route))
        endings.with_answer(exchange, head.status, _headers(head), body)

    def _see(self, data: bytes) -> None:
        """Usage that an event tells, as the last one of a stream of sound or pictures does."""
        if self._events is None:
            return
        for _, event in self._events.feed(data):
            if b'"usage"' in event:
                self.tally.told = units.read(event, self.exchange.record.route)

    def _commit(self) -> None:
        exchange, head = self.exchange, self._head
        if exchange.committed or head is None:
            return
        exchange.committed = True
        exchange.mark_first_token()
        exchange.record.status = head.status
        if exchange.client is not None:
            exchange.client.start_stream(
                head.status, endings.own_headers(exchange) + _headers(head)
            )

    def _count(self, told: Usage | None) -> None:
        """A call that tells nothing is one unit of its route; a look at what is there is none."""
        tally, exchange = self.tally, self.exchange
        if exchange.head.method == b"POST":
            tally.told = told or tally.told or units.uncounted(exchange.record.route)


def _headers(head: ResponseHead) -> bytes:
    return b"".join(
        b"%b: %b\r\n" % (name.title(), value) for name, value in head.headers if name in _ANSWERED
    )
