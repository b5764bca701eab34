"""The open items of a stream that is being written, and the events that open, fill and close them.

Source: `response_*_event.py` of OpenAI's official SDK, and the Open Responses specification: every
event has a sequence number, and an item keeps its id.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import ReasoningPiece, Thinking, ToolCall
from modelyard.gateway.dialects.responses.content import write_output_text, write_refusal
from modelyard.gateway.dialects.responses.ids import Ids
from modelyard.gateway.dialects.responses.output import as_declared, call_item, message_item
from modelyard.gateway.dialects.responses.reasoning import reasoning_item


class Wire:
    """Numbers the events and keeps them until they are taken."""

    __slots__ = ("_events", "_number")

    def __init__(self) -> None:
        self._number = 0
        self._events: list[bytes] = []

    def send(self, kind: str, **members: Any) -> None:
        """One event."""
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **members})
        self._number += 1
        if b"\n" in data or b"\r" in data:  # in what a client wrote over several lines
            data = msgspec.json.format(data, indent=-1)
        self._events.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), data))

    def taken(self) -> bytes:
        """All events since the last call."""
        events, self._events = self._events, []
        return b"".join(events)


class MessageItem:
    """What the assistant says: texts and refusals."""

    def __init__(self, wire: Wire, ids: Ids, index: int) -> None:
        self._wire = wire
        self._content: list[dict[str, Any]] = []
        self._part: tuple[str, int] | None = None
        self._pieces: list[str] = []
        self._id = ids.item("msg", index)
        self._at = {"item_id": self._id, "output_index": index}
        wire.send("response.output_item.added", output_index=index, item=self.item("in_progress"))

    def say(self, kind: str, part: int, text: str) -> None:
        """Some of a text (`output_text`) or a refusal."""
        if self._part != (kind, part):
            self._close_part()
            self._part = (kind, part)
            self._send("response.content_part.added", part=_content(kind, ""))
        self._pieces.append(text)
        probabilities: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        self._send(f"response.{kind}.delta", delta=text, **probabilities)

    def close(self, status: str) -> dict[str, Any]:
        """The item as it is in the response."""
        self._close_part()
        item = self.item(status)
        index = self._at["output_index"]
        self._wire.send("response.output_item.done", output_index=index, item=item)
        return item

    def item(self, status: str) -> dict[str, Any]:
        """The item as far as it has come."""
        open_part = [] if self._part is None else [_content(self._part[0], "".join(self._pieces))]
        return message_item(self._id, [*self._content, *open_part], status)

    def _close_part(self) -> None:
        if self._part is None:
            return
        kind, text = self._part[0], "".join(self._pieces)
        part = _content(kind, text)
        if kind == "output_text":
            self._send("response.output_text.done", text=text, logprobs=[])
        else:
            self._send("response.refusal.done", refusal=text)
        self._send("response.content_part.done", part=part)
        self._content.append(part)
        self._part, self._pieces = None, []

    def _send(self, kind: str, **members: Any) -> None:
        self._wire.send(kind, **self._at, content_index=len(self._content), **members)


def _content(kind: str, text: str) -> dict[str, Any]:
    return write_output_text(text, {}) if kind == "output_text" else write_refusal(text)


class ReasoningItem:
    """Thoughts of one id: summaries and texts, and at the end what closes them."""

    def __init__(self, wire: Wire, ids: Ids, index: int, id: str) -> None:
        self._wire = wire
        self.given_id = id
        self._id = id or ids.item("rs", index)
        self._at = {"item_id": self._id, "output_index": index}
        self._thoughts: list[Thinking] = []
        self._part: tuple[bool, int] | None = None
        self._pieces: list[str] = []
        self._signature = ""
        self._encrypted = ""
        wire.send(
            "response.output_item.added", output_index=index, item=reasoning_item(self._id, ())
        )

    def takes(self, piece: ReasoningPiece) -> bool:
        """Whether a piece belongs to this item."""
        if self._part == (piece.is_summary, piece.part):
            return True
        return piece.id == self.given_id and not (self._signature or self._encrypted)

    def think(self, piece: ReasoningPiece) -> None:
        """Some of a thought, or what closes it."""
        if self._part != (piece.is_summary, piece.part):
            self._close_part()
            self._part = (piece.is_summary, piece.part)
        self._signature = piece.signature or self._signature
        self._encrypted = piece.encrypted or self._encrypted
        if piece.text:
            self._say(piece)

    def close(self, status: str) -> dict[str, Any]:
        """The item as it is in the response."""
        self._close_part()
        item = self.item(status)
        index = self._at["output_index"]
        self._wire.send("response.output_item.done", output_index=index, item=item)
        return item

    def item(self, status: str) -> dict[str, Any]:
        """The item as far as it has come; a thought has no status of its own."""
        return reasoning_item(self._id, [*self._thoughts, *self._open()])

    def _open(self) -> list[Thinking]:
        if self._part is None:
            return []
        text, is_summary = "".join(self._pieces), self._part[0]
        return [Thinking(text, self._signature, self._encrypted, self.given_id, is_summary)]

    def _say(self, piece: ReasoningPiece) -> None:
        if not self._pieces:
            self._announce(piece.is_summary, "added", "")
        self._pieces.append(piece.text)
        kind = "reasoning_summary_text" if piece.is_summary else "reasoning_text"
        self._send(f"response.{kind}.delta", piece.is_summary, delta=piece.text)

    def _close_part(self) -> None:
        thoughts = self._open()
        for thought in thoughts:
            if thought.text:
                kind = "reasoning_summary_text" if thought.is_summary else "reasoning_text"
                self._send(f"response.{kind}.done", thought.is_summary, text=thought.text)
                self._announce(thought.is_summary, "done", thought.text)
        self._thoughts += thoughts
        self._part, self._pieces = None, []

    def _announce(self, is_summary: bool, what: str, text: str) -> None:
        """Summaries have parts of their own, other texts are content like that of messages."""
        kind = "reasoning_summary_part" if is_summary else "content_part"
        part = {"type": "summary_text" if is_summary else "reasoning_text", "text": text}
        self._send(f"response.{kind}.{what}", is_summary, part=part)

    def _send(self, kind: str, is_summary: bool, **members: Any) -> None:
        before = [part for part in self._thoughts if part.text and part.is_summary == is_summary]
        at = {"summary_index" if is_summary else "content_index": len(before)}
        self._wire.send(kind, **self._at, **at, **members)


class CallItem:
    """A call of a tool. One that the client declared as custom and that comes as a function call
    is gathered until it is complete: only then its text can be told."""

    def __init__(
        self, wire: Wire, ids: Ids, index: int, call: ToolCall, custom_tools: frozenset[str]
    ) -> None:
        self._wire = wire
        self._pieces: list[str] = []
        self._custom_tools = custom_tools
        self._gathers = not call.custom and call.name in custom_tools
        is_custom = call.custom or self._gathers
        self._call = msgspec.structs.replace(call, id=ids.call(call.id, index), custom=is_custom)
        self._came_custom = call.custom
        self._id = ids.item("ctc" if is_custom else "fc", index)
        self._at = {"item_id": self._id, "output_index": index}
        empty = call_item(self._id, self._call, "in_progress")
        wire.send("response.output_item.added", output_index=index, item=empty)

    def add(self, arguments: str) -> None:
        """Some of its arguments."""
        self._pieces.append(arguments)
        if not self._gathers:
            self._wire.send(f"{self._event}.delta", **self._at, delta=arguments)

    def close(self, status: str) -> dict[str, Any]:
        """The item as it is in the response."""
        call = self._whole()
        if call.arguments and (self._gathers or not self._pieces):
            self._wire.send(f"{self._event}.delta", **self._at, delta=call.arguments)
        member = "input" if call.custom else "arguments"
        self._wire.send(f"{self._event}.done", **self._at, **{member: call.arguments})
        item = self.item(status)
        index = self._at["output_index"]
        self._wire.send("response.output_item.done", output_index=index, item=item)
        return item

    def item(self, status: str) -> dict[str, Any]:
        """The item as far as it has come."""
        return call_item(self._id, self._whole(), status)

    @property
    def _event(self) -> str:
        kind = "custom_tool_call_input" if self._call.custom else "function_call_arguments"
        return f"response.{kind}"

    def _whole(self) -> ToolCall:
        came = msgspec.structs.replace(
            self._call, arguments="".join(self._pieces), custom=self._came_custom
        )
        return as_declared(came, self._custom_tools)


OpenItem = MessageItem | ReasoningItem | CallItem
