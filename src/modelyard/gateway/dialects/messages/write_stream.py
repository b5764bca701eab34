"""The stream for a client: blocks one after the other, each begun and ended, between one beginning
and one end of the message.

Source: docs.anthropic.com on streaming; `lib/streaming` of the official SDK, which follows it.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import (
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Foreign,
    ReasoningPiece,
    RefusalPiece,
    Request,
    Started,
    TextPiece,
    Usage,
    Used,
)
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.messages.answer import ending, head, message_id
from modelyard.gateway.dialects.messages.refusals import error_event
from modelyard.gateway.dialects.messages.usage import write_usage
from modelyard.gateway.dialects.messages.words import NAME

_Identity = tuple[object, ...]


class StreamWriter:
    """Writes one stream; nothing more after its end or its failure."""

    def __init__(self, request: Request, request_id: str, _now_s: int) -> None:
        """Anthropic's streams say no time."""
        self._model = request.model
        self._request_id = request_id
        self._usage: Usage | None = None
        self._ended = Ended("")
        self._has_begun = False
        self._is_over = False
        self._blocks = _Blocks()

    def write(self, event: Event) -> bytes:
        """What this event is here; empty where it is nothing yet. A `Failed` is nothing: whoever
        reads the stream then calls `fail` with what the client is to be told."""
        if self._is_over:
            return b""
        if isinstance(event, Used):
            self._usage = event.usage
            return b""
        if isinstance(event, Ended):
            self._ended = event
            return b""
        if isinstance(event, Started):
            return self._begin(event.id, event.model)
        said = self._blocks.add(event)
        return self._begin("", "") + said if said else b""

    def end(self) -> bytes:
        """The open blocks, why it ended, and what it took."""
        if self._is_over:
            return b""
        begun, rest = self._begin("", ""), self._blocks.close()
        self._is_over = True
        finish = self._ended.finish or ("tool_calls" if self._blocks.has_calls else "stop")
        delta = _event(
            {
                "type": "message_delta",
                "delta": ending(finish, self._ended.stop_sequence),
                "usage": write_usage(self._usage),
            }
        )
        return begun + rest + delta + _event({"type": "message_stop"})

    def fail(self, error: Told) -> bytes:
        """The error, and nothing that a whole stream ends with."""
        if self._is_over:
            return b""
        self._is_over = True
        return error_event(error)

    def _begin(self, identity: str, model: str) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        message = {
            **head(message_id(identity or self._request_id), model or self._model),
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(self._usage),
        }
        return _event({"type": "message_start", "message": message})


class _Blocks:
    """The one block that is open, and the calls that wait for their turn: an endpoint may mix the
    pieces of several calls, a client is told one after the other."""

    def __init__(self) -> None:
        self._index = -1
        self._open: _Identity = ()
        self._is_open = False
        self._waiting: dict[int, tuple[CallBegun, list[str]]] = {}
        self._signature = ""
        self._seen: set[int] = set()

    @property
    def has_calls(self) -> bool:
        """Whether a tool was called."""
        return bool(self._seen)

    def add(self, event: Event) -> bytes:
        match event:
            case TextPiece():
                return self._piece(("text", event.part), "text", event.text) if event.text else b""
            case RefusalPiece():
                return self._piece(("refusal",), "text", event.text) if event.text else b""
            case ReasoningPiece():
                return self._think(event)
            case CallBegun():
                return self._call(event)
            case CallPiece():
                return self._arguments(event)
            case Foreign() if event.dialect == NAME:
                return self._whole(msgspec.json.decode(event.value))
        return b""

    def close(self) -> bytes:
        """End the open block, then all that waits."""
        ended = self._stop()
        for index in sorted(self._waiting):
            begun, pieces = self._waiting.pop(index)
            ended += self._start(("call", index), _call_block(begun))
            ended += self._json("".join(pieces)) + self._stop()
        return ended

    def _piece(self, identity: _Identity, kind: str, text: str) -> bytes:
        begun = self._turn_to(identity, {"type": kind, kind: ""})
        return begun + self._delta({"type": f"{kind}_delta", kind: text})

    def _think(self, event: ReasoningPiece) -> bytes:
        if event.encrypted and not (event.text or event.signature):
            return self._whole({"type": "redacted_thinking", "data": event.encrypted})
        identity = ("thinking", event.part, event.is_summary)
        if not event.text and not event.signature:
            return b""
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        said = self._turn_to(identity, empty)
        self._signature = event.signature or self._signature
        if event.text:
            said += self._delta({"type": "thinking_delta", "thinking": event.text})
        return said

    def _call(self, event: CallBegun) -> bytes:
        """Another call may still be open: its arguments are whole only when the stream ends, or
        when something else begins; the next one waits so long."""
        self._seen.add(event.index)
        if self._open[:1] == ("call",) and self._is_open:
            self._waiting[event.index] = (event, [])
            return b""
        return self._turn_to(("call", event.index), _call_block(event))

    def _arguments(self, event: CallPiece) -> bytes:
        if self._is_open and self._open == ("call", event.index):
            return self._json(event.arguments)
        if event.index in self._waiting:
            self._waiting[event.index][1].append(event.arguments)
        return b""

    def _whole(self, block: dict[str, Any]) -> bytes:
        return self.close() + self._start(("whole",), block) + self._stop()

    def _turn_to(self, identity: _Identity, block: dict[str, Any]) -> bytes:
        if self._is_open and self._open == identity:
            return b""
        return self.close() + self._start(identity, block)

    def _start(self, identity: _Identity, block: dict[str, Any]) -> bytes:
        self._index += 1
        self._open, self._is_open = identity, True
        return _event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _json(self, text: str) -> bytes:
        return self._delta({"type": "input_json_delta", "partial_json": text}) if text else b""

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _stop(self) -> bytes:
        """A thought is signed at its end, with an empty signature where its maker has none."""
        if not self._is_open:
            return b""
        self._is_open = False
        signed = b""
        if self._open[:1] == ("thinking",):
            signed = self._delta({"type": "signature_delta", "signature": self._signature})
            self._signature = ""
        return signed + _event({"type": "content_block_stop", "index": self._index})


def _call_block(event: CallBegun) -> dict[str, Any]:
    return {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), msgspec.json.encode(data))
