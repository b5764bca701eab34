"""What models of different makers take beside what Converse has a word for.

Source: "Inference request parameters and response fields" in Bedrock's user guide.
"""

import re
from typing import Any

from modelyard.domain.chat import Request
from modelyard.gateway.dialects.chat.reasoning import effort_of_budget

_MAKERS = re.compile(
    r"(?:^|[./])(ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot"
    r"|moonshotai|nvidia|openai|qwen|writer|zai)\."
)
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_LOWER = {"minimal": "low"}
_UP_TO_HIGH = {"minimal": "low", "xhigh": "high", "max": "high"}


def maker(model: str) -> str:
    """Who made the model of this id; empty where the id does not tell (a profile of one's own)."""
    match = _MAKERS.search(model)
    return match.group(1) if match else ""


def top_k(request: Request) -> dict[str, Any] | None:
    """How to say it; None where there is no way."""
    made_by = maker(request.model)
    if made_by == "amazon":
        return {"inferenceConfig": {"topK": request.top_k}}
    return {"top_k": request.top_k} if made_by in ("", "anthropic", "mistral") else None


def thinking(request: Request) -> tuple[dict[str, Any], str, list[str]]:
    """What to say to the model, the effort for `outputConfig`, and what is left out.

    Anthropic's models are told to think only by a client that says so in their own words; an effort
    alone is what they know as such, and without thinking it ends at `high`.
    """
    asked = request.reasoning
    if asked is None or asked.effort == "none":
        return {}, "", []
    made_by = maker(request.model)
    near = asked.effort or effort_of_budget(asked.budget_tokens)
    if made_by == "openai":
        effort = _UP_TO_HIGH.get(near, near)
        return ({"reasoning_effort": effort} if effort else {}), "", []
    if made_by == "amazon":
        effort = _UP_TO_HIGH.get(near, near)
        said = {"type": "enabled", "maxReasoningEffort": effort}
        return ({"reasoningConfig": said} if effort else {}), "", []
    if made_by not in ("", "anthropic"):
        return {}, "", ["reasoning"]
    return _of_anthropic(request)


def _of_anthropic(request: Request) -> tuple[dict[str, Any], str, list[str]]:
    asked = request.reasoning
    assert asked is not None
    shown = {"display": "omitted"} if asked.summary == "omitted" else {}
    said: dict[str, Any] = {}
    if asked.budget_tokens is not None:
        said = {"thinking": {"type": "enabled", "budget_tokens": asked.budget_tokens, **shown}}
    elif asked.adaptive:
        said = {"thinking": {"type": "adaptive", **shown}}
    effort = (_LOWER if said else _UP_TO_HIGH).get(asked.effort, asked.effort)
    return said, effort if effort in _EFFORTS else "", []
