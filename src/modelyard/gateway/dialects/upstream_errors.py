"""What upstreams say when they refuse, read into one form.

Engines word the same mistake differently, and some answer 500 for what is the client's mistake. A
client should meet one code whatever runs behind the name: the wordings below are those of OpenAI,
vLLM, SGLang, llama.cpp, TGI, Anthropic, Bedrock, Gemini and xAI.
"""

import re
from typing import Any, NamedTuple

import msgspec

CONTEXT_LENGTH = "context_length_exceeded"
MAX_MESSAGE = 2000

_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|available context size|context window"
    r"|longer than the model'?s context|max_tokens must be at least 1, got -|prompt is too long"
    r"|input is too long|`inputs` tokens|exceed_context_size|exceeds? (the )?context"
    r"|input token count.{0,40}exceeds|maximum prompt length is|longer than the maximum model",
    re.IGNORECASE,
)
_NOT_SUPPORTED = re.compile(r"\b(image|audio|video)s?\b.{0,20}\bnot supported", re.IGNORECASE)


class UpstreamError(NamedTuple):
    """`body` is the answer for the client: the upstream's own bytes where they are of OpenAI's
    shape and right, else made anew."""

    status: int
    message: str
    code: str
    body: bytes
    kind: str = "upstream_error"
    param: str | None = None
    own_code: str = ""
    """As the upstream wrote it, whether it is special or not."""


def read(status: int, body: bytes) -> UpstreamError:
    """The error in an answer with an error status; `code` is empty for one that is not special."""
    detail, in_shape = _detail(body)
    message = str(detail.get("message") or "")[:MAX_MESSAGE]
    if status in (400, 413, 422, 500) and _TOO_LONG.search(f"{message} {detail.get('code')}"):
        return _made(400, message, "invalid_request_error", CONTEXT_LENGTH, "messages")
    if status == 500 and _NOT_SUPPORTED.search(message):
        return _made(400, message, "invalid_request_error", "unsupported_content", "messages")
    if not message:
        message = f"the upstream answered {status}"
        return _made(status, message, "upstream_error", f"upstream_{status}", None)._replace(
            code=""
        )
    kind = str(detail.get("type") or "upstream_error")
    param = detail.get("param")
    if in_shape:
        return UpstreamError(
            status, message, "", body, kind, _text(param), detail.get("code") or ""
        )
    return _made(status, message, kind, None, param)


def read_event(data: bytes) -> UpstreamError:
    """An error event of a stream, with the status that it names, else 500."""
    detail, _ = _detail(data)
    named = (detail.get(name) for name in ("code", "status", "status_code"))
    statuses = (value for value in named if isinstance(value, int) and 400 <= value < 600)
    return read(next(statuses, 500), data)


def _detail(body: bytes) -> tuple[dict[str, Any], bool]:
    """The error object, and whether it is where and how OpenAI's clients expect it."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}, False
    if isinstance(value, list) and len(value) == 1:
        value = value[0]  # Gemini puts its errors into a list
        body = b""
    if not isinstance(value, dict):
        return {}, False
    error = value.get("error", value)  # older vLLM and SGLang have no envelope
    if isinstance(error, str):
        return {"message": error}, False
    if not isinstance(error, dict):
        return {}, False
    in_shape = bool(body) and error is not value and isinstance(error.get("code"), str | None)
    return error, in_shape


def _made(status: int, message: str, kind: str, code: str | None, param: Any) -> UpstreamError:
    error = {"message": message, "type": kind, "param": param, "code": code}
    body = msgspec.json.encode({"error": error})
    return UpstreamError(status, message, code or "", body, kind, _text(param))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
