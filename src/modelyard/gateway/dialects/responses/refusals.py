"""What cannot be said in this dialect, and errors as it writes them.

Source: the error object of OpenAI's API reference, and `ResponseError` of its official SDK.
"""

from functools import partial

import msgspec

from modelyard.gateway.dialects import refusals
from modelyard.gateway.dialects.base import Told

unsupported_content = partial(refusals.unsupported_content, "OpenAI responses")
_ASKED_WRONGLY = "invalid_prompt"
_KNOWN = frozenset({
    "server_error", "rate_limit_exceeded", _ASKED_WRONGLY,
    "context_length_exceeded", "insufficient_quota",
})  # fmt: skip
"""Codes that clients act on: Codex compacts its conversation at `context_length_exceeded`."""


def error_event(error: Told, events: int) -> bytes:
    """The last event of a stream that broke off after so many, where no response can be told to
    have failed: its bytes passed through."""
    told = {
        "type": "error",
        "code": error.code or None,
        "message": error.message,
        "param": error.param,
        "sequence_number": events,
    }
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode(told)


def failure(error: Told) -> dict[str, str | None]:
    """The `error` of a response that failed: the code is one of those that clients know."""
    return {
        "code": _code(error),
        "message": error.message,
        "type": error.kind or None,
        "param": error.param,
    }


def _code(error: Told) -> str:
    if error.code in _KNOWN:
        return error.code
    if error.status == 429:
        return "rate_limit_exceeded"
    return _ASKED_WRONGLY if 400 <= error.status < 500 else "server_error"
