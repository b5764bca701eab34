"""A whole answer, both directions.

Source: `response.py` of OpenAI's official SDK.
"""

import msgspec

from modelyard.domain.chat import Answer, Request, Usage
from modelyard.errors import Invalid
from modelyard.gateway.dialects.fields import UNREADABLE, Fields
from modelyard.gateway.dialects.responses.ids import Ids, digest
from modelyard.gateway.dialects.responses.output import (
    OutputWriter,
    Said,
    ending,
    finish_of,
    read_item,
)
from modelyard.gateway.dialects.responses.resource import response, settings
from modelyard.gateway.dialects.responses.tools import custom_tools
from modelyard.gateway.dialects.responses.usage import read_usage


class Reason(msgspec.Struct):
    """`incomplete_details`."""

    reason: str | None = None


class Kind(msgspec.Struct, frozen=True):
    """Of an item or a part, only what it is."""

    type: str = ""


class ItemKinds(Kind, frozen=True):
    """Of an item, its kind; its parts stay bytes until somebody asks."""

    content: msgspec.Raw = msgspec.Raw()


class Outline(msgspec.Struct):
    """Of a response, what tells how it ended and what it took."""

    id: str | None = None
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    incomplete_details: Reason | None = None
    error: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    service_tier: str | None = None
    tool_usage: msgspec.Raw = msgspec.Raw()
    output: list[ItemKinds] | None = None

    def used(self) -> Usage | None:
        """What it took."""
        return read_usage(self.usage, self.service_tier or "", self.tool_usage, self.kinds())

    def kinds(self) -> list[str]:
        """Of its items."""
        return [item.type for item in self.output or ()]

    def finish(self) -> str:
        """Why it ended; one of FINISHES."""
        has_call = any(kind in CALLS for kind in self.kinds())
        has_refusal = any(_has_refusal(item.content) for item in self.output or ())
        reason = (self.incomplete_details and self.incomplete_details.reason) or ""
        return finish_of(self.status or "completed", reason, has_call, has_refusal)

    def has_failed(self) -> bool:
        """Whether it is an error; some endpoints name no status."""
        has_error = bytes(self.error) not in (b"", b"null")
        return self.status in ("failed", "cancelled") or (self.status is None and has_error)

    def is_pending(self) -> bool:
        """Whether it is answered later (`background`)."""
        return self.status in ("queued", "in_progress")


def _has_refusal(content: msgspec.Raw) -> bool:
    if b'"refusal"' not in bytes(content):
        return False
    try:
        return any(part.type == "refusal" for part in _contents.decode(content))
    except UNREADABLE:
        return False


CALLS = ("function_call", "custom_tool_call")
"""Items with which the client is asked to run a tool."""
_contents = msgspec.json.Decoder(list[Kind])
_outlines = msgspec.json.Decoder(Outline)


def read_outline(body: bytes | msgspec.Raw) -> Outline:
    """Raises Invalid when it is no response."""
    try:
        return _outlines.decode(body)
    except UNREADABLE as error:
        raise Invalid(f"the answer is no response of OpenAI's shape: {error}") from None


def read_answer(body: bytes) -> Answer:
    """Raises Invalid when it is no answer: not of this shape, failed, or not finished yet."""
    fields, outline = Fields.of(body), read_outline(body)
    if outline.has_failed() or outline.is_pending():
        raise Invalid(
            f"the response {outline.id!r} is {outline.status}: {failure_text(outline.error)}",
            code="response_failed",
        )
    if fields.raw("output") is None:
        raise Invalid("output is missing: this is no response")
    parts: list[Said] = []
    for raw, path in fields.list("output"):
        parts += read_item(raw, path)
    return Answer(
        id=outline.id or "",
        model=outline.model or "",
        created_s=int(outline.created_at or 0),
        parts=tuple(parts),
        finish=outline.finish(),
        usage=outline.used(),
    )


def failure_text(error: msgspec.Raw) -> str:
    """The text of a response's `error`."""
    data = bytes(error)
    if data in (b"", b"null"):
        return "it holds no answer"
    value = msgspec.json.decode(data)
    message = value.get("message") if isinstance(value, dict) else value
    return str(message or "it holds no answer")[:2000]


def write_answer(answer: Answer, request: Request) -> bytes:
    """A response object that repeats the settings of the request, as OpenAI does."""
    ids = Ids(answer.id or digest(msgspec.json.encode(answer.parts).decode()))
    status, incomplete = ending(answer.finish)
    written = response(
        settings(request),
        id=ids.response,
        created_s=answer.created_s,
        model=answer.model or request.model,
        status=status,
        output=OutputWriter(ids, custom_tools(request)).items(answer),
        usage=answer.usage,
        incomplete=incomplete,
        service_tier=request.service_tier,
    )
    return msgspec.json.encode(written)
