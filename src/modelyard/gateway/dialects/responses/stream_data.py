"""What is read of an event of a stream, and the items that events belong to.

Items are known by the id they began with, else by `output_index`: some providers change an item's
id from event to event, others give two items the same index.

Source: `response_*_event.py` of OpenAI's official SDK.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec

from modelyard.domain.chat import Refusal, Text
from modelyard.errors import Invalid
from modelyard.gateway.dialects.fields import UNREADABLE, Fields
from modelyard.gateway.dialects.responses.answer import Kind
from modelyard.gateway.dialects.responses.content import read_parts
from modelyard.gateway.dialects.responses.reasoning import reasoning_texts


class EventData(msgspec.Struct):
    """What is read of one event."""

    type: str = ""
    output_index: int | None = None
    item_id: str | None = None
    content_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    input: str | None = None
    item: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    message: str | None = None


class ItemHead(msgspec.Struct):
    """Of an item, what its first event tells."""

    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None


class Place(NamedTuple):
    """A text within an item: `text`, `refusal`, `summary`, `thought` or `arguments`."""

    kind: str
    at: int
    """Its index among those of its kind, or in the message's content."""


ARGUMENTS = Place("arguments", 0)
_events = msgspec.json.Decoder(EventData)
_kinds = msgspec.json.Decoder(Kind)
_heads = msgspec.json.Decoder(ItemHead)


def read_event(data: bytes, known: Collection[str]) -> EventData | None:
    """None for an event of a kind that is not known and whose members have other types than ours.

    Raises Invalid for one that is no event, or that is known and cannot be read.
    """
    try:
        return _events.decode(data)
    except UNREADABLE as error:
        kind = _kind(data)
        if not kind or kind in known:
            raise Invalid(f"an event of the stream cannot be read: {error}") from None
        return None


def _kind(data: bytes) -> str:
    try:
        return _kinds.decode(data).type
    except UNREADABLE:
        return ""


def read_head(raw: msgspec.Raw) -> ItemHead:
    """Of an item, what it is. Raises Invalid."""
    try:
        return _heads.decode(raw)
    except UNREADABLE as error:
        raise Invalid(f"an item of the stream cannot be read: {error}") from None


def _of_message(fields: Fields) -> Iterator[tuple[Place, str]]:
    parts = read_parts(fields.raw("content"), fields.at("content"), of_answer=True)
    for index, part in enumerate(parts):
        if isinstance(part, Text):
            yield Place("text", index), part.text
        elif isinstance(part, Refusal):
            yield Place("refusal", index), part.text


def _of_reasoning(fields: Fields) -> Iterator[tuple[Place, str]]:
    for is_summary, index, text in reasoning_texts(fields):
        yield Place("summary" if is_summary else "thought", index), text


def _of_call(fields: Fields) -> Iterator[tuple[Place, str]]:
    yield ARGUMENTS, fields.text("arguments") or fields.text("input")


WHOLE: dict[str, Callable[[Fields], Iterator[tuple[Place, str]]]] = {
    "message": _of_message,
    "reasoning": _of_reasoning,
    "function_call": _of_call,
    "custom_tool_call": _of_call,
}
"""The texts of a whole item, by its kind."""


class Said:
    """One text of an item: its number among all parts, and how much of it was passed on."""

    __slots__ = ("length", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.length = 0


class FollowedItem:
    """An item of the output, as far as it has come."""

    __slots__ = ("call", "head", "is_done", "said")

    def __init__(self, head: ItemHead) -> None:
        self.head = head
        self.said: dict[Place, Said] = {}
        self.call: int | None = None
        self.is_done = False

    @property
    def id(self) -> str:
        """The id it began with."""
        return self.head.id or ""


class FollowedItems:
    """All items of one stream, in the order in which they began."""

    def __init__(self) -> None:
        self.all: list[FollowedItem] = []
        self._by_index: dict[int, FollowedItem] = {}
        self._by_id: dict[str, FollowedItem] = {}

    def new(self, head: ItemHead, index: int | None) -> FollowedItem:
        """One more."""
        item = FollowedItem(head)
        self._by_index[len(self.all) if index is None else index] = item
        self.all.append(item)
        if head.id:
            self._by_id[head.id] = item
        return item

    def of(self, head: ItemHead, index: int | None) -> FollowedItem:
        """The item of an event; a new one where none of that kind was announced."""
        item = self._by_id.get(head.id or "")
        if item is None and index is not None:
            item = self._by_index.get(index)
        elif item is None and self.all:
            item = self.all[-1]
        if item is None or item.head.type != head.type:
            return self.new(head, index)
        return item

    def whole(self, head: ItemHead, index: int | None) -> FollowedItem:
        """The item that an event tells whole; another one of that place, unnumbered and unnamed,
        if the one that is there was told already."""
        item = self.of(head, index)
        is_another = item.is_done and (not head.id or head.id != item.id)
        return self.new(head, index) if is_another else item

    def matching(self, heads: Sequence[ItemHead]) -> list[FollowedItem | None]:
        """Which of these items came before, in their order; None for one that did not. Empty when
        others came: then it cannot be said which are the same."""
        matched: list[FollowedItem | None] = []
        came = iter(self.all)
        following = next(came, None)
        for head in heads:
            if following is not None and following.head.type == head.type:
                matched.append(following)
                following = next(came, None)
            else:
                matched.append(None)
        return matched if following is None else []
