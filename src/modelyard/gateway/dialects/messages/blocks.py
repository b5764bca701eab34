"""Content blocks of a client's request, read.

Source: `*_block_param.py` of Anthropic's official SDK.
"""

from collections.abc import Callable

import msgspec

from modelyard.domain.chat import (
    File,
    Foreign,
    Image,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from modelyard.gateway.dialects.fields import Fields, elements, is_text, wrong
from modelyard.gateway.dialects.messages.words import NAME

EMPTY = msgspec.Raw(b"{}")


def read_blocks(raw: msgspec.Raw, path: str) -> tuple[Part, ...]:
    """A string or a list of blocks. Raises Invalid with the path of what is wrong."""
    if is_text(raw):
        return (Text(msgspec.json.decode(raw, type=str)),)
    return tuple(_block(value, at) for value, at in elements(raw, path, "a string or a list"))


def _block(raw: msgspec.Raw, path: str) -> Part:
    fields = Fields(raw, path)
    kind = fields.name("type")
    read = _KINDS.get(kind)
    return read(fields, raw) if read is not None else Foreign(NAME, kind, raw)


def _text(fields: Fields, _: msgspec.Raw) -> Part:
    text = fields.said("text")
    return Text(text, fields.rest())


def _image(fields: Fields, raw: msgspec.Raw) -> Part:
    source = fields.inner("source")
    kind = source.name("type")
    if kind == "base64":
        return Image(url=_data_url(source), extra=fields.rest())
    if kind == "url":
        return Image(url=source.name("url"), extra=fields.rest())
    if kind == "file":
        return Image(file_id=source.name("file_id"), extra=fields.rest())
    raise wrong(f"{source.at('type')} is {kind!r}", "it may be base64, url or file")


def _document(fields: Fields, raw: msgspec.Raw) -> Part:
    source = fields.inner("source")
    kind, name = source.name("type"), fields.text("title")
    if kind == "base64":
        return File(url=_data_url(source), name=name, extra=fields.rest())
    if kind == "url":
        return File(url=source.name("url"), name=name, extra=fields.rest())
    if kind == "file":
        return File(file_id=source.name("file_id"), name=name, extra=fields.rest())
    if kind == "text":
        return File(text=source.said("data"), name=name, extra=fields.rest())
    return Foreign(NAME, "document", raw)  # `content`: blocks inside a document


def _data_url(source: Fields) -> str:
    return f"data:{source.name('media_type')};base64,{source.name('data')}"


def _thinking(fields: Fields, _: msgspec.Raw) -> Part:
    return Thinking(fields.said("thinking"), fields.text("signature"), extra=fields.rest())


def _redacted(fields: Fields, _: msgspec.Raw) -> Part:
    return Thinking(encrypted=fields.name("data"), extra=fields.rest())


def _call(fields: Fields, _: msgspec.Raw) -> Part:
    call_id, name = fields.name("id"), fields.name("name")
    given = fields.raw("input") or EMPTY
    Fields(given, fields.at("input"))
    return ToolCall(call_id, name, bytes(given).decode(), extra=fields.rest())


def _result(fields: Fields, _: msgspec.Raw) -> Part:
    call_id, is_error = fields.name("tool_use_id"), fields.flag("is_error") or False
    raw = fields.raw("content")
    parts = read_blocks(raw, fields.at("content")) if raw is not None else ()
    kept = tuple(part for part in parts if isinstance(part, Text | Image | File | Foreign))
    return ToolResult(call_id, kept, is_error, extra=fields.rest())


_KINDS: dict[str, Callable[[Fields, msgspec.Raw], Part]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _call,
    "tool_result": _result,
}
