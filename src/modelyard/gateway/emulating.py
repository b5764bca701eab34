"""Dialects that do more than their own: the endpoint's with stop strings, the client's with the
answer put back into what was asked for."""

from collections.abc import Callable
from functools import partial

from modelyard.domain.chat import Answer, Ended, Event, Folder, Request, TextPiece, unfolded
from modelyard.domain.guarantees import StopCutter
from modelyard.gateway.dialects.base import Dialect, Reader, Told, Writer

Turn = Callable[[Answer], Answer]


def turning(client: Dialect, turn: Turn) -> Dialect:
    """The client's dialect, in which every answer is first turned into another."""
    return client._replace(
        write_answer=partial(_write_turned, client, turn),
        writer=partial(_TurnedWriter, client, turn),
    )


def _write_turned(client: Dialect, turn: Turn, answer: Answer, request: Request) -> bytes:
    return client.write_answer(turn(answer), request)


class _TurnedWriter:
    """Waits for the whole answer: what it turns into is not known before."""

    def __init__(
        self, client: Dialect, turn: Turn, request: Request, request_id: str, now_s: int
    ) -> None:
        self._writer: Writer = client.writer(request, request_id, now_s)
        self._turn = turn
        self._folder = Folder()

    def write(self, event: Event) -> bytes:
        """See `Writer`."""
        self._folder.add(event)
        return b""

    def end(self) -> bytes:
        """See `Writer`."""
        events = unfolded(self._turn(self._folder.answer()))
        return b"".join(map(self._writer.write, events)) + self._writer.end()

    def fail(self, error: Told) -> bytes:
        """See `Writer`."""
        return self._writer.fail(error)


def stopping(endpoint: Dialect, stops: tuple[str, ...]) -> Dialect:
    """The endpoint's dialect, in which an answer ends before the first of these texts."""
    return endpoint._replace(reader=partial(_StoppingReader, endpoint, stops))


class _StoppingReader:
    """Reads a stream as far as its stop string."""

    def __init__(self, endpoint: Dialect, stops: tuple[str, ...]) -> None:
        self._reader: Reader = endpoint.reader()
        self._cutter = StopCutter(stops)
        self._last = TextPiece("")
        """The piece that what is held back came with."""

    def feed(self, data: bytes) -> list[Event]:
        """See `Reader`."""
        said: list[Event] = []
        for event in self._reader.feed(data):
            if isinstance(event, TextPiece):
                self._text(event, said)
            else:
                self._flush(said)
                said.append(event)
            if self._cutter.matched:
                said.append(Ended("stop_sequence", self._cutter.matched, cut=True))
                break
        return said

    def _text(self, piece: TextPiece, said: list[Event]) -> None:
        if piece.part != self._last.part:
            self._flush(said)
        self._last = piece
        shown = self._cutter.feed(piece.text)
        if shown:
            said.append(TextPiece(shown, piece.part))

    def _flush(self, said: list[Event]) -> None:
        rest = self._cutter.rest()
        if rest:
            said.append(TextPiece(rest, self._last.part))
