"""The dialect as the gateway sees it."""

from modelyard.domain.chat import Answer, Request
from modelyard.gateway.dialects.base import Told, Written
from modelyard.gateway.dialects.messages.answer import read_answer, write_answer
from modelyard.gateway.dialects.messages.read_request import read_request
from modelyard.gateway.dialects.messages.read_stream import StreamReader
from modelyard.gateway.dialects.messages.refusals import envelope
from modelyard.gateway.dialects.messages.words import NAME
from modelyard.gateway.dialects.messages.write_request import write_request
from modelyard.gateway.dialects.messages.write_stream import StreamWriter


class Messages:
    """Anthropic's messages."""

    name = NAME
    route = "/v1/messages"

    def read_request(self, body: bytes) -> Request:
        """A client's request. Raises Invalid."""
        return read_request(body)

    def write_request(self, request: Request) -> Written:
        """For an endpoint. Raises Invalid."""
        return write_request(request)

    def read_answer(self, body: bytes) -> Answer:
        """An endpoint's whole answer. Raises Invalid."""
        return read_answer(body)

    def write_answer(self, answer: Answer, request: Request) -> bytes:
        """For a client."""
        return write_answer(answer, request)

    def reader(self) -> StreamReader:
        """For one stream of an endpoint."""
        return StreamReader()

    def writer(self, request: Request, request_id: str, now_s: int) -> StreamWriter:
        """For one stream to a client."""
        return StreamWriter(request, request_id)

    def envelope(self, error: Told) -> bytes:
        """The body of an answer that is an error."""
        return envelope(error)
