"""Why an answer ended, in OpenAI's words and in those of engines, and back."""

_READ = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length",
    "tool_calls": "tool_calls", "function_call": "tool_calls", "tool_use": "tool_calls",
    "content_filter": "content_filter", "stop_sequence": "stop_sequence", "refusal": "refusal",
}  # fmt: skip
_WRITTEN = {
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}


def read_finish(reason: str, stopped_by: object, has_calls: bool, has_refusal: bool) -> str:
    """One of FINISHES. Engines say `stop` where they mean that the client should run tools, as
    OpenAI does when the client named the tool; clients of other dialects rely on the difference.

    `stopped_by` is vLLM's `stop_reason` or SGLang's `matched_stop`: the stop text where it was one.
    """
    finish = _READ.get(reason, "stop")
    if finish != "stop":
        return finish
    if has_calls:
        return "tool_calls"
    if stop_text(stopped_by):
        return "stop_sequence"
    return "refusal" if has_refusal else "stop"


def stop_text(stopped_by: object) -> str:
    """The client's stop text; empty where it was a token, or another word for the end."""
    return stopped_by if isinstance(stopped_by, str) and stopped_by not in _READ else ""


def write_finish(finish: str, has_refusal: bool, is_legacy: bool) -> str:
    """`finish_reason`. A refusal without words of its own is what a filter does; where the client
    is to go on (`pause`) there is no better word than `stop`."""
    if finish == "tool_calls" and is_legacy:
        return "function_call"
    if finish == "refusal" and not has_refusal:
        return "content_filter"
    return _WRITTEN.get(finish, "stop")
