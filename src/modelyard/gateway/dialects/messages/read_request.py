"""A request as a client sends it.

Source: `message_create_params.py` of Anthropic's official SDK and its beta counterpart.
"""

import msgspec

from modelyard.domain.chat import (
    Foreign,
    Message,
    Part,
    Reasoning,
    Request,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
)
from modelyard.gateway.dialects.fields import Fields, decoded, wrong
from modelyard.gateway.dialects.messages.blocks import read_blocks
from modelyard.gateway.dialects.messages.words import BILLING, NAME

_MODES = {"auto": "auto", "any": "required", "none": "none", "tool": "named"}
_ROLES = ("user", "assistant", "system")


def read_request(body: bytes) -> Request:
    """Raises Invalid (`invalid_request_error`) with the path of what is wrong, such as
    `messages[2].content[0].type`.

    Claude Code's note to Anthropic's billing is left out of the system texts: it changes from one
    version to the next, and would only spoil the prefix cache of another endpoint.
    """
    fields = Fields.of(body)
    model, messages = fields.name("model"), _messages(fields)
    tools = tuple(_tool(raw, at) for raw, at in fields.list("tools"))
    choice, parallel = _choice(fields)
    metadata = fields.object("metadata")
    config = fields.object("output_config")
    return Request(
        dialect=NAME,
        model=model,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=fields.count("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.whole("top_k"),
        stop=tuple(fields.get("stop_sequences", list[str], "a list of strings") or ()),
        stream=fields.flag("stream") or False,
        include_usage=True,
        response_format=_format(fields, config),
        reasoning=_reasoning(fields, config),
        user=metadata.text("user_id") if metadata is not None else "",
        service_tier=fields.text("service_tier"),
        extra=fields.rest(),
    )


def _messages(fields: Fields) -> tuple[Message, ...]:
    found: list[Message] = []
    system = fields.raw("system")
    if system is not None:
        parts = read_blocks(system, "system")
        kept = tuple(part for part in parts if not _speaks_to_billing(part))
        found += [Message("system", kept)] if kept else []
    asked = fields.list("messages")
    if not asked:
        raise wrong("messages must hold at least one message")
    for raw, path in asked:
        found += _message(Fields(raw, path))
    return tuple(found)


def _speaks_to_billing(part: Part) -> bool:
    return isinstance(part, Text) and part.text.startswith(BILLING)


def _message(fields: Fields) -> list[Message]:
    """Results of tools become messages of their own, before the rest of the user's turn."""
    role = fields.name("role")
    if role not in _ROLES:
        raise wrong(f"{fields.at('role')} is {role!r}", "it may be user or assistant")
    parts = read_blocks(fields.needed("content"), fields.at("content"))
    results = [Message("tool", (part,)) for part in parts if isinstance(part, ToolResult)]
    others = tuple(part for part in parts if not isinstance(part, ToolResult))
    if others or not results:
        return [*results, Message(role, others, extra=fields.rest())]
    return results


def _tool(raw: msgspec.Raw, path: str) -> Tool:
    fields = Fields(raw, path)
    kind = fields.text("type") or "custom"
    name = fields.name("name")
    if kind != "custom":
        return Tool(name, foreign=Foreign(NAME, kind, raw))
    schema = fields.raw("input_schema") or msgspec.Raw()
    if bytes(schema):
        Fields(schema, fields.at("input_schema"))
    description, strict = fields.text("description"), fields.flag("strict")
    return Tool(name, description, schema, strict, extra=fields.rest())


def _choice(fields: Fields) -> tuple[ToolChoice | None, bool | None]:
    choice = fields.object("tool_choice")
    if choice is None:
        return None, None
    kind = choice.name("type")
    if kind not in _MODES:
        raise wrong(f"{choice.at('type')} is {kind!r}", f"it may be {', '.join(_MODES)}")
    name = choice.name("name") if kind == "tool" else ""
    alone = choice.flag("disable_parallel_tool_use")
    return ToolChoice(_MODES[kind], name), None if alone is None else not alone


def _reasoning(fields: Fields, config: Fields | None) -> Reasoning | None:
    thinking = fields.object("thinking")
    effort = config.text("effort") if config is not None else ""
    kind = thinking.name("type") if thinking is not None else ""
    budget = thinking.count("budget_tokens") if thinking is not None else None
    display = thinking.text("display") if thinking is not None else ""
    summary = "omitted" if display == "omitted" else ""
    if kind == "disabled":
        return Reasoning(effort="none")
    if not kind and not effort:
        return None
    return Reasoning(effort, budget, kind == "adaptive", summary)


def _format(fields: Fields, config: Fields | None) -> ResponseFormat | None:
    """`output_config.format`; before that it was `output_format`."""
    form = config.object("format") if config is not None else None
    form = form or fields.object("output_format")
    if form is None:
        return None
    kind = form.name("type")
    if kind != "json_schema":
        raise wrong(f"{form.at('type')} is {kind!r}", "it may be json_schema")
    schema = form.needed("schema")
    decoded(schema, dict[str, msgspec.Raw], form.at("schema"), "an object")
    return ResponseFormat(kind, "answer", schema, True)
