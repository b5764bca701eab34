"""The events of an endpoint's stream.

Source: `raw_*_event.py` of Anthropic's official SDK; docs.anthropic.com on streaming.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import (
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    Foreign,
    ReasoningPiece,
    Started,
    TextPiece,
    Used,
)
from modelyard.errors import Invalid
from modelyard.gateway.dialects.messages.usage import Counter
from modelyard.gateway.dialects.messages.words import NAME, read_finish

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Delta(msgspec.Struct):
    """Of a block, or of the message."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class Begun(msgspec.Struct):
    """The message as it begins."""

    id: str = ""
    model: str = ""
    usage: msgspec.Raw = msgspec.Raw()


class EventData(msgspec.Struct):
    """The members of all kinds of events that are read here."""

    type: str
    index: int = 0
    message: Begun | None = None
    content_block: msgspec.Raw = msgspec.Raw()
    delta: Delta | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class Block(msgspec.Struct):
    """A block as it begins."""

    type: str
    id: str = ""
    name: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str = ""
    input: msgspec.Raw = msgspec.Raw()


_events = msgspec.json.Decoder(EventData)
_blocks = msgspec.json.Decoder(Block)


def read_event(data: bytes) -> EventData:
    """Raises Invalid for what is no event of this dialect."""
    try:
        return _events.decode(data)
    except UNREADABLE as error:
        raise Invalid(f"the upstream sent an event that is no part of a message: {error}") from None


class StreamReader:
    """Reads one stream. Events that it does not know say nothing here."""

    def __init__(self) -> None:
        self._counter = Counter()
        self._calls: dict[int, int] = {}
        """Index of a block → index of the call."""
        self._foreign: dict[int, dict[str, Any]] = {}
        """Blocks that only this dialect knows, until they are whole."""
        self._pieces: dict[int, list[str]] = {}

    def feed(self, data: bytes) -> list[Event]:
        """What one event says. Raises Invalid for one that is no part of an answer."""
        event = read_event(data)
        match event.type:
            case "message_start" if event.message is not None:
                started = Started(event.message.id, event.message.model)
                return [started, *self._used(event.message.usage)]
            case "content_block_start":
                return self._begin(event)
            case "content_block_delta" if event.delta is not None:
                return self._go_on(event.index, event.delta)
            case "content_block_stop":
                return self._stop(event.index)
            case "message_delta":
                delta = event.delta or Delta()
                finish = read_finish(delta.stop_reason)
                return [*self._used(event.usage), Ended(finish, delta.stop_sequence or "")]
            case "error":
                return [Failed(_said(event.error), data)]
        return []

    def _used(self, raw: msgspec.Raw) -> list[Event]:
        self._counter.add(raw)
        usage = self._counter.usage()
        return [] if usage is None else [Used(usage)]

    def _begin(self, event: EventData) -> list[Event]:
        try:
            block = _blocks.decode(event.content_block)
        except UNREADABLE as error:
            raise Invalid(f"the upstream began a block that cannot be read: {error}") from None
        match block.type:
            case "text":
                return [TextPiece(block.text, event.index)] if block.text else []
            case "thinking":
                piece = ReasoningPiece(
                    block.thinking or "", block.signature or "", part=event.index
                )
                return [piece] if piece.text or piece.signature else []
            case "redacted_thinking":
                return [ReasoningPiece(encrypted=block.data, part=event.index)]
            case "tool_use":
                return self._call(event.index, block)
        self._foreign[event.index] = msgspec.json.decode(event.content_block)
        return []

    def _call(self, at: int, block: Block) -> list[Event]:
        """Some endpoints give the input whole with its beginning."""
        number = self._calls[at] = len(self._calls)
        begun: list[Event] = [CallBegun(number, block.id, block.name)]
        given = bytes(block.input)
        if given not in (b"", b"null", b"{}"):
            begun.append(CallPiece(number, given.decode()))
        return begun

    def _go_on(self, at: int, delta: Delta) -> list[Event]:
        match delta.type:
            case "text_delta" if delta.text:
                return [TextPiece(delta.text, at)]
            case "thinking_delta" if delta.thinking:
                return [ReasoningPiece(delta.thinking, part=at)]
            case "signature_delta" if delta.signature:
                return [ReasoningPiece(signature=delta.signature, part=at)]
            case "input_json_delta" if delta.partial_json:
                if at in self._calls:
                    return [CallPiece(self._calls[at], delta.partial_json)]
                self._pieces.setdefault(at, []).append(delta.partial_json)
        return []

    def _stop(self, at: int) -> list[Event]:
        block = self._foreign.pop(at, None)
        if block is None:
            return []
        pieces = "".join(self._pieces.pop(at, ()))
        if pieces:
            block["input"] = _value(pieces)
        return [Foreign(NAME, str(block.get("type", "")), msgspec.Raw(msgspec.json.encode(block)))]


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except UNREADABLE:
        return {}


def _said(error: msgspec.Raw) -> str:
    try:
        told = msgspec.json.decode(error)
    except UNREADABLE:
        return "an error that cannot be read"
    message = told.get("message") if isinstance(told, dict) else told
    return str(message or "the upstream gave up and did not say why")
