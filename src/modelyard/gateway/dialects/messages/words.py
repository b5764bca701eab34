"""Names and words of Anthropic's API that several parts of the dialect share."""

from modelyard.errors import Invalid

NAME = "messages"
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


def unsupported_content(path: str, what: str) -> Invalid:
    """For a part that an endpoint of this dialect cannot be sent."""
    return Invalid(
        f"{path} is {what}, which cannot be sent to an endpoint that speaks Anthropic's messages",
        hint="leave it out, or use a service whose endpoint knows it",
        code="unsupported_content",
    )


def unsupported_parameter(name: str, why: str) -> Invalid:
    """For a setting without which the answer would be another one."""
    return Invalid(
        f"{name} {why}",
        hint="leave it out, or use a service whose endpoint knows it",
        code="unsupported_parameter",
    )
