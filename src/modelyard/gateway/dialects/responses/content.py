"""Parts of messages: texts, images, files, sounds. Both directions.

Source: `response_input_content_param.py` and `response_output_text.py` of OpenAI's official SDK.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from modelyard.domain.chat import Audio, File, Foreign, Image, Members, Part, Refusal, Text
from modelyard.gateway.dialects.fields import Fields, elements, is_text, wrong
from modelyard.gateway.dialects.responses.refusals import unsupported_content

NAME = "responses"
_FOREIGN = frozenset({"computer_screenshot", "input_video"})
_PDF = "application/pdf"
_EMPTY_LIST = b"[]"


def read_parts(
    raw: msgspec.Raw | None, path: str, *, of_tool: bool = False, of_answer: bool = False
) -> tuple[Part, ...]:
    """The content of a message or of a tool's output: a string, or a list of parts.

    Raises Invalid with the path of a part that is wrong, such as `input[2].content[0].type`. In an
    answer a part of an unknown kind is no mistake of the client's, and is kept as it is.
    """
    if raw is None:
        return ()
    if is_text(raw):
        return (Text(msgspec.json.decode(raw, type=str)),)
    values = elements(raw, path, "a string or a list")
    return tuple(_part(value, at, of_tool, of_answer) for value, at in values)


def _part(raw: msgspec.Raw, path: str, of_tool: bool, of_answer: bool) -> Part:
    fields = Fields(raw, path)
    kind = fields.name("type")
    if kind in _FOREIGN or (of_answer and kind not in _READ):
        return Foreign(NAME, kind, raw)
    read = _READ.get(kind)
    if read is None or (of_tool and kind in ("input_audio", "refusal")):
        known = "input_text, input_image, input_file"
        raise wrong(
            f"{fields.at('type')} is {kind!r}, which is no kind of content here",
            hint=f"it may be {known}" + ("" if of_tool else ", input_audio, output_text, refusal"),
        )
    return read(fields)


def _text(fields: Fields) -> Text:
    text = fields.said("text")
    extra = {
        name: value for name, value in fields.rest().items() if bytes(value) != _EMPTY_LIST
    }  # no annotations and no logprobs say nothing
    return Text(text, extra)


def _image(fields: Fields) -> Image:
    raw, file_id = fields.raw("image_url"), fields.text("file_id")
    if raw is None and not file_id:
        raise wrong(f"{fields.path} has neither image_url nor file_id")
    url, detail = "", fields.text("detail")
    if raw is not None and is_text(raw):
        url = fields.text("image_url")
    elif raw is not None:  # the shape of chat completions, which many clients send here as well
        inner = Fields(raw, fields.at("image_url"))
        url, detail = inner.name("url"), inner.text("detail") or detail
    return Image(url, file_id, detail, fields.rest())


def _file(fields: Fields) -> File:
    url, data = fields.text("file_url"), fields.text("file_data")
    file_id, name = fields.text("file_id"), fields.text("filename")
    if not (url or data or file_id):
        raise wrong(f"{fields.path} has neither file_url nor file_data nor file_id")
    if data and not data.startswith("data:"):
        kind = _PDF if name.lower().endswith(".pdf") else "application/octet-stream"
        data = f"data:{kind};base64,{data}"
    return File(url or data, file_id, name=name, extra=fields.rest())


def _audio(fields: Fields) -> Audio:
    inner = fields.object("input_audio")
    if inner is None:
        raise wrong(f"{fields.at('input_audio')} is missing")
    return Audio(inner.name("data"), inner.name("format"), fields.rest())


def _refusal(fields: Fields) -> Refusal:
    return Refusal(fields.said("refusal"))


_READ: dict[str, Callable[[Fields], Part]] = {
    "input_text": _text, "output_text": _text, "text": _text, "input_image": _image,
    "input_file": _file, "input_audio": _audio, "refusal": _refusal,
}  # fmt: skip


def write_part(part: Part, path: str, extra: Members) -> dict[str, Any] | msgspec.Raw:
    """A part of what is sent to the model; `extra` are its members in this dialect's words.

    Raises Invalid (`unsupported_content`) for what this dialect has no word for.
    """
    match part:
        case Text():
            return {"type": "input_text", "text": part.text, **extra}
        case Image():
            return _image_written(part, extra)
        case File():
            return _file_written(part, extra)
        case Audio():
            sound = {"data": part.data, "format": part.format}
            return {"type": "input_audio", "input_audio": sound, **extra}
        case Foreign(dialect="responses"):
            return part.value
        case Foreign():
            raise unsupported_content(path, f"a part of the kind {part.kind!r}")
    raise unsupported_content(path, f"a part of the kind {type(part).__name__}")


def _image_written(part: Image, extra: Members) -> dict[str, Any]:
    source = {"image_url": part.url} if part.url else {"file_id": part.file_id}
    return {"type": "input_image", **source, "detail": part.detail or "auto", **extra}


def _file_written(part: File, extra: Members) -> dict[str, Any]:
    """Plain text is sent as text: not every model that reads texts reads files."""
    if part.text:
        text = f"{part.name}\n\n{part.text}" if part.name else part.text
        return {"type": "input_text", "text": text, **extra}
    written: dict[str, Any] = {"type": "input_file"}
    if part.url.startswith("data:"):
        written["file_data"] = part.url
    elif part.url:
        written["file_url"] = part.url
    else:
        written["file_id"] = part.file_id
    name = part.name or _file_name(part.url)
    return written | ({"filename": name} if name else {}) | extra


def _file_name(url: str) -> str:
    """OpenAI asks for a name wherever a file's bytes are in the request."""
    if not url.startswith("data:"):
        return ""
    return "file.pdf" if url.startswith(f"data:{_PDF}") else "file"


def write_output_text(text: str, extra: Members) -> dict[str, Any]:
    """A text that the model said, with what it says of its sources."""
    return {
        "type": "output_text",
        "text": text,
        "annotations": _annotations(extra.get("annotations")),
        "logprobs": extra.get("logprobs", []),
    }


def write_refusal(text: str) -> dict[str, Any]:
    """A refusal."""
    return {"type": "refusal", "refusal": text}


def _annotations(raw: msgspec.Raw | None) -> list[Any]:
    """Those of chat completions have their members one level deeper."""
    if raw is None:
        return []
    found = msgspec.json.decode(raw)
    return [_flat(entry) for entry in found] if isinstance(found, list) else []


def _flat(annotation: Any) -> Any:
    if isinstance(annotation, dict) and isinstance(annotation.get("url_citation"), dict):
        return {"type": "url_citation", **annotation["url_citation"]}
    return annotation
