"""Looks at answers of which something was promised, before or while the client sees them.

What is looked at is what the client is told: its own dialect, after everything else was done to it.
"""

from typing import TYPE_CHECKING

import msgspec

from modelyard.domain import chat
from modelyard.domain.guarantees import Fault, broken
from modelyard.errors import Invalid
from modelyard.gateway.assemble import Assembler
from modelyard.gateway.dialects.base import Dialect, Told
from modelyard.gateway.failures import Failure
from modelyard.gateway.stream import StreamBroken
from modelyard.lib.sse import EventSplitter

if TYPE_CHECKING:
    from modelyard.gateway.answers import Relay
    from modelyard.gateway.exchange import Exchange
    from modelyard.gateway.pledges import Pledge

OUTPUT_INVALID = "output_invalid"
MOST_HELD_BYTES = 64 * 1024 * 1024


class Unkept(StreamBroken):
    """The answer is not what was promised of it. No other endpoint is at fault or asked: the model
    is."""

    code = OUTPUT_INVALID
    blamed = False

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"the model's answer is not what was asked for: {fault.told}", b"")
        self.hint = "ask again, or ask for less; `guarantees` of the service says how it is checked"


def accepts(exchange: "Exchange", body: bytes) -> bool:
    """Whether a whole answer keeps what was promised; if not, that has been dealt with."""
    pledge, codec = exchange.pledge, exchange.route.codec
    assert pledge is not None
    assert codec is not None
    try:
        answers = _answers(codec, body, pledge.choices)
    except Invalid as error:
        unkept: Unkept | None = _unreadable(pledge, error)
    else:
        unkept = _unkept(pledge, answers)
    if unkept is not None:
        exchange.fail(Failure(unkept, blamed=False))
    return unkept is None


def _unkept(pledge: "Pledge", answers: list[chat.Answer]) -> Unkept | None:
    for answer in answers:
        fault = broken(pledge.promise, answer)
        if fault is not None:
            pledge.answer, pledge.fault = answer, fault
            return Unkept(fault)
    return None


def _unreadable(pledge: "Pledge", error: Invalid) -> Unkept:
    pledge.answer, pledge.fault = None, Fault("the answer", f"cannot be read: {error.message}")
    return Unkept(pledge.fault)


class _Choices(msgspec.Struct):
    choices: list[msgspec.Raw]


def _answers(codec: Dialect, body: bytes, choices: int) -> list[chat.Answer]:
    """All that a body holds; only chat completions can hold several. Raises Invalid."""
    if choices == 1:
        return [codec.read_answer(body)]
    try:
        found = msgspec.json.decode(body, type=_Choices).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"it is no chat completion: {error}") from None
    return [codec.read_answer(_alone(one)) for one in found]


def _alone(choice: msgspec.Raw) -> bytes:
    members = msgspec.json.decode(choice, type=dict[str, msgspec.Raw])
    members["index"] = msgspec.Raw(b"0")
    return msgspec.json.encode({"choices": [members]})


class _Copy:
    """The answer that a stream in the client's dialect makes."""

    def __init__(self, codec: Dialect, choices: int) -> None:
        self._codec = codec
        self._choices = choices
        self._splitter = EventSplitter()
        self._reader = codec.reader()
        self._folder = chat.Folder()
        self._assembler = Assembler()

    def feed(self, passed: bytes) -> None:
        """Raises Invalid for what is no part of an answer."""
        for _, data in self._splitter.feed(passed):
            if not data or data == b"[DONE]":
                continue
            if self._choices > 1:
                self._assembler.add(data)
                continue
            for event in self._reader.feed(data):
                self._folder.add(event)

    def answers(self) -> list[chat.Answer]:
        """All of them. Raises Invalid."""
        if self._choices > 1:
            return _answers(self._codec, self._assembler.result(), self._choices)
        return [self._folder.answer()]


class Watched:
    """A relay whose stream is looked at. One that is held passes all at once, at its end."""

    def __init__(self, exchange: "Exchange", inner: "Relay") -> None:
        assert exchange.pledge is not None
        assert exchange.route.codec is not None
        self.tally = inner.tally
        self.done = False
        self._exchange = exchange
        self._pledge = exchange.pledge
        self._inner = inner
        self._holds = exchange.pledge.treatment.holds
        self._copy = _Copy(exchange.route.codec, exchange.pledge.choices)
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> bytes:
        """See `Relay`. Raises Unkept at the end of a stream that breaks what was promised."""
        try:
            passed = self._inner.feed(piece)
        except StreamBroken as error:
            if self._holds:
                error.passed = b""
            raise
        return self._take(passed)

    def close(self) -> bytes:
        """See `Relay`."""
        return self._take(self._inner.close())

    def broken(self, error: Told) -> bytes:
        """See `Relay`."""
        return self._inner.broken(error)

    def _take(self, passed: bytes) -> bytes:
        try:
            self._copy.feed(passed)
            if self._inner.done:
                self._check()
        except Invalid as error:
            raise _unreadable(self._pledge, error) from None
        return self._hold(passed) if self._holds else passed

    def _check(self) -> None:
        unkept = _unkept(self._pledge, self._copy.answers())
        if unkept is not None:
            raise unkept
        self.done = True

    def _hold(self, passed: bytes) -> bytes:
        if self.tally.events:
            self._exchange.mark_first_token()  # the time limits are those of a stream
        self._held.append(passed)
        self._size += len(passed)
        if self._size > MOST_HELD_BYTES:
            raise StreamBroken("the upstream's answer is too large", b"")
        if not self.done:
            return b""
        return b"".join(self._held)
