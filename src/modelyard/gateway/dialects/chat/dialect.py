"""The dialect as the gateway sees it."""

from typing import Literal

from modelyard.domain.chat import Answer, Request
from modelyard.gateway.dialects.base import Told, Written
from modelyard.gateway.dialects.chat.answer import read_answer, write_answer
from modelyard.gateway.dialects.chat.parts import NAME
from modelyard.gateway.dialects.chat.read_request import read_request
from modelyard.gateway.dialects.chat.read_stream import StreamReader
from modelyard.gateway.dialects.chat.refusals import envelope
from modelyard.gateway.dialects.chat.write_request import Habits, write_request
from modelyard.gateway.dialects.chat.write_stream import StreamWriter


class Chat:
    """Chat completions as an endpoint takes them: engines differ in the names of two members.

    `max_tokens_name`: every compatible engine knows `max_tokens`; OpenAI's own newest models know
    `max_completion_tokens` alone. `reasoning_name`: under which earlier thoughts are sent back;
    empty for endpoints that refuse members they do not know (OpenAI, Mistral, Groq).
    """

    name = NAME
    route = "/v1/chat/completions"

    def __init__(
        self,
        *,
        max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        reasoning_name: Literal["reasoning_content", "reasoning", ""] = "reasoning_content",
    ) -> None:
        self._habits = Habits(max_tokens_name, reasoning_name)

    def read_request(self, body: bytes) -> Request:
        """A client's request. Raises Invalid."""
        return read_request(body)

    def write_request(self, request: Request) -> Written:
        """For an endpoint. Raises Invalid."""
        return write_request(request, self._habits)

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
        return StreamWriter(request, request_id, now_s)

    def envelope(self, error: Told) -> bytes:
        """The body of an answer that is an error."""
        return envelope(error)
