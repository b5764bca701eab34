"""From the pieces of an answer to the answer, and back."""

from collections.abc import Iterable, Iterator

from modelyard.domain.chat.answer import Answer, Usage
from modelyard.domain.chat.events import (
    CallBegun,
    CallPiece,
    Ended,
    Event,
    ReasoningPiece,
    RefusalPiece,
    Started,
    TextPiece,
    Used,
)
from modelyard.domain.chat.request import Foreign, Refusal, Text, Thinking, ToolCall

_Made = Text | Thinking | Refusal | ToolCall | Foreign


class _Open:
    """A part that is being put together. Pieces are joined once, at the end: an answer of 100,000
    pieces is not copied 100,000 times."""

    __slots__ = ("encrypted", "first", "identity", "pieces", "signature")

    def __init__(self, first: Event, identity: tuple[object, ...]) -> None:
        self.first = first
        self.identity = identity
        self.pieces: list[str] = []
        self.signature = ""
        self.encrypted = ""

    def made(self) -> _Made:
        text, first = "".join(self.pieces), self.first
        if isinstance(first, TextPiece):
            return Text(text)
        if isinstance(first, RefusalPiece):
            return Refusal(text)
        if isinstance(first, CallBegun):
            return ToolCall(first.id, first.name, text, custom=first.custom)
        if isinstance(first, ReasoningPiece):
            return Thinking(text, self.signature, self.encrypted, first.id, first.is_summary)
        assert isinstance(first, Foreign)
        return first


class Folder:
    """Takes the events of one answer; `answer` is what they say so far."""

    __slots__ = ("_calls", "_ended", "_parts", "_started", "_usage")

    def __init__(self) -> None:
        self._started = Started()
        self._ended = Ended("stop")
        self._usage: Usage | None = None
        self._parts: list[_Open] = []
        self._calls: dict[int, _Open] = {}

    def add(self, event: Event) -> None:
        """One more event."""
        match event:
            case Started():
                self._started = event
            case Ended():
                self._ended = event
            case Used():
                self._usage = event.usage
            case TextPiece():
                self._at(event, ("text", event.part)).pieces.append(event.text)
            case RefusalPiece():
                self._at(event, ("refusal",)).pieces.append(event.text)
            case ReasoningPiece():
                self._think(event)
            case CallBegun():
                self._calls[event.index] = self._at(event, ("call", event.index))
            case CallPiece():
                if event.index in self._calls:
                    self._calls[event.index].pieces.append(event.arguments)
            case Foreign():
                self._parts.append(_Open(event, ()))

    def answer(self) -> Answer:
        """All parts in the order in which they began."""
        return Answer(
            id=self._started.id,
            model=self._started.model,
            created_s=self._started.created_s,
            parts=tuple(part.made() for part in self._parts),
            finish=self._ended.finish,
            stop_sequence=self._ended.stop_sequence,
            usage=self._usage,
        )

    def _think(self, event: ReasoningPiece) -> None:
        part = self._at(event, ("thinking", event.part, event.is_summary))
        part.pieces.append(event.text)
        part.signature = event.signature or part.signature
        part.encrypted = event.encrypted or part.encrypted

    def _at(self, event: Event, identity: tuple[object, ...]) -> _Open:
        """The part of this piece: the last one if it is of the same, else a new one."""
        if self._parts and self._parts[-1].identity == identity:
            return self._parts[-1]
        part = _Open(event, identity)
        self._parts.append(part)
        return part


def folded(events: Iterable[Event]) -> Answer:
    """The answer that these events make."""
    folder = Folder()
    for event in events:
        folder.add(event)
    return folder.answer()


def unfolded(answer: Answer) -> Iterator[Event]:
    """A whole answer as the events that would have made it; each part in one piece."""
    yield Started(answer.id, answer.model, answer.created_s)
    calls = 0
    for number, part in enumerate(answer.parts):
        match part:
            case Text():
                yield TextPiece(part.text, number)
            case Refusal():
                yield RefusalPiece(part.text)
            case Thinking():
                yield ReasoningPiece(
                    part.text, part.signature, part.encrypted, part.id, part.is_summary, number
                )
            case ToolCall():
                yield CallBegun(calls, part.id, part.name, part.custom)
                yield CallPiece(calls, part.arguments)
                calls += 1
            case Foreign():
                yield part
    if answer.usage is not None:
        yield Used(answer.usage)
    yield Ended(answer.finish, answer.stop_sequence)
