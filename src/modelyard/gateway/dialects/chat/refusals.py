"""What cannot be said in chat completions, and errors as they are written there."""

import msgspec

from modelyard.errors import Invalid
from modelyard.gateway.dialects.base import Told


def unsupported_content(path: str, what: str) -> Invalid:
    """For a part that an endpoint of this dialect cannot be sent."""
    return Invalid(
        f"{path} is {what}, which cannot be sent to an endpoint that speaks chat completions",
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


def envelope(error: Told) -> bytes:
    """`{"error": {message, type, param, code}}`, as OpenAI's API reference has it."""
    told = {
        "message": error.message,
        "type": error.kind,
        "param": error.param,
        "code": error.code or None,
    }
    return msgspec.json.encode({"error": told})
