"""Tools, and the choice among them.

Source: `ToolConfiguration` in Bedrock's API reference. It has no word for choosing none, and wants
the tools wherever calls are in the conversation.
"""

from typing import Any

from modelyard.domain.chat import Request, Tool, ToolCall, ToolChoice, ToolResult
from modelyard.errors import Invalid
from modelyard.gateway.dialects.chat.tools import as_function
from modelyard.gateway.dialects.converse.parts import NAME, Block, Blocks

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


def write_tools(request: Request, blocks: Blocks) -> tuple[dict[str, Any] | None, list[str]]:
    """`toolConfig`, and what is left out. Raises Invalid (`unsupported_parameter`) where the model
    must call a tool that it cannot be told of."""
    kept = [tool for tool in request.tools if not _is_elsewhere(tool)]
    dropped = [f"tools.{tool.name}" for tool in request.tools if _is_elsewhere(tool)]
    if request.parallel_tool_calls is False and kept:
        dropped.append("parallel_tool_calls")
    choice = _choice(request.tool_choice, kept)
    has_calls = _has_calls(request)
    is_none = request.tool_choice is not None and request.tool_choice.mode == "none"
    if is_none and has_calls and kept:
        dropped.append("tool_choice")
    if is_none and not has_calls:
        return None, dropped
    specs = [block for tool in kept for block in _written(tool, blocks)]
    specs = specs or [_spec(Tool(name)) for name in _called(request)]
    if not specs:
        return None, dropped
    return {"tools": specs} | ({"toolChoice": choice} if choice else {}), dropped


def _is_elsewhere(tool: Tool) -> bool:
    return tool.foreign is not None and tool.foreign.dialect != NAME


def _has_calls(request: Request) -> bool:
    return any(
        isinstance(part, ToolCall | ToolResult)
        for message in request.messages
        for part in message.parts
    )


def _called(request: Request) -> list[str]:
    """The names of tools that were called: they stand for tools that the client does not name."""
    calls = (part for message in request.messages for part in message.parts)
    return sorted({part.name for part in calls if isinstance(part, ToolCall)})


def _choice(choice: ToolChoice | None, kept: list[Tool]) -> dict[str, Any] | None:
    if choice is None or choice.mode == "none":
        return None
    if choice.mode == "auto":
        return {"auto": {}} if kept else None
    if choice.mode == "required" and kept:
        return {"any": {}}
    if any(tool.name == choice.name for tool in kept):
        return {"tool": {"name": choice.name}}
    asked = repr(choice.name) if choice.name else "a tool"
    raise Invalid(
        f"tool_choice asks for {asked}, and Amazon Bedrock can be sent no such tool",
        hint="leave it out, or use a service whose endpoint knows it",
        code="unsupported_parameter",
    )


def _written(tool: Tool, blocks: Blocks) -> list[Block]:
    if tool.foreign is not None:
        return [tool.foreign.value]
    return [_spec(tool), *blocks.cache_point(tool.extra)]


def _spec(tool: Tool) -> dict[str, Any]:
    if tool.custom:
        function = as_function(tool)
        description, parameters = function.get("description", ""), function["parameters"]
    else:
        description = tool.description
        parameters = tool.parameters if bytes(tool.parameters) else _NO_ARGUMENTS
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": parameters}}
    if description.strip():
        spec["description"] = description
    if tool.strict:
        spec["strict"] = True
    return {"toolSpec": spec}
