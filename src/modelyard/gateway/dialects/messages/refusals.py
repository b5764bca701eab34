"""Errors as Anthropic's clients read them.

Source: docs.anthropic.com on errors; `_exceptions.py` of the official SDK.
"""

import msgspec

from modelyard.gateway.dialects.base import Told

_KINDS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def envelope(error: Told) -> bytes:
    """`{"type": "error", "error": {type, message}, "request_id"}`."""
    usual = "invalid_request_error" if error.status < 500 else "api_error"
    told = {"type": _KINDS.get(error.status, usual), "message": error.message}
    return msgspec.json.encode(
        {"type": "error", "error": told, "request_id": error.request_id or None}
    )


def error_event(error: Told, _events: int = 0) -> bytes:
    """The last event of a stream that broke off."""
    return b"event: error\ndata: %b\n\n" % envelope(error)
