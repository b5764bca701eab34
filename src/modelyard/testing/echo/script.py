"""What the echo engine says: its answer to a question, piece by piece, before anything is sent."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from modelyard.testing.echo.behaviour import Behaviour

_WORD = re.compile(r"\S+\s*")
_PIECE = re.compile(r"\s*\S+\s*|\s+")


class Script(NamedTuple):
    """All that one choice says; each piece is one token."""

    reasoning: Sequence[str]
    pieces: Sequence[str]
    """Of the text, or of the arguments where a tool is called."""
    finish_reason: str
    tool: str = ""
    """The name of the function that is called; empty for text."""

    def __len__(self) -> int:
        return len(self.reasoning) + len(self.pieces)


def prompt_words(question: Mapping[str, Any]) -> list[str]:
    """The whole rendered prompt: the words of all messages, or of the prompt."""
    messages = question.get("messages")
    if messages is None:
        prompt = question.get("prompt", "")
        return " ".join(map(str, prompt) if isinstance(prompt, list) else [str(prompt)]).split()
    return [word for message in messages for word in _text(message).split()]


def write(question: Mapping[str, Any], behaviour: Behaviour, index: int) -> Script:
    """What choice `index` says; each begins one word later, so that they can be told apart."""
    question = {name: it for name, it in question.items() if name not in behaviour.ignore}
    words = _asked(question) or ["echo"]
    start = index % len(words)
    words = words[start:] + words[:start]
    reasoning = [f"{_nth(words, number)} " for number in range(behaviour.reasoning_tokens)]
    tool = called(question)
    if behaviour.say:
        pieces, reason = _told(question, behaviour.say), "tool_calls" if tool else "stop"
    elif tool:
        pieces, reason = _arguments(tool, words), "tool_calls"
    else:
        count = behaviour.tokens or len(words)
        pieces, reason = [f"{_nth(words, number)} " for number in range(count)], "stop"
    limit = _limit(question)
    if limit is not None and len(reasoning) + len(pieces) > limit:
        reasoning, reason = reasoning[:limit], "length"
        pieces = pieces[: limit - len(reasoning)]
    name = (behaviour.call or str(tool.get("name", ""))) if tool else ""
    return Script(reasoning, pieces, behaviour.finish or reason, name)


def _told(question: Mapping[str, Any], texts: Sequence[str]) -> list[str]:
    """The text whose turn it is: one for each answer that the conversation has."""
    messages = question.get("messages") or ()
    turn = sum(message.get("role") == "assistant" for message in messages)
    return _PIECE.findall(texts[min(turn, len(texts) - 1)])


def called(question: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function that must be called: the named one, the first where one is required."""
    functions = [tool.get("function", {}) for tool in question.get("tools") or ()]
    choice = question.get("tool_choice")
    if not functions or choice in (None, "auto", "none"):
        return {}
    if isinstance(choice, Mapping):
        name = choice.get("function", {}).get("name")
        return next((one for one in functions if one.get("name") == name), {})
    return functions[0] if choice == "required" else {}


def _arguments(tool: Mapping[str, Any], words: Sequence[str]) -> list[str]:
    """Arguments that fit the schema's types; the words go where text is wanted."""
    empty = {"integer": 0, "number": 0, "boolean": False, "array": [], "object": {}, "null": None}
    properties = (tool.get("parameters") or {}).get("properties") or {}
    filled = {
        name: empty.get(schema.get("type", "string"), " ".join(words))
        for name, schema in properties.items()
    }
    return _WORD.findall(msgspec.json.encode(filled).decode())


def _asked(question: Mapping[str, Any]) -> list[str]:
    messages = question.get("messages")
    return _text(messages[-1]).split() if messages else prompt_words(question)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content)
    return str(content)


def _nth(words: Sequence[str], number: int) -> str:
    return words[number % len(words)]


def _limit(question: Mapping[str, Any]) -> int | None:
    limit = question.get("max_completion_tokens") or question.get("max_tokens")
    return int(limit) if limit else None
