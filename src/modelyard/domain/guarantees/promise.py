"""What a request promises its client of the answer, and what in an answer breaks it."""

from typing import Any, NamedTuple

import msgspec

from modelyard.domain.chat import Answer, Refusal, Request, Text, Tool, ToolCall
from modelyard.domain.guarantees.schemas import Schema, Schemas

_ENDED_ITSELF = frozenset({"stop", "tool_calls"})
"""Only what the model brought to its own end is held to anything: what was cut off at a length or a
stop text, filtered or refused says so by its finish reason, and reaches the client as it is."""
_ANYTHING = b"{}"
_PLACES = {
    "chat": ("response_format.json_schema.schema", "tools[{}].function.parameters"),
    "responses": ("text.format.schema", "tools[{}].parameters"),
    "messages": ("output_config.format.schema", "tools[{}].input_schema"),
}
"""Where the schemas stand in each dialect: of the answer, and of a tool's arguments."""


class Fault(NamedTuple):
    """What breaks a promise."""

    path: str
    """In the answer: `text $.items[1]`, `call 1 of weather, arguments $.city`."""
    what: str

    @property
    def told(self) -> str:
        """For people, and for the model that is to do it better."""
        return f"{self.path} {self.what}"


class Promise(NamedTuple):
    """See the module. Empty: nothing is promised."""

    form: str = ""
    """`json_object` or `json_schema`."""
    schema: Schema | None = None
    """Of the text, where the form is `json_schema`."""
    must_call: str = ""
    """`required`: some tool; `named`: one tool; empty: what it likes."""
    name: str = ""
    """Of the tool that must be called."""
    tools: frozenset[str] = frozenset()
    """Names of all tools."""
    custom: frozenset[str] = frozenset()
    """Of those that take free text."""
    strict: dict[str, Schema] = {}
    """Schemas of arguments that must be valid, by the tool's name."""

    def __bool__(self) -> bool:
        return bool(self.form or self.must_call or self.strict)


def promise_of(request: Request, schemas: Schemas, *, forms: bool, tools: bool) -> Promise:
    """What is promised of the form of the text and of the calls, where each is looked at.

    Raises Invalid (`invalid_json_schema`, `invalid_request_error`).
    """
    answer_at, tool_at = _PLACES[request.dialect]
    promise = Promise()
    form = request.response_format
    if forms and form is not None and form.kind != "text":
        raw = bytes(form.schema) or _ANYTHING
        schema = schemas.compiled(raw, answer_at) if form.kind == "json_schema" else None
        promise = promise._replace(form=form.kind, schema=schema)
    return _with_calls(promise, request, schemas, tool_at) if tools else promise


def _with_calls(promise: Promise, request: Request, schemas: Schemas, path: str) -> Promise:
    choice = request.tool_choice
    own = [(at, tool) for at, tool in enumerate(request.tools) if tool.foreign is None]
    names = frozenset(tool.name for _, tool in own)
    mode = choice.mode if choice is not None and choice.mode in ("required", "named") else ""
    if len(names) < len(request.tools) and choice is not None and choice.name not in names:
        mode = ""  # a tool that the provider runs itself may be what is called
    return promise._replace(
        must_call=mode,
        name=choice.name if choice is not None else "",
        tools=names,
        custom=frozenset(tool.name for _, tool in own if tool.custom),
        strict={
            tool.name: schemas.compiled(bytes(tool.parameters), path.format(at))
            for at, tool in own
            if _is_strict(tool)
        },
    )


def _is_strict(tool: Tool) -> bool:
    return tool.strict is True and bool(bytes(tool.parameters)) and not tool.custom


def broken(promise: Promise, answer: Answer) -> Fault | None:
    """What breaks the promise first; None where it is kept, or where the answer was not brought to
    its end."""
    if answer.finish not in _ENDED_ITSELF or any(isinstance(one, Refusal) for one in answer.parts):
        return None
    calls = [part for part in answer.parts if isinstance(part, ToolCall)]
    return _calls_broken(promise, calls) or _text_broken(promise, answer, has_calls=bool(calls))


def _calls_broken(promise: Promise, calls: list[ToolCall]) -> Fault | None:
    if promise.must_call and not calls:
        wanted = f"the tool {promise.name!r}" if promise.name else "a tool"
        return Fault("the answer", f"calls nothing, and must call {wanted}")
    found = (_call_broken(promise, number, call) for number, call in enumerate(calls, 1))
    return next(filter(None, found), None)


def _call_broken(promise: Promise, number: int, call: ToolCall) -> Fault | None:
    path = f"call {number} of {call.name!r}"
    if promise.must_call == "named" and call.name != promise.name:
        return Fault(path, f"is not the call of {promise.name!r} that was asked for")
    if promise.must_call and call.name not in promise.tools:
        return Fault(path, f"calls none of the tools: {', '.join(sorted(promise.tools))}")
    schema = promise.strict.get(call.name)
    if call.custom or call.name in promise.custom or not (schema or promise.must_call):
        return None
    return _arguments_broken(schema, f"{path}, arguments", call.arguments)


def _arguments_broken(schema: Schema | None, path: str, text: str) -> Fault | None:
    value, problem = _json(text or "{}")
    if problem or not isinstance(value, dict):
        return Fault(path, problem or "must be a JSON object")
    at, what = schema.problem(value) if schema is not None else ("", "")
    return Fault(f"{path} {at}:", what) if what else None


def _text_broken(promise: Promise, answer: Answer, *, has_calls: bool) -> Fault | None:
    if not promise.form:
        return None
    text = "".join(part.text for part in answer.parts if isinstance(part, Text))
    if has_calls and not text.strip():
        return None
    value, problem = _json(text)
    if problem:
        return Fault("the text", problem)
    if promise.schema is None:
        return None if isinstance(value, dict) else Fault("the text", "must be a JSON object")
    at, what = promise.schema.problem(value)
    return Fault(f"the text at {at}:", what) if what else None


def _json(text: str) -> tuple[Any, str]:
    """The value, or why it is none."""
    if not text.strip():
        return None, "is empty, and must be JSON"
    try:
        return msgspec.json.decode(text), ""
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return None, f"is not JSON: {error}"
