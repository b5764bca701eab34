"""What a dialect is: one protocol, written once in each direction.

Every dialect can be the client's (it is asked in it) and the endpoint's (it is answered in it).
Reading checks what it needs and keeps the rest; what another dialect has no word for is refused
with `Invalid`, or left out and named in `Written.dropped` where the answer is right without it.
"""

from typing import NamedTuple, Protocol

from modelyard.domain.chat import Answer, Event, Request


class Written(NamedTuple):
    """A request for an endpoint, and what was left out of it, such as `tools.web_search`."""

    body: bytes
    dropped: tuple[str, ...] = ()


class Told(NamedTuple):
    """An error for a client, before it is put into the dialect's words."""

    status: int
    message: str
    kind: str
    """OpenAI's `type`: `invalid_request_error`, `rate_limit_error` …"""
    code: str
    param: str | None = None
    request_id: str = ""


class Reader(Protocol):
    """Reads the events of one endpoint's stream."""

    def feed(self, data: bytes) -> list[Event]:
        """What one server-sent event says; its `data` is JSON. `[DONE]` is never handed in.

        Raises Invalid for one that is no part of an answer.
        """
        ...


class Writer(Protocol):
    """Writes the events of one client's stream, as bytes that are whole server-sent events."""

    def write(self, event: Event) -> bytes:
        """What this event is in the dialect; empty where it is nothing yet."""
        ...

    def end(self) -> bytes:
        """The last bytes of a stream that came to its proper end, after `Ended`."""
        ...

    def fail(self, error: Told) -> bytes:
        """The last bytes of a stream that broke off: never what a whole one ends with."""
        ...


class Dialect(Protocol):
    """Stateless; the state of a stream is in its reader or writer."""

    name: str
    """`chat`, `responses` or `messages`."""
    route: str
    """`/v1/messages`."""

    def read_request(self, body: bytes) -> Request:
        """Raises Invalid with the path of what is wrong, such as `messages[2].content`."""
        ...

    def write_request(self, request: Request) -> Written:
        """For an endpoint that speaks this dialect. Raises Invalid (code `unsupported_content` or
        `unsupported_parameter`) for what cannot be said in it and changes the answer."""
        ...

    def read_answer(self, body: bytes) -> Answer:
        """Raises Invalid when it is no answer."""
        ...

    def write_answer(self, answer: Answer, request: Request) -> bytes:
        """For a client that asked this."""
        ...

    def reader(self) -> Reader:
        """For one stream of an endpoint."""
        ...

    def writer(self, request: Request, request_id: str, now_s: int) -> Writer:
        """For one stream to a client. `request_id` stands in where the upstream names no id."""
        ...

    def envelope(self, error: Told) -> bytes:
        """The body of an answer that is an error."""
        ...
