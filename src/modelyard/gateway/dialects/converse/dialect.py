"""The dialect as the gateway sees it."""

from typing import Protocol
from urllib.parse import quote

from modelyard.domain.chat import Answer, Request
from modelyard.gateway.dialects.base import Reader, Written
from modelyard.gateway.dialects.converse.answer import read_answer
from modelyard.gateway.dialects.converse.failures import read_error
from modelyard.gateway.dialects.converse.parts import NAME
from modelyard.gateway.dialects.converse.read_stream import StreamReader, as_event
from modelyard.gateway.dialects.converse.write_request import write_request
from modelyard.gateway.dialects.upstream_errors import UpstreamError
from modelyard.lib.eventstream import Message


class EndpointDialect(Protocol):
    """What of a dialect an endpoint needs, where the model and the stream are named in the path
    and streams are no server-sent events."""

    name: str

    def path(self, request: Request) -> str:
        """Where to send it, escaped as it stands in the request line."""
        ...

    def write_request(self, request: Request) -> Written:
        """As `Dialect.write_request`."""
        ...

    def read_answer(self, body: bytes) -> Answer:
        """As `Dialect.read_answer`."""
        ...

    def reader(self) -> Reader:
        """As `Dialect.reader`; it is fed what `as_event` makes of each message."""
        ...

    def as_event(self, message: Message) -> bytes:
        """What a reader is fed for one message of the event stream. Raises Invalid."""
        ...

    def read_error(self, status: int, body: bytes, error_type: str) -> UpstreamError:
        """The error in an answer with an error status; `error_type` is `x-amzn-errortype`."""
        ...


class Converse:
    """Converse and ConverseStream of the Bedrock runtime.

    `cache_points`: whether it is said what the client wants cached; models that cannot cache refuse
    to be told.
    """

    name = NAME

    def __init__(self, *, cache_points: bool = True) -> None:
        self._cache_points = cache_points

    def path(self, request: Request) -> str:
        """Models are named by ids and by ARNs, which hold `:` and `/`."""
        ending = "converse-stream" if request.stream else "converse"
        return f"/model/{quote(request.model, safe='-_.~')}/{ending}"

    def write_request(self, request: Request) -> Written:
        """The body; model and stream are in the path. Raises Invalid."""
        return write_request(request, self._cache_points)

    def read_answer(self, body: bytes) -> Answer:
        """A whole answer. It has no id, no model and no time. Raises Invalid."""
        return read_answer(body)

    def reader(self) -> StreamReader:
        """For one stream."""
        return StreamReader()

    def as_event(self, message: Message) -> bytes:
        """What the reader is fed for one message. Raises Invalid."""
        return as_event(message)

    def read_error(self, status: int, body: bytes, error_type: str) -> UpstreamError:
        """The error in an answer with an error status."""
        return read_error(status, body, error_type)
