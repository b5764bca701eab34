"""The messages of a request for an endpoint.

The templates of most models demand more than the protocol does, and engines fail on what they
cannot render. So whatever the client's order was, there is at most one system message, and it is
the first; the assistant's turns are one message each; results of tools follow the calls at once;
and what a user says between two of the assistant's turns is one message. Developer messages are
system messages: only OpenAI's own models know the difference.
"""

from collections.abc import Iterator
from typing import Any

from modelyard.domain.chat import (
    File,
    Foreign,
    Image,
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
from modelyard.gateway.dialects.chat.parts import (
    NAME,
    file_text,
    joined,
    unsupported_content,
    write_content,
)
from modelyard.gateway.dialects.chat.tools import wrapped

_FAILED = "Error: "
"""Begins the result of a tool that failed: there is no member for it."""
_FOLLOWS = "(What the tool answered follows in the next message.)"
Placed = list[tuple[Part, str]]
"""Parts, each with its path in the request."""


def write_messages(request: Request, reasoning_name: str) -> list[dict[str, Any]]:
    """Raises Invalid (`unsupported_content`) with the path of what has no word here."""
    writer = _Writer(request.dialect == NAME, reasoning_name)
    for number, message in enumerate(request.messages):
        writer.add(message, f"messages[{number}]")
    return writer.written()


class _Turn:
    """What one role says, gathered from neighbouring messages."""

    __slots__ = ("extra", "name", "parts")

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[Placed] = []
        self.extra: Members = {}

    def add(self, message: Message, path: str) -> None:
        self.parts.append(_placed(message.parts, path))
        self.extra = {**self.extra, **message.extra}


class _Writer:
    """Sorts messages into turns."""

    def __init__(self, own: bool, reasoning_name: str) -> None:
        self._own = own
        self._reasoning_name = reasoning_name
        self._system: list[str] = []
        self._done: list[dict[str, Any]] = []
        self._said: _Turn | None = None
        self._results: list[dict[str, Any]] = []
        self._asked: list[_Turn] = []
        self._attached: Placed = []
        """What tools answered that is no text; a user shows it."""

    def add(self, message: Message, path: str) -> None:
        """One more message."""
        match message.role:
            case "system" | "developer":
                self._system.append(_system_text(message, path))
            case "assistant":
                self._answer(message, path)
            case "tool":
                self._close_said()
                self._result(message, path)
            case _:
                self._close_said()
                self._ask(message, path)

    def written(self) -> list[dict[str, Any]]:
        """All messages, in their final order."""
        self._close_said()
        self._close_asked()
        system = joined(self._system)
        first = [{"role": "system", "content": system}] if system else []
        return first + self._done

    def _answer(self, message: Message, path: str) -> None:
        if _is_mute(message, self._reasoning_name):
            return
        self._close_asked()
        self._said = self._said or _Turn(message.name)
        self._said.add(message, path)

    def _ask(self, message: Message, path: str) -> None:
        """Users with different names remain apart: the name is what tells them from each other."""
        if not self._asked or self._asked[-1].name != message.name:
            self._asked.append(_Turn(message.name))
        self._asked[-1].add(message, path)

    def _result(self, message: Message, path: str) -> None:
        for part, at in _placed(message.parts, path):
            if not isinstance(part, ToolResult):
                raise unsupported_content(at, f"a part of the kind {_kind(part)!r}")
            attached = _attachments(part, at)
            written = {
                "role": "tool",
                "tool_call_id": part.call_id,
                "content": _result_text(part, at, bool(attached)),
            }
            self._results.append(written | self._extra({**part.extra, **message.extra}))
            if attached:
                self._attached.append((Text(f"From the tool call {part.call_id}:"), at))
                self._attached += attached

    def _close_said(self) -> None:
        if self._said is not None:
            self._done.append(_assistant(self._said, self._own, self._reasoning_name))
            self._said = None

    def _close_asked(self) -> None:
        self._done += self._results
        if self._attached:
            if not self._asked or self._asked[0].name:
                self._asked.insert(0, _Turn(""))
            self._asked[0].parts.insert(0, self._attached)
        self._done += [self._user(turn) for turn in self._asked]
        self._results, self._asked, self._attached = [], [], []

    def _user(self, turn: _Turn) -> dict[str, Any]:
        parts = [part for parts in turn.parts for part in parts]
        name = {"name": turn.name} if turn.name else {}
        content = write_content(parts, self._own)
        return {"role": "user", "content": content, **name, **self._extra(turn.extra)}

    def _extra(self, extra: Members) -> Members:
        return extra if self._own else {}


def _placed(parts: tuple[Part, ...], path: str) -> Placed:
    return [(part, f"{path}.content[{at}]") for at, part in enumerate(parts)]


def _kind(part: Part) -> str:
    return part.kind if isinstance(part, Foreign) else type(part).__name__


def _system_text(message: Message, path: str) -> str:
    for part, at in _placed(message.parts, path):
        if not isinstance(part, Text):
            raise unsupported_content(at, f"a part of the kind {_kind(part)!r} for the system")
    return joined(part.text for part in message.parts if isinstance(part, Text))


def _result_text(result: ToolResult, path: str, has_attachments: bool) -> str:
    """A tool's message can hold text alone."""
    texts = list(_texts_of(result, path))
    text = joined([*texts, _FOLLOWS] if has_attachments else texts)
    return _FAILED + text if result.is_error else text


def _texts_of(result: ToolResult, path: str) -> Iterator[str]:
    for number, part in enumerate(result.parts):
        if isinstance(part, Text):
            yield part.text
        elif isinstance(part, File) and part.text:
            yield file_text(part)
        elif isinstance(part, Foreign):
            at = f"{path}.content[{number}]"
            raise unsupported_content(at, f"a part of the kind {part.kind!r}")


def _attachments(result: ToolResult, path: str) -> Placed:
    return [
        (part, f"{path}.content[{number}]")
        for number, part in enumerate(result.parts)
        if isinstance(part, Image) or (isinstance(part, File) and not part.text)
    ]


def _assistant(turn: _Turn, own: bool, reasoning_name: str) -> dict[str, Any]:
    """The assistant's turn. Calls alone have null beside them, as engines write it themselves."""
    parts = [part for placed in turn.parts for part, _ in placed]
    calls = [_call_written(part, own) for part in parts if isinstance(part, ToolCall)]
    thought = joined(part.text for part in parts if isinstance(part, Thinking))
    written: dict[str, Any] = {"role": "assistant", "content": _content_of_assistant(turn)}
    if calls:
        written["content"] = written["content"] or None
        written["tool_calls"] = calls
    if thought and reasoning_name:
        written[reasoning_name] = thought
    if turn.name:
        written["name"] = turn.name
    return written | (turn.extra if own else {})


def _content_of_assistant(turn: _Turn) -> str | list[Any]:
    """Texts of one message are pieces of one text (there are citations between them). A refusal is
    a text like others: engines do not know its member, and the model would see nothing."""
    foreign: list[Any] = []
    texts = []
    for placed in turn.parts:
        text = ""
        for part, path in placed:
            match part:
                case Text() | Refusal():
                    text += part.text
                case Foreign(dialect="chat"):
                    foreign.append(part.value)
                case Thinking() | ToolCall():
                    continue
                case _:
                    raise unsupported_content(path, f"a part of the kind {_kind(part)!r}")
        texts.append(text)
    said = joined(texts)
    if not foreign:
        return said
    return [*([{"type": "text", "text": said}] if said else []), *foreign]


def _is_mute(message: Message, reasoning_name: str) -> bool:
    """Whether the model can be told nothing of it, such as thoughts that only another can read."""
    return all(
        isinstance(part, Text | Thinking)
        and not (part.text and (reasoning_name or isinstance(part, Text)))
        for part in message.parts
    )


def _call_written(call: ToolCall, own: bool) -> dict[str, Any]:
    """The call of a custom tool is written as that of the function that stands for the tool."""
    arguments = wrapped(call.arguments) if call.custom else call.arguments or "{}"
    function = {"name": call.name, "arguments": arguments}
    extra = call.extra if own else {}
    return {"id": call.id, "type": "function", "function": function, **extra}
