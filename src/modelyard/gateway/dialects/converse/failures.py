"""What Bedrock says when it refuses or gives up.

Source: the errors of Converse and ConverseStream in Bedrock's API reference.
"""

from typing import Any

import msgspec

from modelyard.gateway.dialects import upstream_errors
from modelyard.gateway.dialects.upstream_errors import UpstreamError

_STATUSES = {
    "accessdeniedexception": 403,
    "internalserverexception": 500,
    "modelerrorexception": 502,
    "modelnotreadyexception": 503,
    "modelstreamerrorexception": 502,
    "modeltimeoutexception": 504,
    "resourcenotfoundexception": 404,
    "servicequotaexceededexception": 429,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "validationexception": 400,
}
"""By kind. Bedrock itself answers 424, 429, 408 and 400 where it was a model's fault, or the quota
of an account is used up; a client that reads those would wait for, or change, the wrong thing."""


def read_error(status: int, body: bytes, error_type: str) -> UpstreamError:
    """The error in an answer with an error status. `error_type` is the header `x-amzn-errortype`,
    which names the kind, and behind a colon an address."""
    kind = error_type.partition(":")[0].rpartition("#")[2]
    status = _STATUSES.get(kind.lower(), status)
    return upstream_errors.read(status, failure(kind, decoded(body)))


def failure(kind: str, detail: dict[str, Any]) -> bytes:
    """An error in one form: its status where the kind tells one, kind and message."""
    message = detail.get("message") or detail.get("Message") or detail.get("originalMessage")
    status = _STATUSES.get(kind.lower())
    told = {"message": str(message or ""), "type": kind or "upstream_error", "status": status}
    return msgspec.json.encode({name: value for name, value in told.items() if value})


def decoded(body: bytes) -> dict[str, Any]:
    """A JSON object; empty for what is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
