"""The OpenAI dialect's edges: error envelope, statuses, route paths."""

from math import ceil

import msgspec

from modelyard import errors
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.upstream_errors import UpstreamError

MAX_RETRY_AFTER_S = 120.0
"""The official clients do not retry at all when they are told to wait longer."""

_STATUSES: tuple[tuple[type[errors.ModelyardError], int, str], ...] = (
    (errors.Unauthenticated, 401, "invalid_request_error"),
    (errors.Forbidden, 403, "permission_error"),
    (errors.NotFound, 404, "invalid_request_error"),
    (errors.Conflict, 409, "invalid_request_error"),
    (errors.TooLarge, 413, "invalid_request_error"),
    (errors.Blocked, 400, "content_filter"),
    (errors.Limited, 429, "rate_limit_error"),
    (errors.Upstream, 502, "upstream_error"),
    (errors.Unavailable, 503, "service_unavailable"),
    (errors.TimedOut, 504, "timeout"),
    (errors.Invalid, 400, "invalid_request_error"),
)
_REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 413: "Content Too Large",
    422: "Unprocessable Content", 426: "Upgrade Required", 429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout",
}  # fmt: skip


def status_of(error: errors.ModelyardError) -> int:
    """The HTTP status for an error."""
    return _entry(error)[1]


def reason_of(status: int) -> str:
    """The reason phrase for a status line."""
    return _REASONS.get(status, "Status")


_PARAMS = {"previous_response_not_found": "previous_response_id"}
"""What the official clients are told of it beside the code."""


def told(error: errors.ModelyardError, status: int = 0, request_id: str = "") -> Told:
    """An error of ours for a client, the hint at the end of the message."""
    text = error.message if not error.hint else f"{error.message} ({error.hint})"
    _, usual, kind = _entry(error)
    return Told(status or usual, text, kind, error.code, _PARAMS.get(error.code), request_id)


def told_by_upstream(error: UpstreamError, request_id: str = "") -> Told:
    """An endpoint's error for a client that speaks another dialect."""
    code = error.code or error.own_code
    return Told(error.status, error.message, error.kind, code, error.param, request_id)


def envelope(error: Told) -> bytes:
    """`{"error": {message, type, param, code}}`."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.kind,
                "param": error.param,
                "code": error.code or None,
            }
        }
    )


def retry_headers(error: errors.ModelyardError, status: int) -> bytes:
    """When it is worth trying again, as the official clients read it."""
    if isinstance(error, errors.Limited):
        wait_s = min(max(error.retry_after_s, 0.001), MAX_RETRY_AFTER_S)
        told = b"Retry-After: %d\r\nRetry-After-Ms: %d\r\n" % (ceil(wait_s), ceil(wait_s * 1000))
        return told if error.worth_retrying else told + b"X-Should-Retry: false\r\n"
    return b"Retry-After: 1\r\n" if status in (429, 503) else b""


def upstream_message(raw: msgspec.Raw) -> str:
    """The text of an upstream's `error` member; empty when there is none."""
    data = bytes(raw)
    if not data or data == b"null":
        return ""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "an error that cannot be read"
    message = value.get("message") if isinstance(value, dict) else value
    return str(message or "unknown error")[:2000]


def _entry(error: errors.ModelyardError) -> tuple[type[errors.ModelyardError], int, str]:
    for entry in _STATUSES:
        if isinstance(error, entry[0]):
            return entry
    return (errors.ModelyardError, 500, "internal_error")
