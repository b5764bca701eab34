"""The stream of an endpoint, and by the same means its whole answer.

`timings` and `prompt_progress` of llama.cpp, `logprobs`, and answers beside the first have no
neutral word.
"""

import msgspec

from modelyard.domain.chat import (
    Ended,
    Event,
    Failed,
    Foreign,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Started,
    Text,
    TextPiece,
    Thinking,
    Used,
)
from modelyard.errors import Invalid
from modelyard.gateway.dialects.chat.calls import Calls
from modelyard.gateway.dialects.chat.chunks import (
    CallDelta,
    Choice,
    Chunk,
    FunctionPiece,
    Said,
    read_chunk,
)
from modelyard.gateway.dialects.chat.finish import read_finish, stop_text
from modelyard.gateway.dialects.chat.parts import NAME, read_parts
from modelyard.gateway.dialects.chat.reasoning import read_detail
from modelyard.gateway.dialects.chat.usage import read_usage
from modelyard.gateway.dialects.fields import Fields, elements
from modelyard.gateway.dialects.openai import upstream_message

_LEGACY = -1
"""The number of the one `function_call`, beside which there are no numbered calls."""


class StreamReader:
    """Reads one stream. After its end nothing but usage is taken from it."""

    __slots__ = (
        "_calls",
        "_has_ended",
        "_has_refusal",
        "_has_started",
        "_id",
        "_thoughts",
        "_usage",
    )

    def __init__(self) -> None:
        self._id = ""
        self._calls = Calls()
        self._thoughts = _Thoughts()
        self._usage = b""
        self._has_started = False
        self._has_refusal = False
        self._has_ended = False

    def feed(self, data: bytes) -> list[Event]:
        """What one event says. Raises Invalid for one that is no part of an answer."""
        chunk = read_chunk(data)
        failure = chunk.failure()
        if failure is not None:
            return [Failed(upstream_message(failure), data)]
        events = self.read(chunk)
        choice = chunk.first()
        if choice is not None and choice.finish_reason == "error":
            return [Failed("the upstream gave up and did not say why", data)]
        return events

    def read(self, chunk: Chunk) -> list[Event]:
        """What a chunk or an answer says that is no error. Raises Invalid."""
        events: list[Event] = []
        choice = chunk.first()
        if choice is not None and not self._has_ended:
            if not self._has_started:
                events.append(self._started(chunk))
            said = choice.delta or choice.message
            if said is not None:
                self._say(said, events)
            if choice.finish_reason:
                self._end(choice, events)
        self._use(chunk, events)
        return events

    def _started(self, chunk: Chunk) -> Started:
        self._has_started = True
        self._id = "" if chunk.id is None else str(chunk.id)
        return Started(self._id, chunk.model or "", int(chunk.created or 0))

    def _say(self, said: Said, events: list[Event]) -> None:
        self._thoughts.add(said, events)
        if isinstance(said.content, str):
            if said.content:
                events.append(TextPiece(said.content))
        elif said.content:
            _read_content(said.content, events)
        if said.refusal:
            self._has_refusal = True
            events.append(RefusalPiece(said.refusal))
        if bytes(said.audio) not in (b"", b"null"):
            events.append(Foreign(NAME, "audio", said.audio))
        events += [Foreign(NAME, "image_url", image) for image in said.images or ()]
        for call in said.tool_calls or ():
            events += self._calls.add(call, self._id)
        if said.function_call is not None:
            events += self._calls.add(_legacy(said.function_call), self._id)

    def _end(self, choice: Choice, events: list[Event]) -> None:
        self._has_ended = True
        events += self._calls.finish(self._id)
        stopped_by = choice.stop_reason or choice.matched_stop
        finish = read_finish(
            choice.finish_reason or "", stopped_by, bool(self._calls), self._has_refusal
        )
        text = stop_text(stopped_by) if finish == "stop_sequence" else ""
        events.append(Ended(finish, text))

    def _use(self, chunk: Chunk, events: list[Event]) -> None:
        """Some engines repeat it in every chunk."""
        raw = bytes(chunk.usage)
        if raw != self._usage and (usage := read_usage(chunk.usage, chunk.service_tier or "")):
            self._usage = raw
            events.append(Used(usage))


def _legacy(piece: FunctionPiece) -> CallDelta:
    return CallDelta(index=_LEGACY, function=piece)


class _Thoughts:
    """Thoughts have two names; where both are there, they say the same. Details say it again."""

    __slots__ = ("_summaries",)

    def __init__(self) -> None:
        self._summaries: set[int] = set()
        """Of the details, those that are summaries: what closes one does not say so again."""

    def add(self, said: Said, events: list[Event]) -> None:
        pieces = self._details(said.reasoning_details)
        text = said.reasoning_content or said.reasoning
        if isinstance(text, str) and text and not any(piece.text for piece in pieces):
            pieces.insert(0, ReasoningPiece(text))
        events += [piece for piece in pieces if piece.text or piece.signature or piece.encrypted]

    def _details(self, details: msgspec.Raw) -> list[ReasoningPiece]:
        if bytes(details) in (b"", b"null"):
            return []
        fields = [Fields(raw, at) for raw, at in elements(details, "reasoning_details")]
        return [self._piece(read_detail(detail), detail.count("index") or 0) for detail in fields]

    def _piece(self, thought: Thinking, part: int) -> ReasoningPiece:
        if thought.is_summary:
            self._summaries.add(part)
        return _piece(thought, part, part in self._summaries)


def _piece(thought: Thinking, part: int = 0, is_summary: bool = False) -> ReasoningPiece:
    return ReasoningPiece(
        thought.text, thought.signature, thought.encrypted, thought.id, is_summary, part
    )


def _read_content(parts: list[msgspec.Raw], events: list[Event]) -> None:
    """Mistral writes lists, with its thoughts among the texts."""
    for part in read_parts(msgspec.Raw(msgspec.json.encode(parts)), "content"):
        match part:
            case Text(text=text):
                events.append(TextPiece(text))
            case Thinking():
                events.append(_piece(part))
            case Refusal(text=text):
                events.append(RefusalPiece(text))
            case Foreign():
                events.append(part)


def whole(body: bytes) -> list[Event]:
    """What a whole answer says. Raises Invalid when it is none."""
    chunk = read_chunk(body)
    failure, choice = chunk.failure(), chunk.first()
    if failure is not None:
        raise Invalid(f"the upstream answered with an error: {upstream_message(failure)}")
    if choice is None or choice.message is None:
        raise Invalid("choices[0].message is missing: this is no chat completion")
    if choice.finish_reason == "error":
        raise Invalid("the upstream gave up and did not say why")
    for number, call in enumerate(choice.message.tool_calls or ()):
        call.index = number  # each is whole, whatever engines number it
    choice.finish_reason = choice.finish_reason or "stop"
    return StreamReader().read(chunk)
