"""A request for an endpoint that speaks this dialect.

Source: `message_create_params.py` of Anthropic's official SDK; docs.anthropic.com on extended
thinking, effort and structured outputs.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Members, Request, Tool
from modelyard.gateway.dialects.base import Written
from modelyard.gateway.dialects.chat.tools import as_function
from modelyard.gateway.dialects.messages.words import NAME
from modelyard.gateway.dialects.messages.write_messages import write_messages, write_system
from modelyard.gateway.dialects.refusals import unsupported_parameter

DEFAULT_MAX_TOKENS = 8192
"""The API demands a bound; this holds where the client named none."""
LEAST_BUDGET = 1024
_EFFORTS = {"minimal": "low", "xhigh": "max"}
"""Words of others for Anthropic's `low`, `medium`, `high`, `max`."""
_NO_SCHEMA = msgspec.Raw(b'{"type":"object","properties":{}}')
_REFUSED = {
    "n": (b"1",),
    "logprobs": (b"false",),
    "top_logprobs": (b"0",),
    "logit_bias": (b"{}",),
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
    "background": (b"false",),
}
"""Members without which it is another question, and the values that ask for nothing."""
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}


def write_request(request: Request) -> Written:
    """Raises Invalid (`unsupported_content`, `unsupported_parameter`)."""
    extra, dropped = _extra(request)
    tools, left = _tools(request)
    thinking, config = _thinking(request)
    settings, unsaid = _sampling(
        request, is_thinking=thinking.get("type") in ("enabled", "adaptive")
    )
    form, formless = _format(request)
    config |= form
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens or DEFAULT_MAX_TOKENS,
        "system": write_system(request) or None,
        "messages": write_messages(request),
        **tools,
        **settings,
        "thinking": thinking or None,
        "output_config": config or None,
        "stop_sequences": [text for text in request.stop if text.strip()] or None,
        "stream": request.stream or None,
        "metadata": {"user_id": request.user} if request.user else None,
        "service_tier": _TIERS.get(request.service_tier),
    }
    said = {name: value for name, value in body.items() if value is not None}
    gone = (*dropped, *left, *unsaid, *formless)
    return Written(msgspec.json.encode({**extra, **said}), tuple(sorted(gone)))


def _extra(request: Request) -> tuple[Members, list[str]]:
    if request.dialect == NAME:
        return request.extra, []
    for name, harmless in _REFUSED.items():
        raw = request.extra.get(name)
        if raw is not None and bytes(raw) not in (*harmless, b"null"):
            raise unsupported_parameter(name, "is not known to Anthropic's messages")
    return {}, [
        name
        for name, raw in request.extra.items()
        if name not in _REFUSED and not (name == "store" and bytes(raw) == b"false")
    ]


def _tools(request: Request) -> tuple[dict[str, Any], list[str]]:
    own = request.dialect == NAME
    kept = [tool for tool in request.tools if tool.foreign is None or tool.foreign.dialect == NAME]
    left = [f"tools.{tool.name}" for tool in request.tools if tool not in kept]
    if not kept:
        return {}, left
    written: dict[str, Any] = {"tools": [_tool(tool, own) for tool in kept]}
    choice = _choice(request, kept)
    if choice is not None:
        written["tool_choice"] = choice
    return written, left


def _tool(tool: Tool, own: bool) -> dict[str, Any] | msgspec.Raw:
    if tool.foreign is not None:
        return tool.foreign.value
    if tool.custom:
        function = as_function(tool)
        schema = function.pop("parameters")
        return {**function, "input_schema": schema}
    written: dict[str, Any] = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    written["input_schema"] = tool.parameters if bytes(tool.parameters) else _NO_SCHEMA
    if tool.strict and own:
        written["strict"] = True
    return written | (tool.extra if own else {})


def _choice(request: Request, kept: list[Tool]) -> dict[str, Any] | None:
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    alone = {"disable_parallel_tool_use": True} if parallel is False else {}
    if choice is None:
        return {"type": "auto", **alone} if alone else None
    if choice.mode == "none":
        return {"type": "none"}
    if choice.mode != "named":
        return {"type": "any" if choice.mode == "required" else "auto", **alone}
    if all(tool.name != choice.name for tool in kept):
        raise unsupported_parameter(
            "tool_choice", f"asks for {choice.name!r}, and the endpoint can be sent no such tool"
        )
    return {"type": "tool", "name": choice.name, **alone}


def _thinking(request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """`thinking` and what of `output_config` says how much. A forced tool and thinking exclude
    each other: the tool is what was asked for."""
    asked, choice = request.reasoning, request.tool_choice
    if asked is None:
        return {}, {}
    if asked.effort == "none":
        return {"type": "disabled"}, {}
    effort = _EFFORTS.get(asked.effort, asked.effort)
    config = {"effort": effort} if effort else {}
    if choice is not None and choice.mode in ("required", "named"):
        return {}, config
    display = {"display": "omitted"} if asked.summary == "omitted" else {}
    budget = asked.budget_tokens
    if budget is not None:
        most = (request.max_tokens or DEFAULT_MAX_TOKENS) - 1
        budget = min(max(budget, LEAST_BUDGET), most)
        return (
            ({"type": "enabled", "budget_tokens": budget, **display}, config)
            if (budget >= LEAST_BUDGET)
            else ({}, config)
        )
    if asked.adaptive or request.dialect != NAME:
        return {"type": "adaptive", **display}, config
    return {}, config


def _sampling(request: Request, *, is_thinking: bool) -> tuple[dict[str, Any], list[str]]:
    """While it thinks, a model takes no temperature but 1, no `top_k`, and `top_p` from 0.95."""
    wanted = {
        "temperature": None if request.temperature is None else min(request.temperature, 1.0),
        "top_p": request.top_p,
        "top_k": request.top_k,
    }
    if not is_thinking or request.dialect == NAME:
        return wanted, []
    allowed = {
        "temperature": wanted["temperature"] == 1.0,
        "top_p": (wanted["top_p"] or 0.0) >= 0.95,
        "top_k": False,
    }
    unsaid = [name for name, value in wanted.items() if value is not None and not allowed[name]]
    return {name: value for name, value in wanted.items() if name not in unsaid}, unsaid


def _format(request: Request) -> tuple[dict[str, Any], list[str]]:
    """There is no "any JSON": the model is left to what the prompt says."""
    form = request.response_format
    if form is None or form.kind == "text":
        return {}, []
    if form.kind == "json_object" or not bytes(form.schema):
        return {}, ["response_format"]
    return {"format": {"type": "json_schema", "schema": form.schema}}, []
