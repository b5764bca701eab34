"""Parts of a message's content, both directions: texts, images, sounds, files.

Source: `chat_completion_content_part_*_param.py` of OpenAI's official SDK; Mistral's reference for
`thinking`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from modelyard.domain.chat import (
    Audio,
    File,
    Foreign,
    Image,
    Members,
    Part,
    Refusal,
    Text,
    Thinking,
)
from modelyard.gateway.dialects import refusals
from modelyard.gateway.dialects.fields import Fields, elements, is_text

NAME = "chat"
unsupported_content = partial(refusals.unsupported_content, "chat completions")
BETWEEN_TEXTS = "\n\n"
"""What stands between texts that become one string."""
_PDF = "application/pdf"
_BARE = {"type", "text"}
_OF_TOOL = frozenset({"text", "image_url", "file"})
"""Kinds that the neutral result of a tool can hold; any other is kept whole."""


def read_parts(raw: msgspec.Raw | None, path: str, *, of_tool: bool = False) -> tuple[Part, ...]:
    """The content of a message: nothing, a string, or a list of parts.

    Parts of kinds that OpenAI does not have are kept whole. Raises Invalid with the path of a part
    that is wrong, such as `messages[2].content[0].type`.
    """
    if raw is None:
        return ()
    if is_text(raw):
        return (Text(msgspec.json.decode(raw, type=str)),)
    return tuple(
        _part(value, at, of_tool) for value, at in elements(raw, path, "a string or a list")
    )


def _part(raw: msgspec.Raw, path: str, of_tool: bool) -> Part:
    fields = Fields(raw, path)
    kind = fields.name("type")
    read = _READ.get(kind)
    if read is None or (of_tool and kind not in _OF_TOOL):
        return Foreign(NAME, kind, raw)
    return read(fields)


def _text(fields: Fields) -> Text:
    return Text(fields.said("text"), fields.rest())


def _image(fields: Fields) -> Image:
    raw = fields.needed("image_url")
    if is_text(raw):  # Mistral's shape, which many clients send
        return Image(fields.name("image_url"), extra=fields.rest())
    inner = fields.inner("image_url")
    url, detail = inner.name("url"), inner.text("detail")
    return Image(url, detail=detail, extra={**inner.rest(), **fields.rest()})


def _audio(fields: Fields) -> Audio:
    inner = fields.inner("input_audio")
    data, form = inner.name("data"), inner.name("format")
    return Audio(data, form, {**inner.rest(), **fields.rest()})


def _file(fields: Fields) -> File:
    inner = fields.inner("file")
    data, file_id = inner.text("file_data"), inner.text("file_id")
    name = inner.text("filename")
    if not (data or file_id):
        inner.needed("file_data")
    return File(_url(data, name), file_id, name=name, extra={**inner.rest(), **fields.rest()})


def _url(data: str, name: str) -> str:
    """Some clients send bare base64."""
    if not data or data.startswith(("data:", "https:", "http:")):
        return data
    kind = _PDF if name.lower().endswith(".pdf") or not name else "application/octet-stream"
    return f"data:{kind};base64,{data}"


def _refusal(fields: Fields) -> Refusal:
    return Refusal(fields.said("refusal"))


def _thinking(fields: Fields) -> Thinking:
    """Mistral's: a list of texts."""
    parts = read_parts(fields.needed("thinking"), fields.at("thinking"))
    text = "".join(part.text for part in parts if isinstance(part, Text))
    return Thinking(text, fields.text("signature"))


_READ: dict[str, Callable[[Fields], Part]] = {
    "text": _text, "image_url": _image, "input_audio": _audio, "file": _file,
    "refusal": _refusal, "thinking": _thinking,
}  # fmt: skip


def write_content(parts: list[tuple[Part, str]], own: bool) -> str | list[Any]:
    """What a user says; each part comes with its path. Texts alone become one string: engines
    without eyes fail on lists. With `own` the members are in this dialect's words.

    Raises Invalid (`unsupported_content`).
    """
    written = [write_part(part, path, own) for part, path in parts]
    texts = [part["text"] for part in written if isinstance(part, dict) and set(part) == _BARE]
    return joined(texts) if len(texts) == len(written) else written


def joined(texts: Any) -> str:
    """Texts as one."""
    return BETWEEN_TEXTS.join(text for text in texts if text)


def write_part(part: Part, path: str, own: bool) -> dict[str, Any] | msgspec.Raw:
    """One part. What other dialects know beside it (`cache_control`, `citations`) are hints, and
    are left out. Raises Invalid (`unsupported_content`) for what has no word here."""
    match part:
        case Text():
            return {"type": "text", "text": part.text, **_extra(part.extra, own)}
        case Image(url=url) if url:
            detail = {"detail": part.detail} if part.detail else {}
            image = {"url": url, **detail}
            return {"type": "image_url", "image_url": image, **_extra(part.extra, own)}
        case Audio():
            sound = {"data": part.data, "format": part.format}
            return {"type": "input_audio", "input_audio": sound, **_extra(part.extra, own)}
        case File():
            return _file_written(part, path, own)
        case Foreign(dialect="chat"):
            return part.value
        case Foreign():
            raise unsupported_content(path, f"a part of the kind {part.kind!r}")
        case Image():
            raise unsupported_content(path, "the id of an uploaded image")
    raise unsupported_content(path, f"a part of the kind {type(part).__name__}")


def _file_written(part: File, path: str, own: bool) -> dict[str, Any]:
    """A text is written as such: every engine reads it. There is no word for a file's address, and
    ids are known only where the file was uploaded."""
    if part.text:
        return {"type": "text", "text": file_text(part), **_extra(part.extra, own)}
    if part.url.startswith("data:") or (part.url and own):
        name = part.name or ("file.pdf" if part.url.startswith(f"data:{_PDF}") else "file")
        file = {"filename": name, "file_data": part.url}
    elif part.url:
        raise unsupported_content(path, "the address of a file")
    else:
        file = {"file_id": part.file_id} | ({"filename": part.name} if part.name else {})
    return {"type": "file", "file": file, **_extra(part.extra, own)}


def file_text(part: File) -> str:
    """A document of plain text, under its name."""
    return f"{part.name}\n\n{part.text}" if part.name else part.text


def _extra(extra: Members, own: bool) -> Members:
    return extra if own else {}
