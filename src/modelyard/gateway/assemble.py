"""An unstreamed answer put together from a stream.

Engines that go on generating for a client that left (llama.cpp does, unless it streams) are asked
to stream, and the client gets what it asked for: one JSON object, equal to the engine's own.
"""

from typing import Any

import msgspec

from modelyard.errors import Invalid

MAX_INDEX = 1024
"""Of a choice or a tool call."""
_NO_CHUNK = (AttributeError, IndexError, KeyError, TypeError, ValueError, msgspec.DecodeError,
             UnicodeDecodeError, RecursionError)  # fmt: skip
"""What merging raises when a value is of another type than its place asks for."""
_OBJECTS = {"chat.completion.chunk": "chat.completion"}


class Assembler:
    """Merges the chunks of chat and text completions."""

    def __init__(self) -> None:
        self._answer: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._told_at = ""

    def add(self, data: bytes) -> None:
        """Merge one event's JSON object. Raises Invalid for one that is no chunk of an answer."""
        try:
            chunk = msgspec.json.decode(data)
            for name, value in chunk.items():
                if name == "choices":
                    for choice in value or ():
                        self._add_choice(choice)
                elif name == "usage" and isinstance(value, dict):
                    self._take(value, chunk.get("choices"))
                elif value is not None or name not in self._answer:
                    self._answer[name] = value
        except _NO_CHUNK:
            raise Invalid("the upstream sent an event that is no part of an answer") from None

    def result(self) -> bytes:
        """The whole answer as JSON."""
        answer = dict(self._answer)
        kind = str(answer.get("object", ""))
        answer["object"] = _OBJECTS.get(kind, kind)
        choices = [self._choices[index] for index in sorted(self._choices)]
        ordered = {"id": answer.pop("id", None), "object": answer.pop("object")}
        ordered |= {"created": answer.pop("created", None), "model": answer.pop("model", None)}
        usage = answer.pop("usage", None)
        return msgspec.json.encode({**ordered, "choices": choices, "usage": usage, **answer})

    def _take(self, usage: dict[str, Any], choices: Any) -> None:
        """As `stream.Tally` does: what engines tell of each choice is added up."""
        place = "end" if not choices else "choice" if choices[0].get("finish_reason") else ""
        is_more = bool(place) and place == self._told_at
        self._answer["usage"] = _sum(self._answer["usage"], usage) if is_more else usage
        self._told_at = place

    def _add_choice(self, piece: dict[str, Any]) -> None:
        index = _index(piece.get("index", 0))
        if "delta" in piece:
            choice = self._choices.setdefault(
                index,
                {
                    "index": index,
                    "message": {"role": "assistant", "content": None},
                    "logprobs": None,
                    "finish_reason": None,
                },
            )
            _merge_delta(choice["message"], piece["delta"] or {})
        else:
            choice = self._choices.setdefault(
                index, {"index": index, "text": "", "logprobs": None, "finish_reason": None}
            )
            choice["text"] += piece.get("text") or ""
        for name, value in piece.items():
            if name == "logprobs" and value is not None:
                choice["logprobs"] = _merge_logprobs(choice["logprobs"], value)
            elif name not in ("index", "delta", "text", "logprobs") and value is not None:
                choice[name] = value


def _index(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MAX_INDEX:
        raise ValueError
    return value


def _merge_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if value is None:
            continue
        if name == "tool_calls":
            _merge_tool_calls(message.setdefault("tool_calls", []), value)
        elif name in ("role", "id"):
            message[name] = value
        else:
            message[name] = _joined(message.get(name), value)


def _joined(old: Any, new: Any) -> Any:
    """Texts and lists go on, objects (`function_call`, `audio`) grow member by member."""
    if isinstance(old, str) and isinstance(new, str):
        return old + new
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    if isinstance(new, dict):
        grown = dict(old) if isinstance(old, dict) else {}
        _merge_delta(grown, new)
        return grown
    return new


def _merge_tool_calls(calls: list[dict[str, Any]], pieces: list[dict[str, Any]]) -> None:
    for piece in pieces:
        index = _index(piece.get("index", len(calls)))
        while len(calls) <= index:
            calls.append({})
        call = calls[index]
        for name, value in piece.items():
            if name == "function":
                function = call.setdefault("function", {"name": "", "arguments": ""})
                for part, text in (value or {}).items():
                    function[part] = function.get(part, "") + (text or "")
            elif name != "index" and value is not None:
                call[name] = value


def _sum(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: _sum(old.get(name), value) for name, value in new.items()}}
    return old + new if type(old) is int and type(new) is int else new


def _merge_logprobs(old: Any, new: Any) -> Any:
    if not isinstance(old, dict):
        return new
    merged = dict(old)
    for name, value in new.items():
        earlier = merged.get(name)
        merged[name] = earlier + value if isinstance(earlier, list) and value else value or earlier
    return merged
