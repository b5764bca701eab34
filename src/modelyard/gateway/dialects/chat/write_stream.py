"""The stream for a client.

The first chunk says the role, the last ones why the answer ended and, where it was asked for, what
it took; then comes `[DONE]`, and only after a whole answer.

Source: `chat_completion_chunk.py` of OpenAI's official SDK; the API reference for `stream_options`.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import (
    CallBegun,
    CallPiece,
    Ended,
    Event,
    ReasoningPiece,
    RefusalPiece,
    Request,
    Started,
    TextPiece,
    Thinking,
    Usage,
    Used,
)
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.chat.finish import write_finish
from modelyard.gateway.dialects.chat.reasoning import write_details
from modelyard.gateway.dialects.chat.tools import custom_tools, unwrapped
from modelyard.gateway.dialects.chat.usage import write_usage, written_tier
from modelyard.gateway.dialects.openai import envelope

_DONE = b"data: [DONE]\n\n"


class StreamWriter:
    """Writes one stream; nothing more after its end or its failure."""

    def __init__(self, request: Request, request_id: str, now_s: int) -> None:
        self._request = request
        self._request_id = request_id
        self._now_s = now_s
        self._head = b""
        """What every chunk begins with; empty until the first."""
        self._usage: Usage | None = None
        self._calls = _Calls(request, request_id)
        self._thoughts = _Thoughts()
        self._has_refusal = False
        self._has_ended = False
        self._is_over = False

    def write(self, event: Event) -> bytes:
        """What this event is here; empty where it is nothing yet. A `Failed` is nothing: whoever
        reads the stream then calls `fail` with what the client is to be told."""
        if isinstance(event, Used):
            self._usage = event.usage
            return b""
        if self._is_over or self._has_ended:
            return b""
        if isinstance(event, Started):
            return self._begin(event)
        if isinstance(event, Ended):
            return self._end(event.finish)
        deltas = self._deltas(event)
        return self._begin(Started()) + b"".join(map(self._chunk, deltas)) if deltas else b""

    def end(self) -> bytes:
        """The usage, if the client asked for it and it is known, and `[DONE]`."""
        if self._is_over:
            return b""
        last = b"" if self._has_ended else self._end("tool_calls" if self._calls else "stop")
        self._is_over = True
        return last + self._used() + _DONE

    def fail(self, error: Told) -> bytes:
        """The error, and no `[DONE]`."""
        if self._is_over:
            return b""
        self._is_over = True
        return b"data: %b\n\n" % envelope(error)

    def _begin(self, event: Started) -> bytes:
        if self._head:
            return b""
        start = {
            "id": event.id or self._request_id,
            "object": "chat.completion.chunk",
            "created": event.created_s or self._now_s,
            "model": event.model or self._request.model,
        }
        self._head = msgspec.json.encode(start)[:-1]
        return self._chunk({"role": "assistant", "content": ""})

    def _end(self, finish: str) -> bytes:
        self._has_ended = True
        begun = self._begin(Started())
        rest = b"".join(map(self._chunk, self._calls.rest()))
        word = write_finish(finish, self._has_refusal, self._request.legacy_functions)
        return begun + rest + self._chunk({}, word)

    def _deltas(self, event: Event) -> list[dict[str, Any]]:
        match event:
            case TextPiece(text=text) if text:
                return [{"content": text}]
            case RefusalPiece(text=text) if text:
                self._has_refusal = True
                return [{"refusal": text}]
            case ReasoningPiece():
                return self._thoughts.add(event)
            case CallBegun():
                return self._calls.begin(event)
            case CallPiece():
                return self._calls.add(event)
        return []

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        """`usage` is null on each chunk but the last where it was asked for."""
        return (
            b'data: %b,"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b}\n\n'
            % (
                self._head,
                msgspec.json.encode(delta),
                msgspec.json.encode(finish),
                b',"usage":null' if self._request.include_usage else b"",
            )
        )

    def _used(self) -> bytes:
        if self._usage is None or not self._request.include_usage:
            return b""
        told = {"choices": [], "usage": write_usage(self._usage), **written_tier(self._usage)}
        return b"data: %b,%b\n\n" % (self._head, msgspec.json.encode(told)[1:])


class _Thoughts:
    """Thoughts in the words of engines, and beside them as clients keep those that must be
    recognised again: pieces of one thought have one index."""

    __slots__ = ("_number", "_part")

    def __init__(self) -> None:
        self._part: tuple[int, bool] | None = None
        self._number = -1

    def add(self, piece: ReasoningPiece) -> list[dict[str, Any]]:
        if self._part != (piece.part, piece.is_summary):
            self._part = (piece.part, piece.is_summary)
            self._number += 1
        details = write_details(
            Thinking(piece.text, piece.signature, piece.encrypted, piece.id, piece.is_summary),
            self._number,
        )
        text = {"reasoning_content": piece.text} if piece.text else {}
        return [{**text, "reasoning_details": details}] if details else []


class _Calls:
    """Calls of tools. One of a tool that the client declared as custom, but that comes as a
    function's, is gathered until it is complete: only then its text can be told."""

    __slots__ = ("_begun", "_custom", "_empty", "_gathered", "_is_legacy", "_prefix")

    def __init__(self, request: Request, request_id: str) -> None:
        self._custom = custom_tools(request)
        self._is_legacy = request.legacy_functions
        self._prefix = f"call_{request_id}"
        self._begun: dict[int, bool] = {}
        """Whether each call carries free text."""
        self._gathered: dict[int, list[str]] = {}
        self._empty: set[int] = set()
        """Functions whose arguments have not come: clients expect an object at least."""

    def __bool__(self) -> bool:
        return bool(self._begun)

    def begin(self, call: CallBegun) -> list[dict[str, Any]]:
        is_custom = call.custom or call.name in self._custom
        if is_custom and not call.custom:
            self._gathered[call.index] = []
        elif not is_custom:
            self._empty.add(call.index)
        self._begun[call.index] = is_custom
        named = {"name": call.name, "input" if is_custom else "arguments": ""}
        if self._is_legacy:
            return [{"function_call": named}] if len(self._begun) == 1 else []
        kind = "custom" if is_custom else "function"
        call_id = call.id or f"{self._prefix}_{call.index}"
        return [{
            "tool_calls": [{"index": call.index, "id": call_id, "type": kind, kind: named}]
        }]  # fmt: skip

    def add(self, piece: CallPiece) -> list[dict[str, Any]]:
        if not piece.arguments or piece.index not in self._begun:
            return []
        if piece.index in self._gathered:
            self._gathered[piece.index].append(piece.arguments)
            return []
        self._empty.discard(piece.index)
        return self._piece(piece.index, piece.arguments)

    def rest(self) -> list[dict[str, Any]]:
        """What was gathered, and what never came."""
        texts = dict.fromkeys(sorted(self._empty), "{}")
        texts |= {index: unwrapped("".join(pieces)) for index, pieces in self._gathered.items()}
        self._gathered, self._empty = {}, set()
        return [delta for index, text in texts.items() for delta in self._piece(index, text)]

    def _piece(self, index: int, text: str) -> list[dict[str, Any]]:
        if self._is_legacy:
            is_first = index == next(iter(self._begun))
            return [{"function_call": {"arguments": text}}] if is_first else []
        kind, member = ("custom", "input") if self._begun[index] else ("function", "arguments")
        return [{"tool_calls": [{"index": index, kind: {member: text}}]}]
