"""Parts of messages as blocks of content.

Source: `ContentBlock` and `ToolResultContentBlock` in Bedrock's API reference.
"""

import base64
import binascii
import hashlib
import re
from functools import partial
from pathlib import PurePosixPath
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
    ToolCall,
    ToolResult,
)
from modelyard.gateway.dialects import refusals
from modelyard.gateway.dialects.chat.tools import wrapped

NAME = "converse"
_PICTURES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif",
             "image/webp": "webp"}  # fmt: skip
_OFFICE = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS = {
    "application/pdf": "pdf", "text/csv": "csv", "text/html": "html", "text/plain": "txt",
    "text/markdown": "md", "application/msword": "doc", "application/vnd.ms-excel": "xls",
    f"{_OFFICE}.wordprocessingml.document": "docx", f"{_OFFICE}.spreadsheetml.sheet": "xlsx",
}  # fmt: skip
_NO_NAME = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_MOST_NAME = 200
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NOTHING = "(no output)"
"""Stands for an empty result: texts must not be blank."""
Block = dict[str, Any] | msgspec.Raw
unsupported_content = partial(refusals.unsupported_content, "Amazon Bedrock")


class Blocks:
    """Writes the parts of one request; documents must have different names in it."""

    def __init__(self, cache_points: bool) -> None:
        self._cache_points = cache_points
        self._names: set[str] = set()

    def of(self, part: Part, path: str) -> list[Block]:
        """The blocks of one part: none where the model can be told nothing of it, and behind the
        last that the client wants kept in the cache, a cache point.

        Raises Invalid (`unsupported_content`)."""
        block = self._block(part, path)
        if block is None:
            return []
        extra: Members = getattr(part, "extra", {})
        return [block, *self.cache_point(extra)]

    def cache_point(self, extra: Members) -> list[Block]:
        """Behind what has `cache_control` (Anthropic) or `prompt_cache_breakpoint` (OpenAI)."""
        raw = extra.get("cache_control") or extra.get("prompt_cache_breakpoint")
        if raw is None or not self._cache_points:
            return []
        said = msgspec.json.decode(raw)
        is_long = isinstance(said, dict) and said.get("ttl") == "1h"
        return [{"cachePoint": {"type": "default"} | ({"ttl": "1h"} if is_long else {})}]

    def _block(self, part: Part, path: str) -> Block | None:
        match part:
            case Text() | Refusal():
                return {"text": part.text} if part.text.strip() else None
            case Image():
                return _image(part, path)
            case File():
                return self._file(part, path)
            case Audio():
                return {"audio": {"format": part.format, "source": {"bytes": part.data}}}
            case Thinking():
                return _thought(part)
            case ToolCall():
                return _call(part)
            case ToolResult():
                return self._result(part, path)
            case Foreign(dialect="converse"):
                return part.value
        raise unsupported_content(path, f"a part of the kind {part.kind!r}")

    def _result(self, result: ToolResult, path: str) -> Block:
        """What a tool answered. There are no cache points inside, only behind it."""
        blocks = [
            self._block(part, f"{path}.content[{at}]") for at, part in enumerate(result.parts)
        ]
        content = [block for block in blocks if block is not None] or [{"text": _NOTHING}]
        status = {"status": "error"} if result.is_error else {}
        told = {"toolUseId": call_id(result.call_id), "content": content, **status}
        return {"toolResult": told}

    def _file(self, file: File, path: str) -> Block:
        form, source = _document(file, path)
        told = {
            key: file.extra[key] for key in ("citations", "context") if key in file.extra
        }  # Anthropic's words, which are the same here
        name = self._name(file.name)
        return {"document": {"format": form, "name": name, "source": source, **told}}

    def _name(self, given: str) -> str:
        """Few characters are allowed, and no name twice."""
        plain = " ".join(_NO_NAME.sub(" ", given.rpartition("/")[2]).split()) or "document"
        name, number = plain[:_MOST_NAME], 1
        while name in self._names:
            number += 1
            name = f"{plain[: _MOST_NAME - 8]} {number}"
        self._names.add(name)
        return name


def _source(url: str, path: str, what: str) -> tuple[str, dict[str, Any]]:
    """The media type, and the bytes in base64 or their place in S3."""
    if url.startswith("s3://"):
        return "", {"s3Location": {"uri": url}}
    head, found, data = url.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not found:
        raise unsupported_content(path, f"{what} that is not in the request itself, in base64,")
    return head.removeprefix("data:").partition(";")[0].lower(), {"bytes": data}


def _document(file: File, path: str) -> tuple[str, dict[str, Any]]:
    """Its format, and where its bytes are."""
    if file.text:
        return "txt", {"bytes": base64.b64encode(file.text.encode()).decode()}
    kind, source = _source(file.url, path, "a file")
    form = _DOCUMENTS.get(kind) or _ending(file.name) or _ending(file.url)
    if form not in _DOCUMENTS.values():
        raise unsupported_content(path, f"a file of the type {kind!r}")
    return form, source


def _ending(name: str) -> str:
    """Such as `pdf`; empty where there is none."""
    return "" if name.startswith("data:") else PurePosixPath(name).suffix[1:].lower()


def _image(image: Image, path: str) -> Block:
    kind, source = _source(image.url, path, "an image")
    form = _PICTURES.get(kind or f"image/{_ending(image.url)}")
    if form is None:
        raise unsupported_content(path, f"an image of the type {kind!r}")
    return {"image": {"format": form, "source": source}}


def _thought(thought: Thinking) -> Block | None:
    """Only thoughts by which a model recognises itself: it refuses others."""
    if thought.signature:
        told = {"text": thought.text, "signature": thought.signature}
        return {"reasoningContent": {"reasoningText": told}}
    if thought.encrypted and _is_base64(thought.encrypted):
        return {"reasoningContent": {"redactedContent": thought.encrypted}}
    return None


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _call(call: ToolCall) -> Block:
    arguments = wrapped(call.arguments) if call.custom else call.arguments
    told = {"toolUseId": call_id(call.id), "name": call.name, "input": _object(arguments)}
    return {"toolUse": told}


def _object(arguments: str) -> msgspec.Raw:
    """The input must be an object. One that a model wrote wrongly is told as text, so that the
    conversation can go on."""
    text = arguments or "{}"
    try:
        msgspec.json.decode(text, type=Members)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = wrapped(arguments)
    return msgspec.Raw(text.encode())


def call_id(given: str) -> str:
    """Ids of other dialects may be longer than is allowed, or hold other characters."""
    if _ID.fullmatch(given):
        return given
    return f"call_{hashlib.sha256(given.encode()).hexdigest()[:32]}"
