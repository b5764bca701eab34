"""What a dialect is: a handful of functions, written once in each direction.

Every dialect can be the client's (it is asked in it) and the endpoint's (it is answered in it).
Reading checks what it needs and keeps the rest; what another dialect has no word for is refused
with `Invalid`, or left out and named in `Written.dropped` where the answer is right without it.
"""

from collections.abc import Callable
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


class Dialect(NamedTuple):
    """Stateless; the state of a stream is in its reader or writer."""

    name: str
    """`chat`, `responses` or `messages`."""
    route: str
    """`/v1/messages`."""
    read_request: Callable[[bytes], Request]
    """A client's request. Raises Invalid with the path of what is wrong, such as
    `messages[2].content`."""
    write_request: Callable[[Request], Written]
    """For an endpoint that speaks this dialect. Raises Invalid (code `unsupported_content` or
    `unsupported_parameter`) for what cannot be said in it and changes the answer."""
    read_answer: Callable[[bytes], Answer]
    """An endpoint's whole answer. Raises Invalid when it is none."""
    write_answer: Callable[[Answer, Request], bytes]
    """For a client that asked this."""
    reader: Callable[[], Reader]
    """For one stream of an endpoint."""
    writer: Callable[[Request, str, int], Writer]
    """For one stream to a client that asked this. The request's id stands in where the upstream
    names none, and the time in seconds where it says none."""
    envelope: Callable[[Told], bytes]
    """The body of an answer that is an error."""
