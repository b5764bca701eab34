"""A request for an endpoint that speaks this dialect.

Members that only Anthropic or only OpenAI's responses know are left out and named. Members that
nobody here knows are passed on: the engine behind the endpoint may know them.

Source: `completion_create_params.py` of OpenAI's official SDK.
"""

import hashlib
from typing import Any, NamedTuple

import msgspec

from modelyard.domain.chat import Members, Request, ResponseFormat
from modelyard.gateway.dialects.base import Written
from modelyard.gateway.dialects.chat.parts import NAME
from modelyard.gateway.dialects.chat.reasoning import written_effort
from modelyard.gateway.dialects.chat.tools import write_tools
from modelyard.gateway.dialects.chat.write_messages import write_messages
from modelyard.gateway.dialects.refusals import unsupported_parameter

MOST_USER = 64
"""Characters; OpenAI refuses longer ones, and clients of Anthropic send longer ones."""
_TIERS = {"messages": {"standard_only": "default", "auto": ""}}
_LEFT_OUT = {
    "messages": frozenset({
        "anthropic_beta", "anthropic_version", "betas", "cache_control", "container",
        "context_management", "diagnostics", "fallbacks", "inference_geo", "mcp_servers",
        "metadata", "output_config", "output_format", "speed", "thinking", "user_profile_id",
    }),
    "responses": frozenset({
        "background", "client_metadata", "context_management", "include", "instructions",
        "max_tool_calls", "metadata", "moderation", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "reasoning", "store", "stream_options", "text", "tool_choice",
        "top_logprobs", "truncation",
    }),
}  # fmt: skip
"""Members of other dialects without which the answer is right still. They may stand here by their
path, such as `text.verbosity`."""
_REFUSED = {
    "responses": {
        "previous_response_id": "stands for messages that are stored elsewhere",
        "conversation": "stands for messages that are stored elsewhere",
        "prompt": "stands for a prompt that is stored elsewhere",
        "background": "asks for an answer that is fetched later",
    },
}
"""Members of other dialects without which it is another question."""
_SAME_HERE = {"responses": {"text.verbosity": "verbosity"}}
_NOTHING = (b"null", b"false", b"[]", b"{}")
"""Values that ask for nothing."""


class Habits(NamedTuple):
    """What engines differ in: the names of two members."""

    max_tokens_name: str = "max_tokens"
    """Every compatible engine knows this one; OpenAI's own newest models know
    `max_completion_tokens` alone."""
    reasoning_name: str = "reasoning_content"
    """Under which earlier thoughts are sent back; empty for endpoints that refuse members they do
    not know (OpenAI, Mistral, Groq)."""


def write_request(request: Request, habits: Habits) -> Written:
    """Raises Invalid (`unsupported_content`, `unsupported_parameter`)."""
    tools, foreign = write_tools(request)
    extra, dropped = _extra(request)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": write_messages(request, habits.reasoning_name),
        **tools,
        habits.max_tokens_name: request.max_tokens,
        **_settings(request),
    }
    said = {name: value for name, value in body.items() if value is not None}
    return Written(
        msgspec.json.encode({**extra, **said}),
        tuple(sorted({*foreign, *dropped, *_unsaid(request)})),
    )


def _settings(request: Request) -> dict[str, Any]:
    """A stream always ends with its usage: the gateway counts it."""
    return {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": list(request.stop) or None,
        "stream": request.stream or None,
        "stream_options": {"include_usage": True} if request.stream else None,
        "response_format": _format(request.response_format),
        "reasoning_effort": written_effort(request) or None,
        "user": _short(request.user) or None,
        "service_tier": _tier(request) or None,
    }


def _format(form: ResponseFormat | None) -> dict[str, Any] | None:
    """Text is what every engine answers unasked."""
    if form is None or form.kind == "text":
        return None
    if form.kind == "json_object":
        return {"type": form.kind}
    written: dict[str, Any] = {"name": form.name or "answer"}
    if bytes(form.schema):
        written["schema"] = form.schema
    if form.strict is not None:
        written["strict"] = form.strict
    if form.description:
        written["description"] = form.description
    return {"type": form.kind, "json_schema": written}


def _short(user: str) -> str:
    """An identifier that is too long is replaced by its digest: it names the same person still."""
    if len(user) <= MOST_USER:
        return user
    return hashlib.sha256(user.encode()).hexdigest()[:MOST_USER]


def _tier(request: Request) -> str:
    words = _TIERS.get(request.dialect, {})
    return words.get(request.service_tier, request.service_tier)


def _unsaid(request: Request) -> list[str]:
    """What there is no word for in how the model is to think."""
    asked = request.reasoning
    if asked is None:
        return []
    unsaid = {
        "reasoning.budget_tokens": asked.budget_tokens is not None,
        "reasoning.summary": asked.summary not in ("", "omitted"),
    }
    return [name for name, is_asked in unsaid.items() if is_asked]


def _extra(request: Request) -> tuple[Members, list[str]]:
    """The members to send, and the names of those that are left out. Raises Invalid."""
    if request.dialect == NAME:
        return request.extra, []
    kept: Members = {}
    dropped = []
    for name, raw in request.extra.items():
        is_known_there = _is_known_there(request.dialect, name)
        if is_known_there and bytes(raw) in _NOTHING:
            continue
        _check(request.dialect, name, raw)
        if name in _SAME_HERE.get(request.dialect, {}):
            kept[_SAME_HERE[request.dialect][name]] = raw
        elif is_known_there:
            dropped.append(name)
        else:
            kept[name] = raw
    return kept, dropped


def _is_known_there(dialect: str, path: str) -> bool:
    name = path.partition(".")[0]
    return name in _LEFT_OUT.get(dialect, ()) or name in _REFUSED.get(dialect, ())


def _check(dialect: str, name: str, raw: msgspec.Raw) -> None:
    why = _REFUSED.get(dialect, {}).get(name)
    if why is not None and bytes(raw) not in _NOTHING:
        raise unsupported_parameter(name, f"{why}, which chat completions do not know")
