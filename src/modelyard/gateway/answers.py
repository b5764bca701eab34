"""The three ways an upstream's answer becomes the client's."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from modelyard import errors
from modelyard.domain.snapshot import Price
from modelyard.gateway.assemble import Assembler
from modelyard.gateway.catalog import Endpoint
from modelyard.gateway.dialects import openai, upstream_errors
from modelyard.gateway.stream import StreamBroken, StreamRelay, Tally, says_something
from modelyard.lib.http import ResponseHead
from modelyard.lib.sse import EventSplitter

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_HELD_BYTES = 64 * 1024
_JSON = b"Content-Type: application/json\r\n"
_EVENTS = b"Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
_PASSED = frozenset({b"content-type", b"retry-after", b"retry-after-ms", b"x-should-retry"})
"""Upstream headers that mean something to the client; all others stay here."""
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})


class Answering(Protocol):
    """What an exchange hands the upstream's answer to."""

    streams_upstream: bool
    tally: Tally

    def head(self, head: ResponseHead) -> None:
        """Status and headers."""

    def data(self, data: bytes) -> None:
        """A piece of the body."""

    def end(self, last: bytes) -> None:
        """The last piece."""


def choose(exchange: "Exchange", endpoint: Endpoint) -> Answering:
    """The way that fits the request and the endpoint."""
    assert exchange.seen is not None
    if exchange.seen.stream:
        return Streamed(exchange)
    return Whole(exchange) if endpoint.cancels_without_stream else Assembled(exchange)


class Whole:
    """Collects the answer and passes its bytes on as they are.

    An answer that breaks off can still be tried elsewhere, because the client has seen nothing.
    """

    streams_upstream = False

    def __init__(self, exchange: "Exchange") -> None:
        self.exchange = exchange
        self.tally = Tally()
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    def head(self, head: ResponseHead) -> None:
        self._head = head

    def data(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES:
            self.exchange.fail(errors.Upstream("the upstream's answer is too large"))

    def end(self, last: bytes) -> None:
        assert self._head is not None
        body = b"".join((*self._pieces, last)) if self._pieces else last
        if self._head.status != 200:
            refuse(self.exchange, self._head, body)
            return
        if self.tally.see(body) is None:
            self.exchange.fail(
                errors.Upstream("the upstream's answer is not JSON", code="upstream_garbled")
            )
            return
        self.exchange.answer(200, _passed(self._head), body)


class _FromStream(ABC):
    """What both ways share that read an event stream: an answer that is no stream."""

    streams_upstream = True

    def __init__(self, exchange: "Exchange") -> None:
        self.exchange = exchange
        self.tally = Tally()
        self._refusal: tuple[ResponseHead, list[bytes]] | None = None

    def head(self, head: ResponseHead) -> None:
        if head.status != 200 or not head.get(b"content-type").startswith(b"text/event-stream"):
            self._refusal = (head, [])

    def data(self, data: bytes) -> None:
        if self._refusal is not None:
            self._refusal[1].append(data)
        else:
            self._events(data)

    def end(self, last: bytes) -> None:
        if self._refusal is None:
            self._finish(last)
            return
        head, pieces = self._refusal
        body = b"".join((*pieces, last))
        if head.status == 200:
            self.exchange.fail(errors.Upstream("the upstream was asked to stream and did not"))
        else:
            refuse(self.exchange, head, body)

    def _break(self, error: StreamBroken) -> None:
        """An error inside a 200. As long as the client has seen nothing it gets the status that
        belongs to it; the client's own mistakes are not tried elsewhere."""
        told = upstream_errors.read_event(error.event) if error.event else None
        if told is None or told.status >= 500 or self.exchange.committed:
            self.exchange.fail(error)
        else:
            answer_error(self.exchange, told, _JSON)

    @abstractmethod
    def _events(self, data: bytes) -> None:
        """Take a piece of the stream."""

    @abstractmethod
    def _finish(self, last: bytes) -> None:
        """The stream is over."""


class Assembled(_FromStream):
    """Asks the upstream to stream and answers with one JSON object."""

    def __init__(self, exchange: "Exchange") -> None:
        super().__init__(exchange)
        self._splitter = EventSplitter()
        self._assembler = Assembler()
        self._done = False

    def _events(self, data: bytes) -> None:
        for _, event in self._splitter.feed(data):
            if event == b"[DONE]":
                self._done = True
            elif event and not self._done and not self._add(event):
                return

    def _add(self, event: bytes) -> bool:
        glimpse = self.tally.see(event)
        message = "the upstream sent an event that is not JSON"
        if glimpse is not None:
            message = openai.upstream_message(glimpse.error)
        if message:
            self._break(StreamBroken(message, b"", event if glimpse is not None else b""))
            return False
        if self.tally.events or says_something(event):
            self.tally.events += 1
            self.exchange.mark_first_token()
        self._assembler.add(event)
        return True

    def _finish(self, last: bytes) -> None:
        exchange = self.exchange
        attempt = exchange.attempt
        self._events(last)
        if exchange.attempt is not attempt or attempt is None:
            return  # an error in the last piece has already been dealt with
        if not self._done:
            exchange.fail(errors.Upstream(_TRUNCATED, code="upstream_truncated"))
            return
        exchange.answer(200, _JSON, self._assembler.result())


_TRUNCATED = "the upstream's stream ended before its end mark"


class Streamed(_FromStream):
    """Passes the events on. The status is held until the first event with content."""

    def __init__(self, exchange: "Exchange") -> None:
        super().__init__(exchange)
        assert exchange.seen is not None
        options = exchange.seen.stream_options
        self._relay = StreamRelay(
            self.tally, keep_usage=bool(options is not None and options.include_usage)
        )
        self._held = b""

    def _events(self, data: bytes) -> None:
        try:
            passed = self._relay.feed(data)
        except StreamBroken as error:
            if error.passed and (self.exchange.committed or self.tally.events):
                self._pass_on(error.passed)
            self._break(error)
            return
        if self._relay.done:
            self._commit()
            self.exchange.finish_stream(self._held + passed)
        elif passed:
            self._pass_on(passed)

    def _pass_on(self, passed: bytes) -> None:
        if not self.tally.events:
            self._held += passed  # comments, and the role, before the first token
            if len(self._held) < MAX_HELD_BYTES:
                return
        self._commit()
        exchange = self.exchange
        data, self._held = self._held + passed, b""
        exchange.record.response_bytes += len(data)
        if exchange.client is not None:
            exchange.client.write_stream(data)

    def _commit(self) -> None:
        exchange = self.exchange
        if exchange.committed:
            return
        exchange.committed = True
        exchange.mark_first_token()
        exchange.record.status = 200
        if exchange.client is not None:
            exchange.client.start_stream(200, exchange.own_headers() + _EVENTS)

    def _finish(self, last: bytes) -> None:
        exchange = self.exchange
        attempt = exchange.attempt
        if last:
            self._events(last)
        if attempt is not None and exchange.attempt is attempt:
            exchange.fail(errors.Upstream(_TRUNCATED, code="upstream_truncated"))


def refuse(exchange: "Exchange", head: ResponseHead, body: bytes) -> None:
    """The upstream answered with an error status: try elsewhere, or tell the client."""
    if head.status < 400:
        exchange.fail(errors.Upstream(f"the upstream answered {head.status}"))
        return
    error = upstream_errors.read(head.status, body)
    code = error.code or f"upstream_{error.status}"
    if error.status in _RETRYABLE and exchange.may_retry():
        exchange.fail(errors.Upstream(error.message, code=code))
    elif error.status in (401, 403):
        # Our credentials are wrong, not the client's: never show it as the client's 401.
        exchange.fail(
            errors.Upstream(
                "the upstream refused the gateway's credentials", code="upstream_credentials"
            )
        )
    else:
        kept = _passed(head) if error.body is body else _JSON + _passed(head, b"content-type")
        answer_error(exchange, error, kept)


def answer_error(
    exchange: "Exchange", error: upstream_errors.UpstreamError, headers: bytes
) -> None:
    """End with an upstream's error as the answer."""
    exchange.record.error_message = error.message
    headers += b"X-Modelyard-Error-Source: upstream\r\n"
    code = error.code or f"upstream_{error.status}"
    exchange.answer(error.status, headers, error.body, error_code=code)


def _passed(head: ResponseHead, without: bytes = b"") -> bytes:
    return b"".join(
        b"%b: %b\r\n" % (name.title(), value)
        for name, value in head.headers
        if name in _PASSED and name != without
    )


def settle(exchange: "Exchange") -> None:
    """Fill in tokens, finish reason and cost of the record."""
    answering = exchange.answering
    if answering is None:
        return
    record, tally = exchange.record, answering.tally
    record.finish_reason = tally.finish_reason
    usage = tally.usage
    if usage is not None:
        record.tokens_input, record.tokens_output = usage.prompt_tokens, usage.completion_tokens
        details = usage.prompt_tokens_details
        record.tokens_cached = details.cached_tokens if details is not None else None
    elif tally.events:
        # The stream ended before its usage: every event carried about one token.
        record.tokens_output = tally.events
    known = record.tokens_input is not None or record.tokens_output is not None
    if known and exchange.service is not None and exchange.service.revision.price is not None:
        record.cost_nano_usd = cost_nano_usd(
            exchange.service.revision.price,
            record.tokens_input or 0,
            record.tokens_output or 0,
            record.tokens_cached or 0,
        )


def cost_nano_usd(price: Price, tokens_input: int, tokens_output: int, tokens_cached: int) -> int:
    """What tokens cost, rounded up to a nano-dollar. Cached tokens are part of the input."""
    cached = min(tokens_cached, tokens_input)
    fresh = tokens_input - cached
    total = fresh * price.input + cached * price.cached + tokens_output * price.output
    return -(-total // 1_000_000)
