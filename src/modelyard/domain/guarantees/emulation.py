"""What an endpoint does not know, asked for in words that it does; and its answer put back.

A forced call of a tool becomes a JSON object `{"name", "arguments"}`, to which many engines can be
held by a schema. A form that it does not know is asked for in the system text.
"""

import re
from typing import Any

import msgspec

from modelyard.domain.chat import (
    Answer,
    Message,
    Request,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from modelyard.domain.guarantees.promise import Fault, Promise
from modelyard.errors import Invalid

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}
_FREE_TEXT: dict[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
_VALUES = frozenset({"const", "enum", "default", "examples"})
"""Members of a schema that hold values, in which a `$ref` is none."""
_BEGUN = re.compile(
    r'\s*\{\s*"name"\s*:\s*"((?:[^"\\]|\\.)*)"\s*(?:,\s*"arguments"\s*:\s*(.*))?', re.DOTALL
)
"""A call that was cut off."""
_FENCE = re.compile(r"\s*```[A-Za-z]*\s*\n(.*?)\n?\s*```\s*", re.DOTALL)
_NO_ID = re.compile(r"[^A-Za-z0-9_-]")


# --- the request -----------------------------------------------------------------------------


def calling(request: Request, promise: Promise, *, constrained: bool, json_mode: bool) -> Request:
    """The request with its forced call as JSON: `constrained` by a schema, else by a mode that
    writes JSON objects, else by words alone. Raises Invalid where there is no such tool."""
    tools = [tool for tool in request.tools if tool.foreign is None]
    if promise.must_call == "named":
        tools = [tool for tool in tools if tool.name == promise.name]
    if not tools:
        wanted = f"the tool {promise.name!r}" if promise.name else "a tool"
        raise Invalid(
            f"tool_choice demands {wanted}, which is not among the tools",
            code="invalid_request_error",
        )
    form = None
    if constrained:
        schema = msgspec.Raw(msgspec.json.encode(_call_schema(tools)))
        form = ResponseFormat("json_schema", "call", schema, True)
    elif json_mode:
        form = ResponseFormat("json_object")
    return msgspec.structs.replace(
        _instructed(request, _call_words(tools)),
        tools=(),
        tool_choice=None,
        parallel_tool_calls=None,
        legacy_functions=False,
        response_format=form,
    )


def asked_in_words(request: Request, *, json_mode: bool) -> Request:
    """The request with the form of its answer in words."""
    form = request.response_format
    words = "Answer with one JSON object and nothing else: no other text around it."
    if form is not None and form.kind == "json_schema" and bytes(form.schema):
        words = (
            "Answer with JSON and nothing else: no other text around it. It must be valid against "
            f"this JSON schema:\n{bytes(form.schema).decode()}"
        )
    kept = ResponseFormat("json_object") if json_mode else None
    return msgspec.structs.replace(_instructed(request, words), response_format=kept)


def _instructed(request: Request, words: str) -> Request:
    """With these words at the end of the first system text."""
    first = request.messages[0] if request.messages else None
    if first is None or first.role not in ("system", "developer"):
        messages = (Message("system", (Text(words),)), *request.messages)
    else:
        parts = (*first.parts, Text(f"\n\n{words}"))
        changed = msgspec.structs.replace(first, parts=parts)
        messages = (changed, *request.messages[1:])
    return msgspec.structs.replace(request, messages=messages)


def _call_words(tools: list[Tool]) -> str:
    told = [
        {"name": tool.name, "description": tool.description, "parameters": _parameters(tool)}
        for tool in tools
    ]
    which = "this tool" if len(tools) == 1 else "one of these tools"
    return (
        f'Call {which}: answer with one JSON object {{"name": ..., "arguments": {{...}}}} and '
        f"nothing else.\n{msgspec.json.encode(told).decode()}"
    )


def _call_schema(tools: list[Tool]) -> dict[str, Any]:
    """Valid for a call of one of the tools. Parameters that name their own parts move into
    `$defs`, and the names with them."""
    definitions: dict[str, Any] = {}
    calls = [_one_call(tool, f"tool{at}", definitions) for at, tool in enumerate(tools)]
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": definitions} if definitions else schema


def _one_call(tool: Tool, place: str, definitions: dict[str, Any]) -> dict[str, Any]:
    parameters = _parameters(tool)
    if b'"$ref"' in bytes(tool.parameters):
        definitions[place] = _moved(parameters, f"#/$defs/{place}")
        parameters = {"$ref": f"#/$defs/{place}"}
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _parameters(tool: Tool) -> dict[str, Any]:
    if tool.custom:
        return _FREE_TEXT
    if not bytes(tool.parameters):
        return _NO_ARGUMENTS
    read: dict[str, Any] = msgspec.json.decode(tool.parameters)
    return {name: value for name, value in read.items() if name not in ("$schema", "$id")}


def _moved(schema: Any, place: str) -> Any:
    """The schema where it stands at `place` of another one."""
    if isinstance(schema, list):
        return [_moved(one, place) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: f"{place}{value[1:]}"
        if name == "$ref" and isinstance(value, str) and value.startswith("#")
        else (value if name in _VALUES else _moved(value, place))
        for name, value in schema.items()
    }


# --- the answer ------------------------------------------------------------------------------


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


def turned_to_call(answer: Answer) -> Answer:
    """The answer with its JSON as the call that it stands for. Other text stays as it is, and is
    no call; of one that was cut off, the part that came is told."""
    text = _unfenced("".join(part.text for part in answer.parts if isinstance(part, Text)))
    call = _read_call(text, is_whole=answer.finish == "stop")
    if call is None:
        return answer
    others = tuple(part for part in answer.parts if not isinstance(part, Text))
    identity = f"call_{_NO_ID.sub('', answer.id)}"
    finish = "tool_calls" if answer.finish == "stop" else answer.finish
    made = ToolCall(identity, call[0], call[1])
    return msgspec.structs.replace(answer, parts=(*others, made), finish=finish)


def _read_call(text: str, *, is_whole: bool) -> tuple[str, str] | None:
    try:
        call = msgspec.json.decode(text, type=_Call)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        begun = None if is_whole else _BEGUN.match(text)
        return (begun[1], begun[2] or "") if begun is not None else None
    return call.name, bytes(call.arguments).decode()


def without_fence(answer: Answer) -> Answer:
    """The answer without the code fence that models like to put around JSON."""
    texts = [part for part in answer.parts if isinstance(part, Text)]
    whole = "".join(part.text for part in texts)
    if len(texts) == 0 or (bare := _unfenced(whole)) == whole:
        return answer
    others = tuple(part for part in answer.parts if not isinstance(part, Text))
    return msgspec.structs.replace(answer, parts=(*others, Text(bare)))


def _unfenced(text: str) -> str:
    fenced = _FENCE.fullmatch(text)
    return fenced[1] if fenced is not None else text


# --- once more -------------------------------------------------------------------------------


def repaired(answer: Answer, fault: Fault) -> tuple[Message, ...]:
    """What is said behind a conversation whose answer broke its promise: that answer, and what is
    wrong with it. Calls are answered as calls are."""
    said = tuple(one for one in answer.parts if isinstance(one, Text) and one.text)
    calls = [part for part in answer.parts if isinstance(part, ToolCall)]
    words = f"That answer was not accepted: {fault.told}. Answer again, and correctly."
    if not calls:
        shown = said or (Text("(nothing)"),)
        return (Message("assistant", shown), Message("user", (Text(words),)))
    results = (
        Message("tool", (ToolResult(call.id, (Text(words),), is_error=True, custom=call.custom),))
        for call in calls
    )
    return (Message("assistant", (*said, *calls)), *results)
