"""A whole answer, both directions.

Source: `message.py` of Anthropic's official SDK.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import (
    Answer,
    Foreign,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolCall,
)
from modelyard.errors import Invalid
from modelyard.gateway.dialects.fields import Fields
from modelyard.gateway.dialects.messages.blocks import read_blocks
from modelyard.gateway.dialects.messages.usage import Counter, write_usage
from modelyard.gateway.dialects.messages.words import NAME, read_finish, stop_reason
from modelyard.gateway.dialects.messages.write_messages import call_input


def read_answer(body: bytes) -> Answer:
    """Raises Invalid when it is none."""
    fields = Fields(body, "")
    if fields.text("type") != "message":
        raise Invalid("type is not message: this is no answer of Anthropic's shape")
    counter = Counter()
    counter.add(fields.raw("usage") or msgspec.Raw())
    parts = read_blocks(fields.needed("content"), "content")
    return Answer(
        id=fields.text("id"),
        model=fields.text("model"),
        parts=tuple(
            part for part in parts if isinstance(part, Text | Thinking | ToolCall | Foreign)
        ),
        finish=read_finish(fields.text("stop_reason")),
        stop_sequence=fields.text("stop_sequence"),
        usage=counter.usage(),
    )


def write_answer(answer: Answer, request: Request) -> bytes:
    """For a client."""
    blocks = [block for part in answer.parts if (block := _block(part)) is not None]
    return msgspec.json.encode(
        {**head(message_id(answer.id), answer.model or request.model), "content": blocks}
        | ending(answer.finish, answer.stop_sequence)
        | {"usage": write_usage(answer.usage)}
    )


def message_id(identity: str) -> str:
    """Clients expect ids that begin with `msg_`."""
    return identity if identity.startswith("msg_") else f"msg_{identity}"


def head(identity: str, model: str) -> dict[str, Any]:
    """What a message begins with."""
    return {"id": identity, "type": "message", "role": "assistant", "model": model, "content": []}


def ending(finish: str, stop_sequence: str) -> dict[str, Any]:
    """Why it ended. A stop text that nobody named is told as the end of a turn."""
    if finish == "stop_sequence" and not stop_sequence:
        finish = "stop"
    return {"stop_reason": stop_reason(finish), "stop_sequence": stop_sequence or None}


def _block(part: object) -> dict[str, Any] | msgspec.Raw | None:
    match part:
        case Text() | Refusal():
            return {"type": "text", "text": part.text, "citations": None} if part.text else None
        case Thinking():
            return _thinking(part)
        case ToolCall():
            given = call_input(part.arguments, part.custom)
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": given}
        case Foreign(dialect=dialect, value=value) if dialect == NAME:
            return value
    return None


def _thinking(part: Thinking) -> dict[str, str] | None:
    if part.text or part.signature:
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    return {"type": "redacted_thinking", "data": part.encrypted} if part.encrypted else None
