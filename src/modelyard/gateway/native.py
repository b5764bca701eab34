"""Answers in another dialect than chat, from endpoints that speak the client's own: the bytes pass
through, and what they say is read on the way."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from modelyard.domain import chat
from modelyard.errors import Invalid
from modelyard.gateway.answers import GARBLED, Whole, fail
from modelyard.gateway.dialects import upstream_errors
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.stream import MAX_EVENT_BYTES, StreamBroken, Tally
from modelyard.lib.sse import EventSplitter

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange


class Seen(Protocol):
    """What one event of a stream is."""

    @property
    def kind(self) -> str:
        """`start`, `piece`, `end`, `error` or `other`."""
        ...

    @property
    def says_something(self) -> bool:
        """Whether it is more than an announcement."""
        ...


class Meter(Protocol):
    """Reads what an answer took."""

    usage: chat.Usage | None
    finish: str

    def see(self, data: bytes) -> Seen:
        """One event of its stream. Raises Invalid when it is none."""
        ...

    def see_whole(self, body: bytes) -> Seen:
        """All of it. Raises Invalid when it is none."""
        ...


class Native(NamedTuple):
    """How answers of a dialect are read while their bytes pass."""

    meter: Callable[[], Meter]
    """For one answer."""
    error_event: Callable[[Told, int], bytes]
    """The last event of a stream that broke off after so many."""


class EventRelay:
    """Passes the events of one stream on as they are. `done` turns true with the last one."""

    def __init__(self, tally: Tally, native: Native) -> None:
        self.tally = tally
        self.done = False
        self._native = native
        self._meter = native.meter()
        self._splitter = EventSplitter()
        self._passed = 0
        """Events until now."""

    def feed(self, piece: bytes) -> bytes:
        """What to pass on of this piece: whole events only. Raises StreamBroken, as `StreamRelay`
        does."""
        passed: list[bytes] = []
        for raw, data in self._splitter.feed(piece):
            if self.done:
                break
            if data:
                self._see(data, passed)
                self._passed += 1
            passed.append(raw)
        if len(self._splitter.pending) > MAX_EVENT_BYTES:
            raise StreamBroken("the upstream sent an endless event", b"".join(passed))
        return b"".join(passed)

    def close(self) -> bytes:
        """Without its last event a stream was cut off."""
        return b""

    def broken(self, error: Told) -> bytes:
        """An event `error`, and nothing that a whole stream ends with."""
        return self._native.error_event(error, self._passed)

    def _see(self, data: bytes, passed: list[bytes]) -> None:
        meter, tally = self._meter, self.tally
        try:
            seen = meter.see(data)
        except Invalid as error:
            raise StreamBroken(error.message, b"".join(passed)) from None
        if seen.kind == "error":
            message = upstream_errors.read_event(data).message
            raise StreamBroken(message, b"".join(passed), data)
        if tally.events or seen.says_something:
            tally.events += 1
        self.done = seen.kind == "end"
        tally.told, tally.finish_reason = meter.usage, meter.finish
        tally.is_partial = not self.done


class WholeInDialect(Whole):
    """An unstreamed answer that passes through."""

    def __init__(self, exchange: "Exchange", native: Native) -> None:
        super().__init__(exchange)
        self._meter = native.meter()

    def _reads(self, body: bytes) -> bool:
        meter, tally = self._meter, self.tally
        try:
            meter.see_whole(body)
        except Invalid:
            fail(self.exchange, GARBLED, "upstream_garbled")
            return False
        tally.told, tally.finish_reason = meter.usage, meter.finish
        return True
