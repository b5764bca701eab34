"""The response object: the answer, and the settings of the request that it repeats.

Source: `response.py` of OpenAI's official SDK, and `ResponseResource` of the Open Responses
specification, in which every member below must be there.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Request, Text, Usage
from modelyard.gateway.dialects.responses.tools import echoed_tools, write_choice
from modelyard.gateway.dialects.responses.usage import write_usage
from modelyard.gateway.dialects.responses.write_request import short_user, written_format

_SERVICE_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
_UNSAID: dict[str, Any] = {
    "previous_response_id": None, "prompt_cache_key": None, "max_tool_calls": None,
    "metadata": {}, "truncation": "disabled", "top_logprobs": 0,
    "presence_penalty": 0.0, "frequency_penalty": 0.0,
}  # fmt: skip
"""Members that a response repeats as the client sent them, and their values where it did not."""


def settings(request: Request) -> dict[str, Any]:
    """What a response repeats of the request. Nothing is stored, whatever was asked for."""
    user = short_user(request.user) or None
    repeated = {name: request.extra.get(name, unsaid) for name, unsaid in _UNSAID.items()}
    return {
        "instructions": _instructions(request),
        "max_output_tokens": request.max_tokens,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "reasoning": _reasoning(request),
        "safety_identifier": user,
        "store": False,
        "background": False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": _text(request),
        "tool_choice": _choice(request),
        "tools": msgspec.Raw(msgspec.json.encode(echoed_tools(request))),
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "user": user,
        **repeated,
    }


def _instructions(request: Request) -> str | None:
    """The first message where it is a system's: OpenAI repeats what it inserted there."""
    first = request.messages[0] if request.messages else None
    if first is None or first.role != "system" or len(first.parts) != 1:
        return None
    part = first.parts[0]
    return part.text if isinstance(part, Text) else None


def _reasoning(request: Request) -> dict[str, Any]:
    asked = request.reasoning
    if asked is None:
        return {"effort": None, "summary": None}
    return {"effort": asked.effort or None, "summary": asked.summary or None}


def _text(request: Request) -> dict[str, Any]:
    form = request.response_format
    text: dict[str, Any] = {"format": {"type": "text"} if form is None else written_format(form)}
    verbosity = request.extra.get("text.verbosity")
    return text if verbosity is None else {**text, "verbosity": verbosity}


def _choice(request: Request) -> Any:
    hosted = request.extra.get("tool_choice")
    if hosted is not None:
        return hosted
    written, _ = write_choice(request, can_call=True)
    return written.get("tool_choice", "auto")


def response(
    repeated: dict[str, Any],
    *,
    id: str,
    created_s: int,
    model: str,
    status: str,
    output: list[Any],
    usage: Usage | None = None,
    incomplete: dict[str, str] | None = None,
    error: dict[str, str | None] | None = None,
    service_tier: str = "",
) -> dict[str, Any]:
    """A whole response object; `repeated` are the `settings` of its request."""
    served = (usage.service_tier if usage is not None else "") or service_tier
    return {
        "id": id,
        "object": "response",
        "created_at": created_s,
        "completed_at": None,
        "status": status,
        "error": error,
        "incomplete_details": incomplete,
        "model": model,
        "output": output,
        **repeated,
        "service_tier": served if served in _SERVICE_TIERS else "default",
        "usage": write_usage(usage),
    }
