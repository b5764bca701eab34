"""What clients ask of kept responses by their ids: the response, its input, to delete it.

Source: `resources/responses/` of OpenAI's official SDK, and the pages of its API reference on
`GET` and `DELETE /v1/responses/{response_id}` and `GET …/input_items`.
"""

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

import msgspec

from modelyard.domain.chat import Members
from modelyard.domain.snapshot import AccessKey
from modelyard.errors import Invalid, NotFound
from modelyard.gateway.dialects.fields import UNREADABLE, is_null, is_text
from modelyard.gateway.dialects.responses.ids import Ids
from modelyard.gateway.kept.conversation import Conversation, Reader
from modelyard.lib import clock

if TYPE_CHECKING:
    from modelyard.gateway.core import Gateway

MOST_ITEMS = 100
USUAL_ITEMS = 20
_INPUT_ITEMS = "input_items"
_PREFIXES = {"reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}
_members = msgspec.json.Decoder(Members)


class _Asked(NamedTuple):
    id: str
    path: str
    """What follows the id, without its slash."""
    query: dict[str, list[str]]


def show(gateway: "Gateway", key: AccessKey, target: str) -> bytes:
    """A response, or its input items; `target` is what follows `/v1/responses/`. Raises NotFound,
    Invalid."""
    asked = _read(target)
    if asked.path == _INPUT_ITEMS:
        return msgspec.json.encode(_page(_items(gateway, key, asked.id), asked))
    if asked.path:
        raise NotFound(f"no such route: /v1/responses/{target[:100]}", code="unknown_route")
    if asked.query.get("stream") == ["true"]:
        raise Invalid(
            "a kept response is not streamed again",
            hint="ask for it without stream",
            code="unsupported_parameter",
        )
    return msgspec.json.encode(_whole(gateway, key, asked.id))


def delete(gateway: "Gateway", key: AccessKey, target: str) -> bytes:
    """Delete a response, and so all that continues from it. Raises NotFound."""
    asked = _read(target)
    reader = _reader(gateway, key)
    with gateway.kept.reading(deletes=True) as reading:
        found = reader.find(reading, asked.id) if not asked.path else None
        if found is None:
            raise _not_found(asked.id)
        reading.delete(found)
    return msgspec.json.encode({"id": asked.id, "object": "response", "deleted": True})


def _read(target: str) -> _Asked:
    path, _, query = target.partition("?")
    id, _, rest = path.partition("/")
    return _Asked(id, rest, parse_qs(query))


def _reader(gateway: "Gateway", key: AccessKey) -> Reader:
    catalog = gateway.catalog
    return Reader(
        gateway.kept, key, lambda name: catalog.service(key, name) is not None, clock.now_us()
    )


def _whole(gateway: "Gateway", key: AccessKey, id: str) -> Members:
    reader = _reader(gateway, key)
    with gateway.kept.reading() as reading:
        found = reader.find(reading, id)
        rest = reading.rest(found) if found is not None else None
    if found is None or rest is None:
        raise _not_found(id)
    return {**_members.decode(rest), "output": found.entry.output}


def _not_found(id: str) -> NotFound:
    return NotFound(f"Response with id '{id[:100]}' not found.", code="response_not_found")


# --- the input -----------------------------------------------------------------------------


def _items(gateway: "Gateway", key: AccessKey, id: str) -> list[Members]:
    """All that the answer was made from, the oldest first: what was said before it, and what was
    asked at last."""
    conversation = Conversation(_reader(gateway, key), id, gateway.settings.max_body_bytes)
    try:
        while not conversation.walk():
            continue
    except NotFound:
        raise _not_found(id) from None
    ids = Ids(id)
    return [
        _shown(item, ids, at)
        for at, raw in enumerate(conversation.input())
        if (item := _item(raw)) is not None
    ]


def _item(raw: msgspec.Raw) -> Members | None:
    """None for what is none, which an endpoint has put up with."""
    try:
        members = _members.decode(raw)
    except UNREADABLE:
        return None
    return {name: value for name, value in members.items() if not is_null(value)}


def _shown(item: Members, ids: Ids, at: int) -> Members:
    """An item as OpenAI lists it: with an id, and a message with its parts."""
    kind = _text(item.get("type")) or "message"
    shown = {"id": _raw(ids.item(_PREFIXES.get(kind, "msg"), at)), "type": _raw(kind), **item}
    content = item.get("content")
    if kind == "message" and content is not None and is_text(content):
        spoken = _text(item.get("role")) == "assistant"
        part: dict[str, Any] = {"type": "output_text" if spoken else "input_text", "text": content}
        shown["content"] = _raw([part | {"annotations": []} if spoken else part])
    if kind == "message":
        shown.setdefault("status", _raw("completed"))
    return shown


def _page(items: list[Members], asked: _Asked) -> dict[str, Any]:
    """Raises Invalid."""
    if _said(asked, "order", "desc") == "desc":
        items = items[::-1]
    after, limit = _said(asked, "after", ""), _limit(asked)
    ids = [_text(item["id"]) for item in items]
    if after and after not in ids:
        raise Invalid(f"after names {after[:100]!r}, and there is no such item")
    start = ids.index(after) + 1 if after else 0
    shown = ids[start : start + limit]
    return {
        "object": "list",
        "data": items[start : start + limit],
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
        "has_more": start + limit < len(items),
    }


def _limit(asked: _Asked) -> int:
    said = _said(asked, "limit", str(USUAL_ITEMS))
    if not said.isdecimal() or not 1 <= int(said) <= MOST_ITEMS:
        raise Invalid(f"limit is {said[:20]!r}", hint=f"it may be 1 to {MOST_ITEMS}")
    return int(said)


def _said(asked: _Asked, name: str, unsaid: str) -> str:
    return asked.query.get(name, [unsaid])[0]


def _text(raw: msgspec.Raw | None) -> str:
    try:
        value = msgspec.json.decode(raw) if raw is not None else ""
    except UNREADABLE:
        return ""
    return value if isinstance(value, str) else ""


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
