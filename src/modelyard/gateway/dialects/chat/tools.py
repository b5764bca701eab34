"""Tools, the choice among them, and custom tools, both directions.

Engines other than OpenAI's know functions alone: a custom tool, which takes free text, is written
as a function of one string, `input`, and its calls are turned back where the client is answered.

Source: `chat_completion_*tool*_param.py` of OpenAI's official SDK.
"""

from typing import Any, NamedTuple

import msgspec

from modelyard.domain.chat import Foreign, Members, Request, Tool, ToolChoice
from modelyard.gateway.dialects.chat.parts import NAME
from modelyard.gateway.dialects.fields import Fields, decoded, is_text, wrong
from modelyard.gateway.dialects.refusals import unsupported_parameter

_MODES = {"none": "none", "auto": "auto", "required": "required", "any": "required"}
"""`any` is Mistral's word."""
_NO_ARGUMENTS = msgspec.Raw(b'{"type":"object","properties":{}}')
"""Some engines fail on a function without parameters."""


class Choice(NamedTuple):
    """What a request says of its tools."""

    tools: tuple[Tool, ...]
    """Those that the model may call: all, or the ones of `allowed_tools`."""
    choice: ToolChoice | None
    is_legacy: bool
    """Whether they are `functions`, from before there were tools."""


def read_tools(fields: Fields) -> Choice:
    """`tools` and `tool_choice`, else `functions` and `function_call`. Raises Invalid."""
    functions = tuple(_function(Fields(raw, at)) for raw, at in fields.list("functions"))
    tools = tuple(_tool(raw, at) for raw, at in fields.list("tools"))
    choice, called = fields.raw("tool_choice"), fields.raw("function_call")
    if functions and not tools:
        return Choice(functions, _legacy_choice(called, fields.at("function_call")), True)
    return _choice(choice, tools, fields.at("tool_choice"))


def _tool(raw: msgspec.Raw, path: str) -> Tool:
    fields = Fields(raw, path)
    kind = fields.name("type")
    if kind not in ("function", "custom"):
        return Tool(fields.text("name") or kind, foreign=Foreign(NAME, kind, raw))
    inner = fields.inner(kind)
    tool = _custom(inner) if kind == "custom" else _function(inner)
    return msgspec.structs.replace(tool, extra={**tool.extra, **fields.rest()})


def _custom(fields: Fields) -> Tool:
    name, description = fields.name("name"), fields.text("description")
    return Tool(name, description, custom=True, extra=fields.rest())


def _function(fields: Fields) -> Tool:
    parameters = fields.raw("parameters") or msgspec.Raw()
    if bytes(parameters):
        Fields(parameters, fields.at("parameters"))
    name, description = fields.name("name"), fields.text("description")
    return Tool(name, description, parameters, fields.flag("strict"), extra=fields.rest())


def _choice(raw: msgspec.Raw | None, tools: tuple[Tool, ...], path: str) -> Choice:
    if raw is None:
        return Choice(tools, None, False)
    if is_text(raw):
        return Choice(tools, ToolChoice(_mode(decoded(raw, str, path, "a string"), path)), False)
    fields = Fields(raw, path)
    kind = fields.name("type")
    if kind == "allowed_tools":
        return _allowed(fields.inner(kind), tools)
    if kind in ("function", "custom"):
        return Choice(tools, ToolChoice("named", fields.inner(kind).name("name")), False)
    raise wrong(f"{fields.at('type')} is {kind!r}", "it may be function, custom or allowed_tools")


def _mode(mode: str, path: str) -> str:
    if mode not in _MODES:
        raise wrong(f"{path} is {mode!r}", "it may be none, auto, required or an object")
    return _MODES[mode]


def _allowed(fields: Fields, tools: tuple[Tool, ...]) -> Choice:
    """Of `allowed_tools` only those remain: what it leaves out cannot be called, and that is what
    every dialect can say."""
    mode = _mode(fields.text("mode") or "auto", fields.at("mode"))
    fields.needed("tools")
    wanted = {_wanted(Fields(raw, at), tools) for raw, at in fields.list("tools")}
    return Choice(tuple(tool for tool in tools if tool.name in wanted), ToolChoice(mode), False)


def _wanted(fields: Fields, tools: tuple[Tool, ...]) -> str:
    kind = fields.name("type")
    inner = fields.object(kind)
    name = inner.name("name") if inner is not None else fields.text("name") or kind
    if all(tool.name != name for tool in tools):
        raise wrong(f"{fields.path} allows {name!r}, which is not among the tools")
    return name


def _legacy_choice(raw: msgspec.Raw | None, path: str) -> ToolChoice | None:
    if raw is None:
        return None
    if is_text(raw):
        return ToolChoice(_mode(decoded(raw, str, path, "a string"), path))
    return ToolChoice("named", Fields(raw, path).name("name"))


def write_tools(request: Request) -> tuple[dict[str, Any], list[str]]:
    """`tools` and what belongs to them, and the names of tools that only another dialect knows.

    Raises Invalid (`unsupported_parameter`) where the model must call one of those.
    """
    own = request.dialect == NAME
    kept = [tool for tool in request.tools if not _is_elsewhere(tool)]
    dropped = [f"tools.{tool.name}" for tool in request.tools if _is_elsewhere(tool)]
    choice = _choice_written(request.tool_choice, kept)
    if not kept:
        return {}, dropped
    written: dict[str, Any] = {"tools": [_tool_written(tool, own) for tool in kept]}
    if choice is not None:
        written["tool_choice"] = choice
    if request.parallel_tool_calls is not None:
        written["parallel_tool_calls"] = request.parallel_tool_calls
    return written, dropped


def _is_elsewhere(tool: Tool) -> bool:
    return tool.foreign is not None and tool.foreign.dialect != NAME


def _choice_written(choice: ToolChoice | None, kept: list[Tool]) -> Any:
    if choice is None or choice.mode in ("auto", "none"):
        return choice and choice.mode
    if choice.mode == "required" and kept:
        return "required"
    if any(tool.name == choice.name and tool.foreign is None for tool in kept):
        return {"type": "function", "function": {"name": choice.name}}
    asked = repr(choice.name) if choice.name else "a tool"
    raise unsupported_parameter(
        "tool_choice", f"asks for {asked}, and the endpoint can be sent no such tool"
    )


def _tool_written(tool: Tool, own: bool) -> dict[str, Any] | msgspec.Raw:
    if tool.foreign is not None:
        return tool.foreign.value
    if tool.custom:
        return {"type": "function", "function": as_function(tool)}
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters if bytes(tool.parameters) else _NO_ARGUMENTS
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function | (tool.extra if own else {})}


def as_function(tool: Tool) -> dict[str, Any]:
    """A custom tool as a function of one text: name, description and parameters."""
    text = {"type": "string", "description": "The text that the tool takes, as it is."}
    parameters = {
        "type": "object",
        "properties": {"input": text},
        "required": ["input"],
        "additionalProperties": False,
    }
    description = "\n\n".join(filter(None, (tool.description, _form(tool.extra))))
    described = {"description": description} if description else {}
    return {"name": tool.name, **described, "parameters": parameters}


def _form(extra: Members) -> str:
    """What the text of a custom tool must look like, in words: no engine can be held to it. The
    grammar is one level deeper here than in OpenAI responses."""
    raw = extra.get("format")
    form = msgspec.json.decode(raw) if raw is not None else None
    if not isinstance(form, dict):
        return ""
    grammar = form.get("grammar", form)
    if not isinstance(grammar, dict) or not grammar.get("definition"):
        return ""
    syntax, definition = grammar.get("syntax", ""), grammar["definition"]
    return f"`input` must follow this {syntax} grammar:\n{definition}"


def custom_tools(request: Request) -> frozenset[str]:
    """Names of the tools whose calls carry free text."""
    return frozenset(tool.name for tool in request.tools if tool.custom)


class _Input(msgspec.Struct):
    input: str


def wrapped(text: str) -> str:
    """The arguments of a function that stands for a custom tool."""
    return msgspec.json.encode(_Input(text)).decode()


def unwrapped(arguments: str) -> str:
    """The free text of such a call; the arguments as they are where the model wrote others."""
    try:
        return msgspec.json.decode(arguments, type=_Input).input
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return arguments
