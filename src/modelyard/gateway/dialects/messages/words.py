"""Names and words of Anthropic's API that several parts of the dialect share."""

from functools import partial

from modelyard.gateway.dialects import refusals

NAME = "messages"
unsupported_content = partial(refusals.unsupported_content, "Anthropic's messages")
BILLING = "x-anthropic-billing-header:"
"""Begins a system text of Claude Code that speaks to Anthropic's billing and to no model."""

_FINISHES = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "pause": "pause_turn",
    "refusal": "refusal",
    "content_filter": "refusal",
}


def read_finish(reason: str | None) -> str:
    """Of `stop_reason`, one of FINISHES."""
    return _FINISHES.get(reason or "", "stop")


def stop_reason(finish: str) -> str:
    """Of one of FINISHES."""
    return _STOP_REASONS.get(finish, "end_turn")
