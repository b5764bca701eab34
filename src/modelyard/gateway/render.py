"""A whole answer told again, in the form that the client asked for.

Values keep the bytes that the engine wrote; what is put around them is what OpenAI's streams look
like, so that a client cannot tell a kept answer from a fresh one (but for the header that says so).
"""

from collections.abc import Iterator
from typing import Any

import msgspec

Members = dict[str, msgspec.Raw]

_members = msgspec.json.Decoder(Members)
_choices = msgspec.json.Decoder(list[Members])
_NULL = msgspec.Raw(b"null")
_ASSISTANT = msgspec.Raw(b'"assistant"')
_WITHOUT_VALUE = frozenset({b"null", b'""', b"[]"})
_PLACED = frozenset({"role", "content", "tool_calls"})


def as_whole(answer: bytes) -> bytes:
    """The answer itself."""
    return answer


def as_stream(answer: bytes, *, include_usage: bool) -> bytes:
    """A chat or text completion as server-sent events, `[DONE]` included.

    Per choice: the role, then reasoning and the like, the text, the tool calls, the end. The extra
    usage chunk comes where the client asked for it and the answer has one. Raises
    msgspec.DecodeError when `answer` is neither.
    """
    frame = _members.decode(answer)
    choices = _choices.decode(frame.pop("choices", b""))
    usage = frame.pop("usage", _NULL)
    chat = any("message" in choice for choice in choices)
    if chat:
        frame["object"] = msgspec.Raw(b'"chat.completion.chunk"')
    telling = _chat_pieces if chat else _text_pieces
    extra = {"usage": None} if include_usage else {}
    chunks: list[dict[str, Any]] = [
        {**frame, "choices": [piece], **extra} for choice in choices for piece in telling(choice)
    ]
    if include_usage and bytes(usage) != b"null":
        chunks.append({**frame, "choices": [], "usage": usage})
    events = (b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in chunks)
    return b"".join(events) + b"data: [DONE]\n\n"


def _chat_pieces(choice: Members) -> Iterator[dict[str, Any]]:
    message = _members.decode(choice.pop("message", b"{}"))
    content = message.get("content", _NULL)
    opening = _NULL if bytes(content) == b"null" else ""
    rest = {
        name: value
        for name, value in message.items()
        if name not in _PLACED and bytes(value) != b"null"
    }
    logprobs = choice.pop("logprobs", _NULL)
    ending, blank = _ending(choice)
    role = message.get("role", _ASSISTANT)
    yield {**blank, "delta": {"role": role, "content": opening}, "logprobs": None}
    if rest:
        yield {**blank, "delta": rest, "logprobs": None}
    if _has_value(content) or bytes(logprobs) != b"null":
        yield {**blank, "delta": {"content": content}, "logprobs": logprobs}
    if _has_value(message.get("tool_calls", _NULL)):
        calls = enumerate(_choices.decode(message["tool_calls"]))
        delta = {"tool_calls": [{"index": index, **call} for index, call in calls]}
        yield {**blank, "delta": delta, "logprobs": None}
    yield {**ending, "delta": {}, "logprobs": None}


def _text_pieces(choice: Members) -> Iterator[dict[str, Any]]:
    text = choice.pop("text", msgspec.Raw(b'""'))
    logprobs = choice.pop("logprobs", _NULL)
    ending, blank = _ending(choice)
    yield {**blank, "text": text, "logprobs": logprobs}
    yield {**ending, "text": "", "logprobs": None}


def _ending(choice: Members) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is left of a choice: for its last piece whole, for the others without an end."""
    return dict(choice), {"index": choice.get("index", 0), "finish_reason": None}


def _has_value(value: msgspec.Raw) -> bool:
    return bytes(value) not in _WITHOUT_VALUE
