"""Items of the kind `reasoning`: what a model thought, both directions.

One item may hold several summaries and several texts, and at its end what only its maker can
read. Neutral thoughts are one text each; those of one item stand together and share its id.

Anthropic's thinking has a signature for which this dialect has no member. It travels in
`encrypted_content`, which clients send back untouched; together with the text, which some of
them do not send back.

Source: `response_reasoning_item.py` of OpenAI's official SDK.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from modelyard.domain.chat import Thinking
from modelyard.gateway.dialects.fields import UNREADABLE, Fields

_SIGNED = "signed.1."
"""Begins what this gateway has put into `encrypted_content` itself."""


class _Signed(msgspec.Struct, array_like=True):
    signature: str
    text: str


def read_reasoning(fields: Fields) -> list[Thinking]:
    """The thoughts of an item; what closes it is at the last one. Raises Invalid."""
    id, sealed = fields.text("id"), fields.text("encrypted_content")
    thoughts = [
        Thinking(text, id=id, is_summary=is_summary)
        for is_summary, _, text in reasoning_texts(fields)
        if text
    ]
    return closed(thoughts, sealed, id)


def reasoning_texts(fields: Fields) -> Iterator[tuple[bool, int, str]]:
    """Whether it is a summary, its index among such, and the text, for all texts of an item."""
    for member in ("summary", "content"):
        for index, (raw, path) in enumerate(fields.list(member)):
            yield member == "summary", index, Fields(raw, path).said("text")


def closed(thoughts: list[Thinking], sealed: str, id: str) -> list[Thinking]:
    """The thoughts of one item with its `encrypted_content` at the last of them."""
    signed = unsealed(sealed)
    last = thoughts[-1] if thoughts else Thinking(id=id)
    if signed is not None:
        last = msgspec.structs.replace(last, text=signed.text, signature=signed.signature)
    else:
        last = msgspec.structs.replace(last, encrypted=sealed)
    return [*thoughts[:-1], last] if thoughts or sealed or id else []


def seal(encrypted: str, signature: str, text: str) -> str:
    """What goes into `encrypted_content`."""
    if encrypted or not signature:
        return encrypted
    packed = msgspec.json.encode(_Signed(signature, text))
    return _SIGNED + base64.urlsafe_b64encode(packed).decode()


def unsealed(sealed: str) -> _Signed | None:
    """The signature that `seal` put there; None where it is somebody else's secret."""
    if not sealed.startswith(_SIGNED):
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(sealed[len(_SIGNED) :]), type=_Signed)
    except (*UNREADABLE, binascii.Error, ValueError):
        return None


def is_closed(thought: Thinking) -> bool:
    """Whether nothing more of the same item can follow."""
    return bool(thought.signature or thought.encrypted)


def reasoning_item(id: str, thoughts: Iterable[Thinking]) -> dict[str, Any]:
    """An item of an answer."""
    item: dict[str, Any] = {"type": "reasoning", "id": id, "summary": []}
    content: list[dict[str, str]] = []
    for thought in thoughts:
        if thought.text:
            kind = "summary_text" if thought.is_summary else "reasoning_text"
            into = item["summary"] if thought.is_summary else content
            into.append({"type": kind, "text": thought.text})
        if sealed := seal(thought.encrypted, thought.signature, thought.text):
            item["encrypted_content"] = sealed
    return item | ({"content": content} if content else {})
