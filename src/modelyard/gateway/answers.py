"""The three ways an upstream's answer becomes the client's."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from modelyard import errors
from modelyard.gateway import endings
from modelyard.gateway.assemble import Assembler
from modelyard.gateway.dialects import openai, upstream_errors
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.endings import EVENTS, JSON
from modelyard.gateway.failures import Failure
from modelyard.gateway.stream import StreamBroken, Tally, says_something
from modelyard.lib.http import ResponseHead
from modelyard.lib.sse import EventSplitter

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_HELD_BYTES = 64 * 1024
_PASSED = frozenset({b"content-type", b"retry-after", b"retry-after-ms", b"x-should-retry"})
"""Upstream headers that mean something to the client; all others stay here."""
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504, 529})
MAX_RETRY_AFTER_S = 60.0
"""An upstream that asks for more is asked again after this long."""


class Answering(Protocol):
    """What an exchange hands the upstream's answer to."""

    streams_upstream: bool
    tally: Tally

    def broken(self, error: Told) -> bytes:
        """What ends a stream that the client has seen the beginning of; see `Relay`."""

    def head(self, head: ResponseHead) -> None:
        """Status and headers."""

    def data(self, data: bytes) -> None:
        """A piece of the body."""

    def end(self, last: bytes) -> None:
        """The last piece."""


class Relay(Protocol):
    """What a stream goes through on its way to the client."""

    tally: Tally
    done: bool
    """Whether the end mark has come."""

    def feed(self, piece: bytes) -> bytes:
        """What to pass on of this piece. Raises StreamBroken when the stream cannot go on."""

    def close(self) -> bytes:
        """The endpoint ended its stream without an end mark: what is still to pass on, with `done`
        set where the answer was whole all the same."""

    def broken(self, error: Told) -> bytes:
        """What tells a client that its stream breaks off; never what a whole one ends with."""


def _is_text(body: bytes) -> bool:
    """Whether it is UTF-8: what is not read of an answer was not checked by reading it."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def fail(exchange: "Exchange", message: str, code: str = "upstream") -> None:
    """The upstream's answer cannot be used."""
    exchange.fail(Failure(errors.Upstream(message, code=code)))


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

    def broken(self, error: Told) -> bytes:
        """Nothing: the client has seen nothing."""
        return b""

    def head(self, head: ResponseHead) -> None:
        self._head = head

    def data(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES:
            fail(self.exchange, "the upstream's answer is too large")

    def end(self, last: bytes) -> None:
        assert self._head is not None
        body = b"".join((*self._pieces, last)) if self._pieces else last
        if self._head.status != 200:
            refuse(self.exchange, self._head, body)
            return
        if not _is_text(body):
            fail(self.exchange, GARBLED, "upstream_garbled")
        elif self._reads(body):
            endings.with_answer(self.exchange, 200, _passed(self._head), body)

    def _reads(self, body: bytes) -> bool:
        """Take what the answer says of itself; False when it is none, which has been dealt with."""
        glimpse = self.tally.see(body)
        if glimpse is None:
            fail(self.exchange, GARBLED, "upstream_garbled")
            return False
        if openai.upstream_message(glimpse.error) and not glimpse.choices:
            take_error(self.exchange, upstream_errors.read_event(body))
            return False
        return True


class FromStream(ABC):
    """What both ways share that read an event stream: an answer that is no stream."""

    streams_upstream = True

    def __init__(self, exchange: "Exchange") -> None:
        self.exchange = exchange
        self.tally = Tally()
        self._refusal: tuple[ResponseHead, list[bytes]] | None = None

    def broken(self, error: Told) -> bytes:
        """Nothing: the client has seen nothing."""
        return b""

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
            fail(self.exchange, "the upstream was asked to stream and did not")
        else:
            refuse(self.exchange, head, body)

    def _break(self, error: StreamBroken) -> None:
        """An error inside a 200. As long as the client has seen nothing it gets the status that
        belongs to it; the client's own mistakes are not tried elsewhere."""
        told = upstream_errors.read_event(error.event) if error.event else None
        if told is None or told.status >= 500 or self.exchange.committed:
            self.exchange.fail(Failure(error, blamed=error.blamed))
        else:
            take_error(self.exchange, told)

    @abstractmethod
    def _events(self, data: bytes) -> None:
        """Take a piece of the stream."""

    @abstractmethod
    def _finish(self, last: bytes) -> None:
        """The stream is over."""


class Assembled(FromStream):
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
        if glimpse is None:
            self._break(StreamBroken("the upstream sent an event that is not JSON", b""))
            return False
        if message := openai.upstream_message(glimpse.error):
            self._break(StreamBroken(message, b"", event))
            return False
        if glimpse.prompt_progress is not None:
            return True
        if self.tally.events or says_something(event):
            self.tally.events += 1
            self.exchange.mark_first_token()
        try:
            self._assembler.add(event)
        except errors.Invalid as error:
            self._break(StreamBroken(error.message, b""))
            return False
        return True

    def _finish(self, last: bytes) -> None:
        exchange = self.exchange
        attempt = exchange.attempt
        self._events(last)
        if exchange.attempt is not attempt or attempt is None:
            return  # an error in the last piece has already been dealt with
        if not self._done:
            fail(exchange, TRUNCATED, "upstream_truncated")
            return
        endings.with_answer(exchange, 200, JSON, self._assembler.result())


GARBLED = "the upstream's answer is not JSON"
TRUNCATED = "the upstream's stream ended before its end mark"


class Streamed(FromStream):
    """Passes the events on. The status is held until the first event with content."""

    def __init__(self, exchange: "Exchange", relay: Relay) -> None:
        super().__init__(exchange)
        self.tally = relay.tally
        self._relay = relay
        self._held = b""

    def broken(self, error: Told) -> bytes:
        return self._relay.broken(error)

    def _events(self, data: bytes) -> None:
        if self.exchange.seat is not None:
            self.exchange.seat.sees(data)
        try:
            passed = self._relay.feed(data)
        except StreamBroken as error:
            if error.passed and (self.exchange.committed or self.tally.events):
                self._pass_on(error.passed)
            self._break(error)
            return
        if self._relay.done:
            self._complete(passed)
        elif passed:
            self._pass_on(passed)

    def _complete(self, last: bytes) -> None:
        self._commit()
        endings.with_stream_end(self.exchange, self._held + last)

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
            exchange.client.start_stream(200, endings.own_headers(exchange) + EVENTS)

    def _finish(self, last: bytes) -> None:
        exchange = self.exchange
        attempt = exchange.attempt
        if last:
            self._events(last)
        if attempt is None or exchange.attempt is not attempt:
            return
        rest = self._relay.close()
        if self._relay.done:
            self._complete(rest)
        else:
            fail(exchange, TRUNCATED, "upstream_truncated")


class Cached:
    """An answer that was given before: nothing comes from upstream any more."""

    streams_upstream = False

    def __init__(self, answer: bytes) -> None:
        self.tally = Tally()
        self.tally.see(answer)

    def broken(self, error: Told) -> bytes:
        """See `Answering`."""
        return b""

    def head(self, head: ResponseHead) -> None:
        """See `Answering`."""

    def data(self, data: bytes) -> None:
        """See `Answering`."""

    def end(self, last: bytes) -> None:
        """See `Answering`."""


def refuse(exchange: "Exchange", head: ResponseHead, body: bytes) -> None:
    """The upstream answered with an error status: try elsewhere, or tell the client."""
    if head.status < 400:
        fail(exchange, f"the upstream answered {head.status}")
        return
    error = upstream_errors.read(head.status, body)
    if error.status in (401, 403):
        # Our credentials are wrong, not the client's: never show it as the client's 401.
        fail(exchange, "the upstream refused the gateway's credentials", "upstream_credentials")
        return
    take_error(exchange, error, head, is_unchanged=error.body is body)


def take_error(
    exchange: "Exchange",
    error: upstream_errors.UpstreamError,
    head: ResponseHead | None = None,
    *,
    is_unchanged: bool = False,
) -> None:
    """An upstream's error: what another endpoint or service may do better is tried there.

    What the upstream wrote is passed on where the client speaks its dialect and nothing about it
    was wrong (`is_unchanged`); else it is put into the client's words.
    """
    code = error.code or f"upstream_{error.status}"
    if is_unchanged and exchange.translator is None:
        headers = _passed(head)
    else:
        words = openai.told_by_upstream(error, exchange.record.request_id)
        error = error._replace(body=exchange.route.envelope(words))
        headers = JSON + _passed(head, b"content-type")
    retry_after_s = _retry_after_s(head) if head is not None else 0.0
    told = (error, headers)
    if error.status in _RETRYABLE:
        cause = errors.Upstream(error.message, code=code)
        exchange.fail(Failure(cause, error.status, retry_after_s, told))
    elif error.code == upstream_errors.CONTEXT_LENGTH:
        exchange.fail(Failure(errors.Upstream(error.message, code=code), told=told, blamed=False))
    else:
        endings.with_upstream_error(exchange, error, headers)


def _retry_after_s(head: ResponseHead) -> float:
    """Whole or broken seconds; a date is not worth its parsing (RFC 9110 §10.2.3)."""
    try:
        return min(max(float(head.get(b"retry-after") or 0), 0.0), MAX_RETRY_AFTER_S)
    except ValueError:
        return 0.0


def _passed(head: ResponseHead | None, without: bytes = b"") -> bytes:
    passed = b""
    for name, value in head.headers if head is not None else ():
        if name in _PASSED and name != without:
            passed += b"%b: %b\r\n" % (name.title(), value)
    return passed
