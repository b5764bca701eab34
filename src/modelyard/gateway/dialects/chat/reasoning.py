"""What a model thought, both directions, and how much it is to think.

Engines write thoughts into `reasoning_content` (llama.cpp, vLLM, DeepSeek) or `reasoning` (newer
vLLM, OpenRouter). What lets a model recognise its own thoughts has a place only in OpenRouter's
`reasoning_details`; OpenAI's SDKs send members back that they do not know, so it survives a turn.

Source: OpenRouter's documentation of reasoning tokens.
"""

from collections.abc import Iterable
from typing import Any

from modelyard.domain.chat import Request, Thinking
from modelyard.gateway.dialects.fields import Fields, wrong

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_BUDGETS = ((4096, "low"), (16384, "medium"))
"""Up to so many tokens of thinking are that effort; more is `high`."""
_OF_MESSAGES = {"none": "", "minimal": "low", "xhigh": "high", "max": "high"}
"""Clients of Anthropic name efforts for its models. Every engine that knows efforts knows `low`,
`medium` and `high`, and refuses what it does not know; not to think is what Anthropic's models do
unasked, so engines are left to what they do unasked."""


def read_effort(fields: Fields) -> str:
    """`reasoning_effort`. Raises Invalid."""
    effort = fields.text("reasoning_effort")
    if effort and effort not in EFFORTS:
        raise wrong(f"reasoning_effort is {effort!r}", f"it may be {', '.join(EFFORTS)}")
    return effort


def written_effort(request: Request) -> str:
    """The effort for an endpoint; empty where the engine decides, as for `adaptive` thinking."""
    asked = request.reasoning
    if asked is None:
        return ""
    if request.dialect == "messages" and asked.effort:
        return _OF_MESSAGES.get(asked.effort, asked.effort)
    return asked.effort or effort_of_budget(asked.budget_tokens)


def effort_of_budget(budget_tokens: int | None) -> str:
    """The effort that comes nearest to at most so many tokens of thinking; empty for None."""
    if budget_tokens is None:
        return ""
    return next((effort for most, effort in _BUDGETS if budget_tokens <= most), "high")


def read_thoughts(fields: Fields) -> list[Thinking]:
    """Of an assistant's message: the details where there are some, else the text."""
    text = fields.text("reasoning_content")
    text = fields.text("reasoning") or text
    thoughts: list[Thinking] = []
    last: int | None = None
    for raw, at in fields.list("reasoning_details"):
        detail = Fields(raw, at)
        index = detail.count("index")
        same = index is not None and index == last
        thoughts[-1:] = _continued(thoughts[-1:], read_detail(detail), same)
        last = index
    if text and not any(thought.text for thought in thoughts):
        thoughts.insert(0, Thinking(text))
    return [thought for thought in thoughts if thought != Thinking()]


def _continued(before: list[Thinking], detail: Thinking, same: bool) -> list[Thinking]:
    """Details of one index are pieces of one thought: clients keep a stream's as they came."""
    if not (same and before):
        return [*before, detail]
    (thought,) = before
    return [
        Thinking(
            thought.text + detail.text,
            detail.signature or thought.signature,
            detail.encrypted or thought.encrypted,
            thought.id or detail.id,
            thought.is_summary,
        )
    ]


def read_detail(fields: Fields) -> Thinking:
    """One of `reasoning_details`. Raises Invalid."""
    kind, id, signature = fields.text("type"), fields.text("id"), fields.text("signature")
    if kind == "reasoning.encrypted":
        return Thinking(encrypted=fields.text("data"), id=id)
    if kind == "reasoning.summary":
        return Thinking(fields.text("summary"), signature, id=id, is_summary=True)
    return Thinking(fields.text("text"), signature, id=id)


def write_thoughts(thoughts: Iterable[Thinking]) -> dict[str, Any]:
    """For a client: the text, and what lets it be recognised where there is such."""
    thoughts = list(thoughts)
    text = "\n\n".join(thought.text for thought in thoughts if thought.text)
    written: dict[str, Any] = {"reasoning_content": text} if text else {}
    if any(thought.signature or thought.encrypted for thought in thoughts):
        written["reasoning_details"] = [
            detail for at, thought in enumerate(thoughts) for detail in write_details(thought, at)
        ]
    return written


def write_details(thought: Thinking, index: int) -> list[dict[str, Any]]:
    """A thought as `reasoning_details`: the text, and what only its maker can read, apart."""
    place: dict[str, Any] = {"index": index} | ({"id": thought.id} if thought.id else {})
    signed = {"signature": thought.signature} if thought.signature else {}
    kind = "summary" if thought.is_summary else "text"
    details: list[dict[str, Any]] = []
    if thought.text or thought.signature:
        details.append({"type": f"reasoning.{kind}", kind: thought.text, **signed, **place})
    if thought.encrypted:
        details.append({"type": "reasoning.encrypted", "data": thought.encrypted, **place})
    return details
