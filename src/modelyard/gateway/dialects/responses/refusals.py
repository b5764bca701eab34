"""What cannot be said in this dialect, and errors as it writes them.

Source: the error object of OpenAI's API reference, and `ResponseError` of its official SDK.
"""

import msgspec

from modelyard.errors import Invalid
from modelyard.gateway.dialects.base import Told

_ASKED_WRONGLY = "invalid_prompt"
_KNOWN = frozenset({
    "server_error", "rate_limit_exceeded", _ASKED_WRONGLY,
    "context_length_exceeded", "insufficient_quota",
})  # fmt: skip
"""Codes that clients act on: Codex compacts its conversation at `context_length_exceeded`."""


def unsupported_content(path: str, what: str) -> Invalid:
    """A part that an endpoint of this dialect cannot be sent."""
    return Invalid(
        f"{path} is {what}, which cannot be sent to an endpoint that speaks OpenAI responses",
        hint="leave it out, or use a service whose endpoint knows it",
        code="unsupported_content",
    )


def unsupported_parameter(name: str, why: str) -> Invalid:
    """A setting without which the answer would be another one."""
    return Invalid(
        f"{name} {why}",
        hint="leave it out, or use a service whose endpoint speaks chat completions",
        code="unsupported_parameter",
    )


def envelope(error: Told) -> bytes:
    """The body of an answer that is an error."""
    return msgspec.json.encode({
        "error": {
            "message": error.message,
            "type": error.kind,
            "param": error.param,
            "code": error.code or None,
        }
    })  # fmt: skip


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
