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
_EMPTY = frozenset({b"", b"null", b'""', b"[]"})


class _Item(msgspec.Struct):
    type: str = "message"
    role: msgspec.Raw = msgspec.Raw()
    encrypted_content: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()

    @property
    def is_bare_thought(self) -> bool:
        """Whether nobody but the one who stored it knows what it says."""
        said = {bytes(self.encrypted_content), bytes(self.content)}
        return self.type == "reasoning" and said <= _EMPTY

    @property
    def is_said_by_the_model(self) -> bool:
        """Whether it may be what a thought led to."""
        if self.type == "message":
            return bytes(self.role) == b'"assistant"'
        return self.type != "reasoning" and not self.type.endswith("_output")


class _Effort(msgspec.Struct):
    effort: str | None = None


_members = msgspec.json.Decoder(Members)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_item = msgspec.json.Decoder(_Item)
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
    for raw in items:
        item = _read(raw)
        if item.is_bare_thought:
            is_missed = True
            continue
        # A call's answer and whoever speaks next begin something new.
        is_missed = is_missed and item.is_said_by_the_model
        kept.append(_without_id(raw) if is_missed else raw)
    return kept


def _read(raw: msgspec.Raw) -> _Item:
    """What is no item is for the endpoint to complain of."""
    try:
        return _item.decode(raw)
    except UNREADABLE:
        return _Item()


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
