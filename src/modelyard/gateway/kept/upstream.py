"""A request with kept turns in it, for an endpoint of the dialect that has stored none of them.

Such an endpoint finds what a model thought in no store of its own. Thoughts come back to it sealed
(`encrypted_content`), which OpenAI sends when it is asked to, or as text; one that has neither is
left out, and with it the ids of the items that followed from it, by which OpenAI would miss it.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Members
from modelyard.gateway.dialects.fields import UNREADABLE

_SEALING = frozenset({"openai", "azure"})
"""Providers that seal thoughts when they are asked to."""
_SEALED = "reasoning.encrypted_content"


class _Thought(msgspec.Struct):
    type: str = ""
    encrypted_content: str | None = None
    content: list[msgspec.Raw] | None = None

    @property
    def is_bare(self) -> bool:
        """Whether nobody but the one who stored it knows what it says."""
        return self.type == "reasoning" and not self.encrypted_content and not self.content


class _Effort(msgspec.Struct):
    effort: str | None = None


_members = msgspec.json.Decoder(Members)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_thoughts = msgspec.json.Decoder(_Thought)
_efforts = msgspec.json.Decoder(_Effort | None)
_names = msgspec.json.Decoder(list[str] | None)


def for_upstream(body: bytes, recalled: int, provider_kind: str) -> bytes:
    """The body for such an endpoint; its first `recalled` items are from earlier turns."""
    members = _members.decode(body)
    changed: dict[str, Any] = {}
    if recalled and b'"reasoning"' in body:
        items = _items.decode(members["input"])
        changed["input"] = [*_without_bare_thoughts(items[:recalled]), *items[recalled:]]
    if provider_kind in _SEALING and _thinks(members.get("reasoning")):
        changed["include"] = _with_seals(members.get("include"))
    return msgspec.json.encode({**members, **changed}) if changed else body


def _without_bare_thoughts(items: list[msgspec.Raw]) -> list[msgspec.Raw | Members]:
    kept: list[msgspec.Raw | Members] = []
    is_missed = False
    for item in items:
        thought = _read(item)
        if thought.is_bare:
            is_missed = True
            continue
        # A call's answer and whoever speaks next begin something new.
        is_missed = is_missed and _follows(item, thought)
        kept.append(_without_id(item) if is_missed else item)
    return kept


def _read(item: msgspec.Raw) -> _Thought:
    try:
        return _thoughts.decode(item)
    except UNREADABLE:
        return _Thought()


def _follows(item: msgspec.Raw, read: _Thought) -> bool:
    """Whether it is something that the model said after it thought."""
    if read.type == "message" or not read.type:
        return bytes(_members.decode(item).get("role", b"")) == b'"assistant"'
    return read.type != "reasoning" and not read.type.endswith("_output")


def _without_id(item: msgspec.Raw) -> Members:
    return {name: value for name, value in _members.decode(item).items() if name != "id"}


def _thinks(reasoning: msgspec.Raw | None) -> bool:
    try:
        asked = _efforts.decode(reasoning) if reasoning is not None else None
    except UNREADABLE:
        return False
    return asked is not None and asked.effort != "none"


def _with_seals(include: msgspec.Raw | None) -> list[str] | msgspec.Raw:
    try:
        names = _names.decode(include) if include is not None else []
    except UNREADABLE:
        return include or msgspec.Raw(b"null")  # the endpoint says what is wrong with it
    return list(dict.fromkeys([*(names or []), _SEALED]))
