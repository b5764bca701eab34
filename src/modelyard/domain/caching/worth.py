"""Whether an answer may be kept: only what ended by itself is given again."""

from typing import Any

import msgspec

MAX_ANSWER_BYTES = 1024 * 1024
"""A larger answer is not kept: one of them would push out a thousand others."""
_FINISHED = frozenset({"stop", "tool_calls", "function_call"})


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    message: dict[str, msgspec.Raw] | None = None
    text: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    data: list[dict[str, Any]] | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Answer)
_NOTHING = frozenset({b"null", b'""', b"[]"})


def flaw(status: int, answer: bytes) -> str:
    """Why a whole (unstreamed) answer is not kept; empty when it is.

    An answer that was cut at `max_tokens` (`length`) or by a filter is not: who asks again should
    get another chance. Nor is an empty one, which more often shows a fault than an intention.
    Embeddings have no finish reason; they are kept as they are.
    """
    if status != 200:
        return "status"
    if len(answer) > MAX_ANSWER_BYTES:
        return "too_large"
    try:
        read = _decoder.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "not_readable"
    if read.error is not None:
        return "error"
    if read.choices is None:
        return "" if read.data else "empty"
    if not read.choices or any(choice.finish_reason not in _FINISHED for choice in read.choices):
        return "not_finished"
    return "" if all(map(_says_something, read.choices)) else "empty"


def _says_something(choice: _Choice) -> bool:
    if choice.text:
        return True
    message = choice.message or {}
    return any(
        bytes(message.get(name, b"null")) not in _NOTHING
        for name in ("content", "tool_calls", "function_call", "refusal")
    )
