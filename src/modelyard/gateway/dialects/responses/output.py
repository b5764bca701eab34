"""The items of an answer, both directions.

Source: `response_output_item.py` and the files it imports, of OpenAI's official SDK.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from modelyard.domain.chat import Answer, Foreign, Refusal, Text, Thinking, ToolCall
from modelyard.gateway.dialects.fields import Fields
from modelyard.gateway.dialects.responses.content import (
    NAME,
    read_parts,
    write_output_text,
    write_refusal,
)
from modelyard.gateway.dialects.responses.ids import Ids
from modelyard.gateway.dialects.responses.read_input import kept, with_phase
from modelyard.gateway.dialects.responses.reasoning import (
    is_closed,
    read_reasoning,
    reasoning_item,
)
from modelyard.gateway.dialects.responses.tools import custom_input

Said = Text | Thinking | Refusal | ToolCall | Foreign
Item = dict[str, Any] | msgspec.Raw


def read_item(raw: msgspec.Raw, path: str) -> list[Said]:
    """The parts that one item of `output` is. Raises Invalid."""
    fields = Fields(raw, path)
    kind = fields.name("type")
    if kind == "message":
        parts = read_parts(fields.raw("content"), fields.at("content"), of_answer=True)
        return [part for part in with_phase(parts, fields) if isinstance(part, Text | Refusal)]
    if kind == "reasoning":
        return [part for part in read_reasoning(fields) if part.text or is_closed(part)]
    if kind in ("function_call", "custom_tool_call"):
        return [_read_call(fields, custom=kind == "custom_tool_call")]
    return [Foreign(NAME, kind, raw)]


def _read_call(fields: Fields, custom: bool) -> ToolCall:
    """A call as endpoints write it: some name it by its item's id, and leave out arguments that
    are empty."""
    id = fields.text("call_id") or fields.text("id")
    arguments = fields.text("input" if custom else "arguments")
    return ToolCall(id, fields.name("name"), arguments, custom, kept(fields))


def finish_of(status: str, reason: str, has_call: bool, has_refusal: bool) -> str:
    """Why an answer ended; one of FINISHES."""
    if status == "incomplete":
        return "content_filter" if reason == "content_filter" else "length"
    if has_call:
        return "tool_calls"
    return "refusal" if has_refusal else "stop"


def ending(finish: str) -> tuple[str, dict[str, str] | None]:
    """`status` and `incomplete_details` of a response that ended for this."""
    if finish == "length":
        return "incomplete", {"reason": "max_output_tokens"}
    if finish == "content_filter":
        return "incomplete", {"reason": "content_filter"}
    return "completed", None


def message_item(
    id: str, content: list[Any], status: str, phase: msgspec.Raw | None = None
) -> dict[str, Any]:
    """What the assistant says."""
    item = {"type": "message", "id": id, "status": status, "role": "assistant", "content": content}
    return item if phase is None else {**item, "phase": phase}


def call_item(
    id: str, call: ToolCall, status: str, namespace: msgspec.Raw | None = None
) -> dict[str, Any]:
    """A call of a function or, with free text, of a custom tool."""
    kind, member = ("custom_tool_call", "input") if call.custom else ("function_call", "arguments")
    item: dict[str, Any] = {
        "type": kind, "id": id, "status": status,
        "call_id": call.id, "name": call.name, member: call.arguments,
    }  # fmt: skip
    return item if namespace is None else {**item, "namespace": namespace}


def as_declared(call: ToolCall, custom_tools: frozenset[str]) -> ToolCall:
    """A call as the client declared its tool. An endpoint that knows no custom tools was given a
    function in its place; and a function without arguments is called with an empty object."""
    if not call.custom and call.name in custom_tools:
        text = custom_input(call.arguments)
        return msgspec.structs.replace(call, arguments=text, custom=True)
    if not call.custom and not call.arguments:
        return msgspec.structs.replace(call, arguments="{}")
    return call


class OutputWriter:
    """Makes items of the parts of a whole answer: neighbouring texts are one message, thoughts of
    one id one item."""

    def __init__(self, ids: Ids, custom_tools: frozenset[str]) -> None:
        self._ids = ids
        self._custom_tools = custom_tools
        self._items: list[Item] = []
        self._open: list[Text | Refusal] | list[Thinking] = []

    def items(self, answer: Answer) -> list[Item]:
        """`output`; the last item is incomplete where the answer is."""
        for part in answer.parts:
            self._add(part)
        self._close()
        status, _ = ending(answer.finish)
        last = self._items[-1] if self._items else None
        if isinstance(last, dict) and "status" in last:
            last["status"] = status
        return self._items

    def _add(self, part: Said) -> None:
        match part:
            case Text() | Refusal():
                if part.text:
                    self._join(part)
            case Thinking():
                if part.text or is_closed(part):
                    self._join(part)
            case ToolCall():
                self._close()
                self._items.append(self._call(part))
            case Foreign(dialect="responses"):
                self._close()
                self._items.append(part.value)
            case Foreign():
                return  # what only another dialect knows, this client cannot read

    def _join(self, part: Text | Refusal | Thinking) -> None:
        if self._open and not _belongs(part, self._open[-1]):
            self._close()
        self._open = [*self._open, part]

    def _close(self) -> None:
        parts, self._open = self._open, []
        if not parts:
            return
        index = len(self._items)
        if isinstance(parts[0], Thinking):
            thoughts = [part for part in parts if isinstance(part, Thinking)]
            id = thoughts[0].id or self._ids.item("rs", index)
            self._items.append(reasoning_item(id, thoughts))
        else:
            texts = [part for part in parts if not isinstance(part, Thinking)]
            self._items.append(_message(self._ids.item("msg", index), texts))

    def _call(self, part: ToolCall) -> Item:
        index = len(self._items)
        call = as_declared(part, self._custom_tools)
        call = msgspec.structs.replace(call, id=self._ids.call(part.id, index))
        id = self._ids.item("ctc" if call.custom else "fc", index)
        return call_item(id, call, "completed", part.extra.get("namespace"))


def _belongs(part: Said, before: Said) -> bool:
    """Whether a part goes into the item of the one before it."""
    if isinstance(part, Thinking) or isinstance(before, Thinking):
        return (
            isinstance(part, Thinking)
            and isinstance(before, Thinking)
            and part.id == before.id
            and not is_closed(before)
        )
    return _phase(part) == _phase(before)


def _phase(part: Said) -> msgspec.Raw | None:
    return part.extra.get("phase") if isinstance(part, Text) else None


def _message(id: str, parts: Iterable[Text | Refusal]) -> dict[str, Any]:
    phase = None
    content: list[Any] = []
    for part in parts:
        if isinstance(part, Text):
            phase = _phase(part)
            content.append(write_output_text(part.text, part.extra))
        else:
            content.append(write_refusal(part.text))
    return message_item(id, content, "completed", phase)
