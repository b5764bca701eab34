"""What is counted of an answer that passes through: a client and an endpoint of this dialect.

Most events are pieces of text: they are known by their first bytes and never decoded. Of the last
one only the usage and how it ended are read.
"""

import re
from typing import NamedTuple

import msgspec

from modelyard.domain.chat import Usage
from modelyard.errors import Invalid
from modelyard.gateway.dialects.fields import UNREADABLE
from modelyard.gateway.dialects.responses.answer import (
    Kind,
    Outline,
    read_outline,
)

_FIRST = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_.]+)"')
"""OpenAI's events begin with their type, vLLM's end with it."""
_STARTS = frozenset({"response.created", "response.queued", "response.in_progress"})
ENDS = frozenset({"response.completed", "response.incomplete", "response.done"})
_ERRORS = frozenset({"response.failed", "response.cancelled", "error"})
_ANNOUNCEMENTS = frozenset({"response.content_part.added", "response.reasoning_summary_part.added"})
_ADDED = "response.output_item.added"
_SILENT = frozenset({"message", "reasoning"})
"""Items that say nothing as they are announced; a call says at once what is called."""


class Seen(NamedTuple):
    """What one event is."""

    kind: str
    """`piece`, `start`, `end`, `error` or `other`."""
    says_something: bool
    """Until an event does, nothing is lost by trying another endpoint."""


class _Whole(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw()


class _Added(msgspec.Struct):
    item: Kind = Kind()


_kinds = msgspec.json.Decoder(Kind)
_wholes = msgspec.json.Decoder(_Whole)
_added = msgspec.json.Decoder(_Added)
_PIECE, _START, _OTHER = Seen("piece", True), Seen("start", False), Seen("other", False)
_EMPTY = Seen("piece", False)


class Tally:
    """What is known of an answer so far."""

    __slots__ = ("events", "finish", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish = ""
        """One of FINISHES, once it has ended."""
        self.events = 0
        """Pieces with content: what a stream that broke off is counted by."""

    def see(self, data: bytes) -> Seen:
        """The data of one event. Raises Invalid when it is no event of a response."""
        kind = kind_of(data)
        if kind.endswith(".delta"):
            if b'"delta":""' in data or b'"delta": ""' in data:
                return _EMPTY
            self.events += 1
            return _PIECE
        if kind in _STARTS:
            return _START
        if kind in ENDS or kind in _ERRORS:
            return self._last(kind, data)
        if kind == _ADDED:
            return Seen("other", _item_kind(data) not in _SILENT)
        says = kind.startswith("response.") and kind not in _ANNOUNCEMENTS
        return Seen("other", says) if says else _OTHER

    def see_whole(self, body: bytes) -> Seen:
        """A whole answer, or one that is still to come (`background`). Raises Invalid when it is
        none."""
        outline = read_outline(body)
        if outline.is_pending():
            return Seen("other", True)
        return self._outline(outline)

    def _last(self, kind: str, data: bytes) -> Seen:
        try:
            raw = _wholes.decode(data).response
        except UNREADABLE as error:
            raise Invalid(f"the last event of a response cannot be read: {error}") from None
        outline = read_outline(raw) if bytes(raw) else Outline()
        if kind in _ERRORS:
            self.usage = outline.used() or self.usage
            return Seen("error", True)
        if outline.status is None:
            outline.status = "incomplete" if kind == "response.incomplete" else "completed"
        return self._outline(outline)

    def _outline(self, outline: Outline) -> Seen:
        self.usage = outline.used() or self.usage
        if outline.has_failed():
            return Seen("error", True)
        self.finish = outline.finish()
        return Seen("end", True)


def kind_of(data: bytes) -> str:
    """The type of an event. Raises Invalid when it has none."""
    first = _FIRST.match(data)
    if first is not None:
        return first[1].decode()
    try:
        kind = _kinds.decode(data).type
    except UNREADABLE as error:
        raise Invalid(f"an event of the stream cannot be read: {error}") from None
    if not kind and b'"error"' not in data:
        raise Invalid("an event of the stream has no type: it is no part of a response")
    return kind or "error"


def _item_kind(data: bytes) -> str:
    try:
        return _added.decode(data).item.type
    except UNREADABLE as error:
        raise Invalid(f"an item of the stream cannot be read: {error}") from None
