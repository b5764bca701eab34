"""The stream of an endpoint: messages of AWS's event stream, each of one kind.

Source: `ConverseStream` in Bedrock's API reference.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import (
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    ReasoningPiece,
    Started,
    TextPiece,
    Used,
)
from modelyard.errors import Invalid
from modelyard.gateway.dialects.converse.answer import foreign, read_finish
from modelyard.gateway.dialects.converse.failures import decoded, failure
from modelyard.gateway.dialects.converse.usage import Tier, read_usage
from modelyard.lib.eventstream import Message


class Input(msgspec.Struct):
    """Some of a call's arguments."""

    input: str = ""


class Thought(msgspec.Struct, rename="camel"):
    """Some of a thought, or what closes it."""

    text: str = ""
    signature: str = ""
    redacted_content: str = ""


class Delta(msgspec.Struct, rename="camel", frozen=True):
    """Some of a block; sources, and what tools of the provider's answer, have no neutral word."""

    text: str | None = None
    tool_use: Input | None = None
    reasoning_content: Thought | None = None


class Call(msgspec.Struct, rename="camel"):
    """Begins a call; with a `type`, of a tool that runs at the provider."""

    tool_use_id: str = ""
    name: str = ""
    type: str = ""


class BlockStart(msgspec.Struct, rename="camel"):
    """`contentBlockStart`."""

    content_block_index: int = 0
    start: dict[str, msgspec.Raw] = {}


class BlockDelta(msgspec.Struct, rename="camel"):
    """`contentBlockDelta`."""

    content_block_index: int = 0
    delta: Delta = Delta()


class Stop(msgspec.Struct, rename="camel"):
    """`messageStop`."""

    stop_reason: str = ""
    additional_model_response_fields: Any = None


class Metadata(msgspec.Struct, rename="camel"):
    """`metadata`."""

    usage: dict[str, Any] | None = None
    service_tier: Tier | None = None


class StreamEvent(msgspec.Struct, rename="camel"):
    """One of these."""

    message_start: msgspec.Raw = msgspec.Raw()
    content_block_start: BlockStart | None = None
    content_block_delta: BlockDelta | None = None
    message_stop: Stop | None = None
    metadata: Metadata | None = None


_decoder = msgspec.json.Decoder(StreamEvent)


def as_event(message: Message) -> bytes:
    """A message as one JSON object, its kind around its payload: what a reader is fed.

    Raises Invalid for a message that does not say its kind.
    """
    kinds = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}
    of = message.headers.get(":message-type", "event")
    kind = message.headers.get(kinds.get(of, "")) if isinstance(of, str) else None
    if not isinstance(kind, str) or not kind:
        raise Invalid("the upstream sent a message of an event stream that does not say its kind")
    if of == "error":
        told: dict[str, Any] = {"message": str(message.headers.get(":error-message", ""))}
        return msgspec.json.encode({"exception": {"kind": kind, "detail": told}})
    if of == "exception":
        told = decoded(message.payload)
        return msgspec.json.encode({"exception": {"kind": kind, "detail": told}})
    return msgspec.json.encode({kind: msgspec.Raw(message.payload or b"{}")})


class Failure(msgspec.Struct):
    """How `as_event` writes an error."""

    kind: str
    detail: dict[str, Any] = {}


class StreamReader:
    """Reads one stream."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        """The index of each call, by that of its block."""

    def feed(self, data: bytes) -> list[Event]:
        """What one message says, as `as_event` writes it. Raises Invalid for one that is no part
        of an answer."""
        try:
            if data.startswith(b'{"exception":'):
                return [_failed(data)]
            return list(self._events(_decoder.decode(data)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"the upstream sent what is no part of an answer: {error}") from None

    def _events(self, event: StreamEvent) -> list[Event]:
        if event.content_block_delta is not None:
            return self._delta(event.content_block_delta)
        if bytes(event.message_start) not in (b"", b"null"):
            return [Started()]
        if event.content_block_start is not None:
            return self._begin(event.content_block_start)
        if event.message_stop is not None:
            stop = event.message_stop
            fields = stop.additional_model_response_fields
            return [Ended(*read_finish(stop.stop_reason, fields, bool(self._calls)))]
        if event.metadata is not None:
            usage = read_usage(event.metadata.usage, event.metadata.service_tier)
            return [Used(usage)] if usage is not None else []
        return []

    def _begin(self, block: BlockStart) -> list[Event]:
        raw = block.start.get("toolUse")
        call = msgspec.json.decode(raw, type=Call) if raw is not None else Call(type="none")
        if call.type:
            return [foreign(kind, value) for kind, value in block.start.items()]
        index = len(self._calls)
        self._calls[block.content_block_index] = index
        return [CallBegun(index, call.tool_use_id, call.name)]

    def _delta(self, block: BlockDelta) -> list[Event]:
        delta, at = block.delta, block.content_block_index
        if delta.text:
            return [TextPiece(delta.text, at)]
        if delta.tool_use is not None and delta.tool_use.input and at in self._calls:
            return [CallPiece(self._calls[at], delta.tool_use.input)]
        thought = delta.reasoning_content
        if thought is not None and thought != Thought():
            return [
                ReasoningPiece(thought.text, thought.signature, thought.redacted_content, part=at)
            ]
        return []


def _failed(data: bytes) -> Failed:
    error = msgspec.json.decode(data, type=dict[str, Failure])["exception"]
    told = failure(error.kind, error.detail)
    return Failed(decoded(told).get("message") or error.kind, told)
