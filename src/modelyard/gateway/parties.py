"""Who an exchange has to do with: the client it answers, and what it may wait for."""

from typing import Protocol


class Client(Protocol):
    """The connection to the client, as an exchange sees it."""

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer."""

    def start_stream(self, status: int, headers: bytes) -> None:
        """The head of a streamed answer."""

    def write_stream(self, data: bytes) -> None:
        """A piece of it."""

    def end_stream(self, data: bytes, *, clean: bool) -> None:
        """Its last piece. Not clean: the connection closes without the mark of the end."""

    def exchange_over(self) -> None:
        """Ready for the next request."""


class Waits(Protocol):
    """What an exchange waits for, and can stop waiting for."""

    def cancel(self) -> object:
        """It is not waited for any more."""
