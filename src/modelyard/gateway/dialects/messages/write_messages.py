"""The messages of a request for an endpoint.

Results of tools stand first in the user's turn that follows the call; neighbouring turns of one
role are one. System and developer messages, wherever they stood, are the request's `system`.

Source: docs.anthropic.com on messages and on tool use.
"""

import base64
from typing import Any

import msgspec

from modelyard.domain.chat import (
    Audio,
    File,
    Foreign,
    Image,
    Message,
    Part,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from modelyard.gateway.dialects.messages.words import NAME, unsupported_content

Block = dict[str, Any] | msgspec.Raw
_SYSTEM = ("system", "developer")
_BROKEN = "_raw"
"""Under this name go arguments that are no JSON object: a call cannot carry anything else."""


def write_system(request: Request) -> list[Block]:
    """Its texts; Anthropic refuses empty ones. Raises Invalid for anything but text."""
    own = request.dialect == NAME
    found: list[Block] = []
    for number, message in enumerate(request.messages):
        if message.role in _SYSTEM:
            path = f"messages[{number}]"
            found += [block for part in message.parts for block in _blocks(part, own, path)]
    return found


def write_messages(request: Request) -> list[dict[str, Any]]:
    """Raises Invalid (`unsupported_content`)."""
    own = request.dialect == NAME
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(request.messages):
        if message.role in _SYSTEM:
            continue
        blocks = _message_blocks(message, own, f"messages[{number}]")
        role = "assistant" if message.role == "assistant" else "user"
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _message_blocks(message: Message, own: bool, path: str) -> list[Block]:
    return [block for part in message.parts for block in _blocks(part, own, path)]


def _blocks(part: Part, own: bool, path: str) -> list[Block]:
    """None for what was never said, or cannot be said again (thinking without its signature)."""
    match part:
        case Text():
            return [_extended({"type": "text", "text": part.text}, part.extra, own)] * bool(
                part.text
            )
        case Refusal():
            return [{"type": "text", "text": part.text}] * bool(part.text)
        case Image():
            source = _image_source(part, path)
            return [_extended({"type": "image", "source": source}, part.extra, own)]
        case File():
            return [_document(part, own)]
        case Thinking():
            return _thinking(part)
        case ToolCall():
            return [_call(part, own)]
        case ToolResult():
            return [_result(part, own, path)]
        case Audio():
            raise unsupported_content(path, "sound")
        case Foreign():
            if part.dialect != NAME:
                raise unsupported_content(path, repr(part.kind))
            return [part.value]


def _extended(block: dict[str, Any], extra: dict[str, msgspec.Raw], own: bool) -> dict[str, Any]:
    return {**block, **extra} if own else block


def _thinking(part: Thinking) -> list[Block]:
    if part.encrypted and not part.signature:
        return [{"type": "redacted_thinking", "data": part.encrypted}]
    if part.signature:
        return [{"type": "thinking", "thinking": part.text, "signature": part.signature}]
    return []


def _image_source(part: Image, path: str) -> dict[str, str]:
    if part.file_id:
        return {"type": "file", "file_id": part.file_id}
    return _source(part.url)


def _source(url: str) -> dict[str, str]:
    media_type, data = split_data_url(url)
    if data:
        return {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "url", "url": url}


def split_data_url(url: str) -> tuple[str, str]:
    """Media type and base64 of a `data:` URL (RFC 2397); both empty for any other."""
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not comma:
        return "", ""
    media_type = head[5:].partition(";")[0] or "text/plain"
    if not head.endswith(";base64"):
        data = base64.b64encode(data.encode()).decode()
    return media_type, data


def _document(part: File, own: bool) -> dict[str, Any]:
    if part.file_id:
        source = {"type": "file", "file_id": part.file_id}
    elif part.text:
        source = {"type": "text", "media_type": "text/plain", "data": part.text}
    else:
        source = _source(part.url)
    title = {"title": part.name} if part.name else {}
    return _extended({"type": "document", "source": source, **title}, part.extra, own)


def _call(part: ToolCall, own: bool) -> dict[str, Any]:
    block = {"type": "tool_use", "id": part.id, "name": part.name}
    return _extended({**block, "input": call_input(part.arguments, part.custom)}, part.extra, own)


def call_input(arguments: str, custom: bool) -> msgspec.Raw | dict[str, str]:
    """Arguments as the object that a call must carry."""
    if custom:
        return {"input": arguments}
    if not arguments.strip():
        return {}
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {_BROKEN: arguments}
    # Compact, because it may stand inside a server-sent event, which ends at a line's end.
    return (
        msgspec.Raw(msgspec.json.encode(value)) if isinstance(value, dict) else {_BROKEN: arguments}
    )


def _result(part: ToolResult, own: bool, path: str) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call_id}
    content = [block for inner in part.parts for block in _blocks(inner, own, path)]
    if content:
        block["content"] = content
    if part.is_error:
        block["is_error"] = True
    return _extended(block, part.extra, own)
