"""Messages, written as the items of `input`.

Messages of the assistant are cut into items again: one for each text, call and thought. Items
without need of an id have none: with `store: false` an endpoint knows no id of an earlier answer.

Source: `response_input_item_param.py` of OpenAI's official SDK.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from modelyard.domain.chat import (
    Foreign,
    Members,
    Message,
    Part,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from modelyard.gateway.dialects.responses.content import (
    NAME,
    write_output_text,
    write_part,
    write_refusal,
)
from modelyard.gateway.dialects.responses.reasoning import is_closed, reasoning_item
from modelyard.gateway.dialects.responses.refusals import unsupported_content

Item = dict[str, Any] | msgspec.Raw


class InputWriter:
    """Writes the messages of one request; `dropped` names what was left out of them."""

    def __init__(self, request: Request) -> None:
        self.dropped: set[str] = set()
        self.items: list[Item] = []
        self._own = request.dialect == NAME
        self._custom_calls = {
            part.id
            for message in request.messages
            for part in message.parts
            if isinstance(part, ToolCall) and part.custom
        }

    def write(self, messages: tuple[Message, ...], first: int) -> list[Item]:
        """All items; `first` is the index of the first message, for what errors say.

        Raises Invalid (`unsupported_content`).
        """
        for at, message in enumerate(messages, first):
            self._message(message, f"messages[{at}]")
        return self.items

    def _message(self, message: Message, path: str) -> None:
        if message.name:
            self.dropped.add("messages.name")
        if message.role == "assistant":
            self._assistant(message.parts, path)
        elif message.role == "tool":
            self.items += [self._result(part, at) for part, at in _placed(message.parts, path)]
        else:
            self.items.append(self._turn(message, path))

    def _turn(self, message: Message, path: str) -> Item:
        content: str | list[Any]
        if len(message.parts) == 1 and _is_plain(message.parts[0]):
            content = message.parts[0].text  # type: ignore[union-attr]
        else:
            content = [self._part(part, at) for part, at in _placed(message.parts, path)]
        return {"type": "message", "role": message.role, "content": content or ""}

    def _part(self, part: Part, path: str) -> Item:
        return write_part(part, path, self._extra(getattr(part, "extra", {})))

    def _extra(self, extra: Members) -> Members:
        """Members in this dialect's own words; those of another are named and left out."""
        if self._own:
            return extra
        self.dropped.update(f"messages.content.{name}" for name in extra)
        return {}

    def _assistant(self, parts: tuple[Part, ...], path: str) -> None:
        thoughts: list[Thinking] = []
        for part, at in _placed(parts, path):
            if isinstance(part, Thinking):
                thoughts = self._thought(thoughts, part)
                continue
            self._think(thoughts)
            thoughts = []
            self._said(part, at)
        self._think(thoughts)

    def _thought(self, before: list[Thinking], thought: Thinking) -> list[Thinking]:
        """The open item with one more thought in it, or a new one."""
        if before and (is_closed(before[-1]) or before[-1].id != thought.id):
            self._think(before)
            return [thought]
        return [*before, thought]

    def _think(self, thoughts: list[Thinking]) -> None:
        """Thoughts go back to the endpoint that can recognise them as its own. Text beside
        encrypted content says the same once more, and OpenAI refuses it there."""
        encrypted = next((thought.encrypted for thought in thoughts if thought.encrypted), "")
        id = thoughts[0].id if thoughts else ""
        if not encrypted and (not id or thoughts[-1].signature):
            return
        if encrypted:
            thoughts = [_without_text(part) for part in thoughts]
        item = reasoning_item(id, thoughts)
        self.items.append(item if id else {k: v for k, v in item.items() if k != "id"})

    def _said(self, part: Part, path: str) -> None:
        match part:
            case Text(text=""):
                return
            case Text():
                self.items.append(self._text(part))
            case Refusal():
                self.items.append(self._output([write_refusal(part.text)], {}))
            case ToolCall():
                self.items.append(self._call(part))
            case Foreign(dialect="responses"):
                self.items.append(part.value)
            case Foreign():
                raise unsupported_content(path, f"a part of the kind {part.kind!r}")
            case _:
                raise unsupported_content(path, f"{type(part).__name__} of the assistant")

    def _text(self, part: Text) -> Item:
        extra = self._extra(part.extra)
        phase = {"phase": extra["phase"]} if "phase" in extra else {}
        if extra.keys() <= {"phase"}:
            return {"type": "message", "role": "assistant", "content": part.text, **phase}
        return self._output([write_output_text(part.text, extra)], phase)

    def _output(self, content: list[Any], phase: Members) -> Item:
        """A message as an answer would hold it: such ones must have an id."""
        return {
            "type": "message",
            "id": f"msg_{len(self.items)}",
            "role": "assistant",
            "status": "completed",
            "content": content,
            **phase,
        }

    def _call(self, call: ToolCall) -> Item:
        kind, member = ("custom_tool_call", "input") if call.custom else _FUNCTION
        return {
            "type": kind,
            "call_id": call.id,
            "name": call.name,
            member: call.arguments,
            **self._extra(call.extra),
        }

    def _result(self, part: Part, path: str) -> Item:
        if isinstance(part, Foreign) and part.dialect == NAME:
            return part.value
        if not isinstance(part, ToolResult):
            raise unsupported_content(path, f"{type(part).__name__} in the place of a result")
        if part.is_error:
            self.dropped.add("messages.content.is_error")
        custom = part.custom or part.call_id in self._custom_calls
        return {
            "type": "custom_tool_call_output" if custom else "function_call_output",
            "call_id": part.call_id,
            "output": self._told(part, path),
            **self._extra(part.extra),
        }

    def _told(self, result: ToolResult, path: str) -> str | list[Any]:
        parts = result.parts
        if len(parts) == 1 and _is_plain(parts[0]):
            return parts[0].text  # type: ignore[union-attr]
        return [self._part(part, at) for part, at in _placed(parts, path)] or ""


_FUNCTION = ("function_call", "arguments")


def _placed(parts: tuple[Part, ...], path: str) -> Iterator[tuple[Part, str]]:
    for at, part in enumerate(parts):
        yield part, f"{path}.content[{at}]"


def _is_plain(part: Part) -> bool:
    return isinstance(part, Text) and not part.extra


def _without_text(part: Thinking) -> Thinking:
    return part if part.is_summary else msgspec.structs.replace(part, text="")
