"""What is counted of an answer that passes through: a client and an endpoint of this dialect.

Most events are pieces of text: they are known by their first bytes and never decoded.
"""

import re
from typing import NamedTuple

import msgspec

from modelyard.domain.chat import Usage
from modelyard.errors import Invalid
from modelyard.gateway.dialects.messages.read_stream import UNREADABLE, read_event
from modelyard.gateway.dialects.messages.usage import Counter
from modelyard.gateway.dialects.messages.words import read_finish

_DELTA = re.compile(rb'\s*\{\s*"type"\s*:\s*"content_block_delta"')
_SILENT = re.compile(rb'"content_block"\s*:\s*\{\s*"type"\s*:\s*"(?:text|thinking)"')
"""Blocks that say nothing as they begin; a call says at once what is called."""


class Seen(NamedTuple):
    """What one event is."""

    kind: str
    """`piece`, `start`, `end`, `error` or `other`."""
    says_something: bool
    """Until an event does, nothing is lost by trying another endpoint."""


class _Whole(msgspec.Struct):
    type: str
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()


_wholes = msgspec.json.Decoder(_Whole)
_PIECE, _START = Seen("piece", True), Seen("start", False)
_OTHER, _END, _ERROR = Seen("other", False), Seen("end", True), Seen("error", True)


class Tally:
    """What is known of an answer so far."""

    __slots__ = ("_counter", "events", "finish", "usage")

    def __init__(self) -> None:
        self._counter = Counter()
        self.usage: Usage | None = None
        self.finish = ""
        """One of FINISHES, once it has ended."""
        self.events = 0
        """Pieces with content: what a stream that broke off is counted by."""

    def see(self, data: bytes) -> Seen:
        """The data of one event. Raises Invalid when it is no event of a message."""
        if _DELTA.match(data):
            self.events += 1
            return _PIECE
        event = read_event(data)
        match event.type:
            case "message_start":
                if event.message is not None:
                    self._count(event.message.usage)
                return _START
            case "content_block_start":
                return _OTHER if _SILENT.search(data) else Seen("other", True)
            case "message_delta":
                self._count(event.usage)
                self.finish = read_finish(event.delta.stop_reason if event.delta else None)
                return Seen("other", True)
            case "message_stop":
                return _END
            case "error":
                return _ERROR
        return _OTHER

    def see_whole(self, body: bytes) -> Seen:
        """A whole answer. Raises Invalid when it is none."""
        try:
            whole = _wholes.decode(body)
        except UNREADABLE as error:
            raise Invalid(f"the answer is no message: {error}") from None
        if whole.type == "error":
            return _ERROR
        self._count(whole.usage)
        self.finish = read_finish(whole.stop_reason)
        return _END

    def _count(self, usage: msgspec.Raw) -> None:
        self._counter.add(usage)
        self.usage = self._counter.usage()
