"""Tools and the choice among them, both directions.

Functions are flat here (`name` beside `type`). Custom tools take free text, perhaps of a grammar.
All others run at OpenAI or are known to one client only, so they are kept whole.

Source: `tool.py`, `namespace_tool.py` and `tool_choice_*.py` of OpenAI's official SDK.
"""

from typing import Any, NamedTuple

import msgspec

from modelyard.domain.chat import Foreign, Members, Request, Tool, ToolChoice
from modelyard.gateway.dialects.fields import (
    UNREADABLE,
    Fields,
    decoded,
    elements,
    is_text,
    wrong,
)
from modelyard.gateway.dialects.responses.content import NAME

_MODES = ("none", "auto", "required")
_NO_ARGUMENTS = msgspec.Raw(b'{"type":"object","properties":{}}')


class Choice(NamedTuple):
    """`tool_choice` as it was read."""

    choice: ToolChoice | None
    tools: tuple[Tool, ...]
    """Those that the model may call: all, or the ones of `allowed_tools`."""
    extra: Members
    """The choice of a hosted tool, which has no neutral word."""


def read_tool(raw: msgspec.Raw, path: str) -> Tool:
    """One of `tools`. Raises Invalid."""
    fields = Fields(raw, path)
    kind = fields.name("type")
    if kind == "custom":
        name, description = fields.name("name"), fields.text("description")
        return Tool(name, description, custom=True, extra=fields.rest())
    if kind == "function":
        return _function(fields)
    name = fields.text("name") or fields.text("server_label") or kind
    return Tool(name, fields.text("description"), foreign=Foreign(NAME, kind, raw))


def _function(fields: Fields) -> Tool:
    if fields.has("function") and not fields.has("name"):
        raise wrong(
            f"{fields.at('name')} is missing",
            hint="name, description and parameters stand beside type here, not in function",
        )
    parameters = fields.raw("parameters") or msgspec.Raw()
    if bytes(parameters):
        Fields(parameters, fields.at("parameters"))
    return Tool(
        fields.name("name"),
        fields.text("description"),
        parameters,
        fields.flag("strict"),
        extra=fields.rest(),
    )


def read_choice(raw: msgspec.Raw | None, tools: tuple[Tool, ...], path: str) -> Choice:
    """`tool_choice`. Of `allowed_tools` only those remain: what it leaves out cannot be called,
    and that is what every dialect can say. Raises Invalid."""
    if raw is None:
        return Choice(None, tools, {})
    if is_text(raw):
        mode = decoded(raw, str, path, "a string")
        if mode not in _MODES:
            raise wrong(f"{path} is {mode!r}", hint=f"it may be {', '.join(_MODES)} or an object")
        return Choice(ToolChoice(mode), tools, {})
    fields = Fields(raw, path)
    kind = fields.name("type")
    if kind in ("function", "custom"):
        return Choice(ToolChoice("named", fields.name("name")), tools, {})
    if kind == "allowed_tools":
        return _allowed(fields, tools)
    return Choice(None, tools, {"tool_choice": raw})


def _allowed(fields: Fields, tools: tuple[Tool, ...]) -> Choice:
    mode = fields.text("mode") or "auto"
    if mode not in _MODES:
        raise wrong(f"{fields.at('mode')} is {mode!r}", hint=f"it may be {', '.join(_MODES)}")
    raw = fields.raw("tools")
    if raw is None:
        raise wrong(f"{fields.at('tools')} is missing")
    wanted = [_wanted(Fields(value, at)) for value, at in elements(raw, fields.at("tools"))]
    kept = tuple(tool for tool in tools if any(_is(tool, *entry) for entry in wanted))
    return Choice(ToolChoice(mode), kept, {})


def _wanted(fields: Fields) -> tuple[str, str]:
    return fields.name("type"), fields.text("server_label") or fields.text("name")


def _is(tool: Tool, kind: str, name: str) -> bool:
    return _kind(tool) == kind and (not name or tool.name == name)


def _kind(tool: Tool) -> str:
    if tool.foreign is not None:
        return tool.foreign.kind
    return "custom" if tool.custom else "function"


def write_tools(request: Request) -> tuple[list[Any], list[str]]:
    """`tools` for an endpoint, and the names of those that only another dialect knows."""
    foreign = [tool.name for tool in request.tools if _is_elsewhere(tool)]
    own = request.dialect == NAME
    kept = [_written(tool, own) for tool in request.tools if not _is_elsewhere(tool)]
    return kept, [f"tools.{name}" for name in foreign]


def _is_elsewhere(tool: Tool) -> bool:
    return tool.foreign is not None and tool.foreign.dialect != NAME


def _written(tool: Tool, own: bool) -> dict[str, Any] | msgspec.Raw:
    if tool.foreign is not None:
        return tool.foreign.value
    described = {"description": tool.description} if tool.description else {}
    if tool.custom:
        form = _format(tool.extra)
        extra = {key: value for key, value in tool.extra.items() if own and key != "format"}
        return {"type": "custom", "name": tool.name, **described, **form, **extra}
    strict = tool.strict if own else bool(tool.strict)  # elsewhere unsaid means false, here not
    return {
        "type": "function",
        "name": tool.name,
        **described,
        "parameters": tool.parameters if bytes(tool.parameters) else _NO_ARGUMENTS,
        "strict": strict,
        **(tool.extra if own else {}),
    }


def _format(extra: Members) -> dict[str, Any]:
    """What the text of a custom tool must look like. Chat completions have the grammar one level
    deeper."""
    raw = extra.get("format")
    if raw is None:
        return {}
    form = msgspec.json.decode(raw)
    if isinstance(form, dict) and isinstance(form.get("grammar"), dict):
        return {"format": {"type": "grammar", **form["grammar"]}}
    return {"format": raw}


def write_choice(request: Request, can_call: bool) -> tuple[dict[str, Any], list[str]]:
    """`tool_choice` for an endpoint that is sent tools if `can_call`, and what was left out."""
    choice = request.tool_choice
    if choice is None:
        return {}, []
    if not can_call:
        return {}, [] if choice.mode in ("none", "auto") else ["tool_choice"]
    if choice.mode != "named":
        return {"tool_choice": choice.mode}, []
    named = next((tool for tool in request.tools if tool.name == choice.name), None)
    if named is not None and named.foreign is not None:
        return {}, ["tool_choice"]
    kind = _kind(named) if named is not None else "function"
    return {"tool_choice": {"type": kind, "name": choice.name}}, []


def custom_tools(request: Request) -> frozenset[str]:
    """Names of the tools whose calls carry free text."""
    return frozenset(tool.name for tool in request.tools if tool.custom)


def echoed_tools(request: Request) -> list[Any]:
    """`tools` as a response repeats them: what was not said is null there."""
    tools, _ = write_tools(request)
    return [_complete(tool) if isinstance(tool, dict) else tool for tool in tools]


def _complete(tool: dict[str, Any]) -> dict[str, Any]:
    return tool if tool["type"] == "custom" else {"description": None, **tool}


class _Input(msgspec.Struct):
    input: str


def custom_input(arguments: str) -> str:
    """The free text of a call that came as a function call: endpoints that do not know custom
    tools are given a function with one parameter, `input`. Else the arguments as they are."""
    try:
        return msgspec.json.decode(arguments, type=_Input).input
    except UNREADABLE:
        return arguments
