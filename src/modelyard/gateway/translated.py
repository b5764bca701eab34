"""Requests to endpoints that do not speak the client's dialect, and their answers: read in the one,
written in the other. The endpoint is always asked to stream, whatever the client wants."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from modelyard import errors
from modelyard.domain import chat
from modelyard.gateway import endings
from modelyard.gateway.answers import TRUNCATED, FromStream, fail
from modelyard.gateway.dialects.base import Dialect, Told, Written
from modelyard.gateway.endpoints import Endpoint
from modelyard.gateway.stream import MAX_EVENT_BYTES, StreamBroken, Tally
from modelyard.lib import clock
from modelyard.lib.sse import EventSplitter

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange

MAX_DROPPED_BYTES = 1000


class Translator:
    """Stands between one client's dialect and one endpoint's, for one attempt."""

    def __init__(
        self, asked: chat.Request, client: Dialect, endpoint: Dialect, request_id: str
    ) -> None:
        self.asked = asked
        self.sent = asked
        """What the endpoint is asked, where that is not all that the client asked."""
        self.client = client
        self.endpoint = endpoint
        self.request_id = request_id
        self.dropped: tuple[str, ...] = ()
        """What was left out of the request, because the endpoint's dialect has no word for it."""

    def dropped_header(self) -> bytes:
        """Their names as the value of a header."""
        return ", ".join(self.dropped).encode("latin-1", "replace")[:MAX_DROPPED_BYTES]

    def request(self, model: str) -> bytes:
        """The request for the endpoint. Raises Invalid for what cannot be said to it."""
        wanted = msgspec.structs.replace(
            self.sent, model=model or self.asked.model, stream=True, include_usage=True
        )
        written: Written = self.endpoint.write_request(wanted)
        self.dropped = written.dropped
        return written.body


def translator_of(exchange: "Exchange", endpoint: Endpoint) -> Translator | None:
    """What translates for this endpoint; None where it speaks the client's dialect.

    Raises Invalid when the request cannot be read, Unavailable when the endpoint speaks nothing
    that it can be put into.
    """
    other = exchange.route.spoken_by(endpoint.spec)
    if other is None:
        return None
    client = exchange.route.codec
    assert client is not None
    if exchange.asked is None:
        exchange.asked = client.read_request(exchange.body)
    return Translator(exchange.asked, client, other, exchange.record.request_id)


class _Reading:
    """The events of the endpoint's stream, in no dialect."""

    def __init__(self, translator: Translator, tally: Tally) -> None:
        self._reader = translator.endpoint.reader()
        self._splitter = EventSplitter()
        self._tally = tally
        self.ended = False
        """Whether it said why it ended: all that comes now is usage."""
        self.done = False
        self.is_cut = False
        """Whether its end is ours, and the endpoint would go on."""

    def feed(self, piece: bytes) -> Iterator[chat.Event]:
        """What this piece says. Raises StreamBroken, after what was said before."""
        for _, data in self._splitter.feed(piece):
            if data == b"[DONE]":
                self.done = True
            elif data and not self.done:
                yield from self._read(data)
        if len(self._splitter.pending) > MAX_EVENT_BYTES:
            raise StreamBroken("the upstream sent an endless event", b"")

    def _read(self, data: bytes) -> Iterator[chat.Event]:
        try:
            said = self._reader.feed(data)
        except errors.Invalid as error:
            raise StreamBroken(error.message, b"") from None
        for event in said:
            self._note(event)
            yield event

    def _note(self, event: chat.Event) -> None:
        tally = self._tally
        if isinstance(event, chat.Failed):
            raise StreamBroken(event.message, b"", event.data)
        if isinstance(event, chat.Used):
            tally.told = event.usage
        elif isinstance(event, chat.Ended):
            self.ended = True
            self.done = self.is_cut = event.cut
            tally.finish_reason = event.finish
        elif not isinstance(event, chat.Started):
            tally.events += 1
        tally.is_partial = not self.ended or self.is_cut


class TranslatingRelay:
    """Passes a stream on in the client's words."""

    def __init__(self, tally: Tally, translator: Translator) -> None:
        self.tally = tally
        self.done = False
        self._reading = _Reading(translator, tally)
        self._writer = translator.client.writer(
            translator.asked, translator.request_id, clock.now_us() // 1_000_000
        )

    def feed(self, piece: bytes) -> bytes:
        """What this piece is in the client's dialect. Raises StreamBroken."""
        written: list[bytes] = []
        try:
            for event in self._reading.feed(piece):
                written.append(self._writer.write(event))  # noqa: PERF401 - it may break off
        except StreamBroken as error:
            error.passed = b"".join(written)
            raise
        if self._reading.done and self._reading.ended:
            self.done = True
            written.append(self._writer.end())
        return b"".join(written)

    def close(self) -> bytes:
        """Some dialects have no mark behind the event that says why it ended."""
        if not self._reading.ended:
            return b""
        self.done = True
        return self._writer.end()

    def broken(self, error: Told) -> bytes:
        """The client's dialect has a word for it."""
        return self._writer.fail(error)


class Folded(FromStream):
    """An unstreamed answer from an endpoint's stream."""

    def __init__(self, exchange: "Exchange", translator: Translator) -> None:
        super().__init__(exchange)
        self._translator = translator
        self._reading = _Reading(translator, self.tally)
        self._folder = chat.Folder()

    def _events(self, data: bytes) -> None:
        try:
            for event in self._reading.feed(data):
                self._folder.add(event)
        except StreamBroken as error:
            self._break(error)
            return
        if self.tally.events:
            self.exchange.mark_first_token()
        if self._reading.is_cut:
            self._give()

    def _finish(self, last: bytes) -> None:
        exchange = self.exchange
        attempt = exchange.attempt
        self._events(last)
        if exchange.attempt is not attempt or attempt is None:
            return  # an error in the last piece has already been dealt with
        if not self._reading.ended:
            fail(exchange, TRUNCATED, "upstream_truncated")
            return
        self._give()

    def _give(self) -> None:
        translator = self._translator
        body = translator.client.write_answer(self._folder.answer(), translator.asked)
        endings.with_answer(self.exchange, 200, endings.JSON, body)
