"""The messages of a request as a client sends them.

Source: `chat_completion_*_message_param.py` of OpenAI's official SDK.
"""

from collections.abc import Callable

import msgspec

from modelyard.domain.chat import (
    File,
    Foreign,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from modelyard.gateway.dialects.chat.parts import read_parts
from modelyard.gateway.dialects.chat.reasoning import read_thoughts
from modelyard.gateway.dialects.fields import Fields, elements, is_text, wrong


class Conversation:
    """The messages read so far, and what later ones refer to."""

    __slots__ = ("_custom", "_legacy", "messages")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._custom: set[str] = set()
        """Ids of the calls that carry free text."""
        self._legacy: dict[str, str] = {}
        """The id of the last `function_call` of each name: such calls have none, so we give one."""

    def read(self, raw: msgspec.Raw, path: str) -> None:
        """Raises Invalid with the path of what is wrong."""
        for value, at in elements(raw, path):
            fields = Fields(value, at)
            role = fields.name("role")
            read = _ROLES.get(role)
            if read is None:
                known = "system, developer, user, assistant, tool"
                raise wrong(f"{at}.role is {role!r}", f"it may be {known}")
            parts = read(self, fields)
            name = "" if role == "function" else fields.text("name")
            role = "tool" if role == "function" else role
            self.messages.append(Message(role, parts, name, fields.rest()))
        if not self.messages:
            raise wrong(f"{path} must hold at least one message")

    def _said(self, fields: Fields) -> tuple[Part, ...]:
        return read_parts(fields.needed("content"), fields.at("content"))

    def _answered(self, fields: Fields) -> tuple[Part, ...]:
        """The assistant's turn. Clients send empty texts beside calls: nothing was said then."""
        thoughts = read_thoughts(fields)
        parts = read_parts(fields.raw("content"), fields.at("content"))
        refusal = fields.text("refusal")
        return (
            *thoughts,
            *(part for part in parts if part != Text("")),
            *((Refusal(refusal),) if refusal else ()),
            *self._calls(fields),
        )

    def _calls(self, fields: Fields) -> list[ToolCall]:
        calls = [self._call(Fields(raw, at)) for raw, at in fields.list("tool_calls")]
        legacy = fields.object("function_call")
        if legacy is not None:
            name, arguments = legacy.name("name"), _arguments(legacy)
            self._legacy[name] = f"call_{len(self.messages)}"
            calls.append(ToolCall(self._legacy[name], name, arguments))
        return calls

    def _call(self, fields: Fields) -> ToolCall:
        call_id = fields.name("id")
        kind = fields.text("type") or "function"
        if kind == "custom":
            self._custom.add(call_id)
            custom = fields.inner(kind)
            return ToolCall(call_id, custom.name("name"), custom.said("input"), True, fields.rest())
        if kind != "function":
            raise wrong(f"{fields.at('type')} is {kind!r}", "it may be function or custom")
        function = fields.inner(kind)
        name, arguments = function.name("name"), _arguments(function)
        return ToolCall(call_id, name, arguments, extra=fields.rest())

    def _result(self, fields: Fields) -> tuple[Part, ...]:
        call_id = fields.name("tool_call_id")
        return (ToolResult(call_id, _results(fields), custom=call_id in self._custom),)

    def _legacy_result(self, fields: Fields) -> tuple[Part, ...]:
        name = fields.name("name")
        if name not in self._legacy:
            raise wrong(f"{fields.at('name')} is {name!r}, and no function_call before it is")
        return (ToolResult(self._legacy[name], _results(fields)),)


_ROLES: dict[str, Callable[[Conversation, Fields], tuple[Part, ...]]] = {
    "system": Conversation._said,
    "developer": Conversation._said,
    "user": Conversation._said,
    "assistant": Conversation._answered,
    "tool": Conversation._result,
    "function": Conversation._legacy_result,
}


def _results(fields: Fields) -> tuple[Text | Image | File | Foreign, ...]:
    """Nothing is a result as well: some clients send null for it."""
    parts = read_parts(fields.raw("content"), fields.at("content"), of_tool=True)
    return tuple(part for part in parts if isinstance(part, Text | Image | File | Foreign))


def _arguments(fields: Fields) -> str:
    """Text of JSON; some clients send the object itself."""
    raw = fields.raw("arguments")
    if raw is None:
        return ""
    return fields.text("arguments") if is_text(raw) else bytes(raw).decode()
