"""A whole answer.

Source: `Converse` in Bedrock's API reference.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Answer, Foreign, Text, Thinking, ToolCall
from modelyard.errors import Invalid
from modelyard.gateway.dialects.converse.parts import NAME
from modelyard.gateway.dialects.converse.usage import Tier, read_usage

_FINISHES = {
    "end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length",
    "model_context_window_exceeded": "length", "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter", "content_filtered": "content_filter",
    "refusal": "refusal", "pause_turn": "pause",
}  # fmt: skip
_SERVER_TOOL = "server_tool_use"
Said = Text | Thinking | ToolCall | Foreign


class Blob(msgspec.Struct, rename="camel"):
    """`reasoningContent`."""

    reasoning_text: "ThoughtText | None" = None
    redacted_content: str | None = None


class ThoughtText(msgspec.Struct):
    """A thought, and by what the model recognises it."""

    text: str = ""
    signature: str | None = None


class ToolUse(msgspec.Struct, rename="camel"):
    """A call of a tool; with a `type`, of one that runs at the provider."""

    tool_use_id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    type: str = ""


class Cited(msgspec.Struct):
    """A text with its sources, of which only the text has a neutral word."""

    content: list[dict[str, Any]] | None = None

    def text(self) -> str:
        """What was said."""
        found = (part.get("text") for part in self.content or ())
        return "".join(text for text in found if isinstance(text, str))


class OutputMessage(msgspec.Struct):
    """What the model said, block by block."""

    content: list[dict[str, msgspec.Raw]] | None = None


class Output(msgspec.Struct):
    """`output`."""

    message: OutputMessage | None = None


class Body(msgspec.Struct, rename="camel"):
    """The answer."""

    output: Output | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    service_tier: Tier | None = None
    additional_model_response_fields: Any = None


_decoder = msgspec.json.Decoder(Body)


def read_answer(body: bytes) -> Answer:
    """Raises Invalid when it is no answer."""
    try:
        answer = _decoder.decode(body)
        if answer.output is None or answer.output.message is None:
            raise Invalid("output.message is missing: this is no answer of Converse")
        blocks = answer.output.message.content or []
        parts = [part for block in blocks for part in _parts(block)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the upstream sent what is no answer of Converse: {error}") from None
    has_calls = any(isinstance(part, ToolCall) for part in parts)
    finish, text = read_finish(
        answer.stop_reason or "", answer.additional_model_response_fields, has_calls
    )
    return Answer(
        parts=tuple(parts),
        finish=finish,
        stop_sequence=text,
        usage=read_usage(answer.usage, answer.service_tier),
    )


def _parts(block: dict[str, msgspec.Raw]) -> list[Said]:
    """A block has one member that names its kind."""
    return [_part(kind, raw) for kind, raw in block.items() if bytes(raw) != b"null"]


def _part(kind: str, raw: msgspec.Raw) -> Said:
    match kind:
        case "text":
            return Text(msgspec.json.decode(raw, type=str))
        case "citationsContent":
            return Text(msgspec.json.decode(raw, type=Cited).text())
        case "reasoningContent":
            thought = msgspec.json.decode(raw, type=Blob)
            said = thought.reasoning_text or ThoughtText()
            return Thinking(said.text, said.signature or "", thought.redacted_content or "")
        case "toolUse":
            call = msgspec.json.decode(raw, type=ToolUse)
            if call.type != _SERVER_TOOL:
                return ToolCall(call.tool_use_id, call.name, bytes(call.input).decode())
    return foreign(kind, raw)


def foreign(kind: str, raw: msgspec.Raw) -> Foreign:
    """A block that only Bedrock knows, as it stands in a message."""
    return Foreign(NAME, kind, msgspec.Raw(msgspec.json.encode({kind: raw})))


def read_finish(reason: str, fields: Any, has_calls: bool) -> tuple[str, str]:
    """Why it ended, and at which of the stop texts, where the model tells."""
    finish = _FINISHES.get(reason, "stop")
    if finish == "stop" and has_calls:
        return "tool_calls", ""
    text = fields.get("stop_sequence") if isinstance(fields, dict) else None
    if finish == "stop_sequence" and isinstance(text, str):
        return finish, text
    return finish, ""
