"""The items of `input`, read into messages.

Neighbouring items of the assistant (what it thought, said and called) are one message. Items that
only this dialect knows are kept whole, in their place.

Source: `response_input_item_param.py` of OpenAI's official SDK.
"""

from collections.abc import Callable

import msgspec

from modelyard.domain.chat import (
    File,
    Foreign,
    Image,
    Members,
    Message,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from modelyard.errors import Invalid
from modelyard.gateway.dialects.fields import Fields, decoded, elements, is_text, wrong
from modelyard.gateway.dialects.responses.content import NAME, read_parts
from modelyard.gateway.dialects.responses.reasoning import read_reasoning
from modelyard.gateway.dialects.responses.tools import read_tool

_ROLES = ("user", "assistant", "system", "developer")


class Conversation:
    """The messages read so far, and tools that came as an item (Codex sends them so to some
    models: the beginning of its requests stays the same when tools are added)."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.tools: list[Tool] = []
        self._said: list[Part] = []

    def read(self, raw: msgspec.Raw, path: str) -> None:
        """`input`: a string, or a list of items. Raises Invalid."""
        if is_text(raw):
            self._turn("user", (Text(decoded(raw, str, path, "a string")),))
        else:
            for value, at in elements(raw, path, "a string or a list"):
                self._item(Fields(value, at), value)
        self._close()

    def _item(self, fields: Fields, raw: msgspec.Raw) -> None:
        kind = fields.text("type") or _unnamed(fields)
        read = _ITEMS.get(kind)
        if read is not None:
            read(self, fields)
        elif kind.endswith("_output") or kind == "mcp_approval_response":
            self._turn("tool", (Foreign(NAME, kind, raw),))
        else:
            self._said.append(Foreign(NAME, kind, raw))

    def _message(self, fields: Fields) -> None:
        role = fields.name("role")
        if role not in _ROLES:
            raise wrong(f"{fields.at('role')} is {role!r}", hint=f"it may be {', '.join(_ROLES)}")
        if fields.raw("content") is None and role != "assistant":
            raise wrong(f"{fields.at('content')} is missing")
        parts = read_parts(fields.raw("content"), fields.at("content"))
        if role == "assistant":
            self._said.extend(with_phase(parts, fields))
        else:
            self._turn(role, parts)

    def _reasoning(self, fields: Fields) -> None:
        self._said.extend(read_reasoning(fields))

    def _call(self, fields: Fields) -> None:
        self._said.append(read_call(fields, custom=False))

    def _custom_call(self, fields: Fields) -> None:
        self._said.append(read_call(fields, custom=True))

    def _output(self, fields: Fields) -> None:
        self._turn("tool", (_result(fields, custom=False),))

    def _custom_output(self, fields: Fields) -> None:
        self._turn("tool", (_result(fields, custom=True),))

    def _more_tools(self, fields: Fields) -> None:
        self.tools += [read_tool(value, at) for value, at in fields.list("tools")]

    def _reference(self, fields: Fields) -> None:
        raise Invalid(
            f"{fields.path} refers to the stored item {fields.text('id')!r}, and nothing is "
            "stored here",
            hint="send the item itself; clients do so with store: false",
            code="unsupported_content",
        )

    def _turn(self, role: str, parts: tuple[Part, ...]) -> None:
        self._close()
        self.messages.append(Message(role, parts))

    def _close(self) -> None:
        """What the assistant said so far is one message."""
        if self._said:
            self.messages.append(Message("assistant", tuple(self._said)))
            self._said = []


_ITEMS: dict[str, Callable[[Conversation, Fields], None]] = {
    "message": Conversation._message,
    "reasoning": Conversation._reasoning,
    "function_call": Conversation._call,
    "custom_tool_call": Conversation._custom_call,
    "function_call_output": Conversation._output,
    "custom_tool_call_output": Conversation._custom_output,
    "additional_tools": Conversation._more_tools,
    "item_reference": Conversation._reference,
}


def _unnamed(fields: Fields) -> str:
    """An item without `type` is a message or, with nothing but an id, a reference."""
    if fields.raw("role") is not None:
        return "message"
    if fields.raw("id") is not None:
        return "item_reference"
    raise wrong(f"{fields.at('type')} is missing", hint="such as message or function_call")


def with_phase(parts: tuple[Part, ...], fields: Fields) -> tuple[Part, ...]:
    """Texts know whether they are commentary or the final answer: models want it back."""
    phase = fields.raw("phase")
    if phase is None:
        return parts
    return tuple(
        Text(part.text, {**part.extra, "phase": phase}) if isinstance(part, Text) else part
        for part in parts
    )


def read_call(fields: Fields, custom: bool) -> ToolCall:
    """A call that a client sends back. Raises Invalid."""
    call_id, name = fields.name("call_id"), fields.name("name")
    arguments = fields.said("input" if custom else "arguments")
    return ToolCall(call_id, name, arguments, custom, kept(fields))


def _result(fields: Fields, custom: bool) -> ToolResult:
    call_id, output = fields.name("call_id"), fields.raw("output")
    if output is None:
        raise wrong(f"{fields.at('output')} is missing")
    parts = read_parts(output, fields.at("output"), of_tool=True)
    known = tuple(part for part in parts if isinstance(part, Text | Image | File | Foreign))
    return ToolResult(call_id, known, custom=custom, extra=kept(fields))


def kept(fields: Fields) -> Members:
    """Members beside the known ones, without those that only a store could use."""
    return {k: v for k, v in fields.rest().items() if k not in ("id", "status", "created_by")}
