"""A streamed answer on its way through: byte pass-through, counted and checked.

Most pieces hold nothing but text deltas: they are recognised by one search and passed on as they
are. Only events with usage, an end, an error or the mark of the end are parsed.
"""

import re

import msgspec

from modelyard.domain import chat
from modelyard.domain.guarantees.spending import added
from modelyard.errors import Upstream
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.chat.usage import read_usage
from modelyard.gateway.dialects.openai import envelope, upstream_message
from modelyard.lib.sse import EventSplitter

_NOTABLE = re.compile(
    rb'"usage"\s*:\s*\{|"error"\s*:\s*[^n\s]|"finish_reason"\s*:\s*"|\[DONE\]|^event:', re.MULTILINE
)
_SUSPICIOUS = (b'"usage"', b'"error"', b"[DONE]", b"event:")
MAX_EVENT_BYTES = 8 * 1024 * 1024


class InputDetails(msgspec.Struct, forbid_unknown_fields=True):
    """`prompt_tokens_details`."""

    cached_tokens: int | None = None
    audio_tokens: int | None = None


class OutputDetails(msgspec.Struct, forbid_unknown_fields=True):
    """`completion_tokens_details`."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class Usage(msgspec.Struct, forbid_unknown_fields=True):
    """`usage` of an answer, as OpenAI and most engines write it. Any other is read slowly: a kind
    of tokens that nobody here knows must not go unseen."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None

    @property
    def cached_tokens(self) -> int | None:
        """Of the prompt, those that the engine had; None when it does not say."""
        details = self.prompt_tokens_details
        return details.cached_tokens if details is not None else None

    def neutral(self, service_tier: str) -> chat.Usage:
        """The same in no dialect."""
        read, made = self.prompt_tokens_details, self.completion_tokens_details
        return chat.Usage(
            input_tokens=self.prompt_tokens or 0,
            output_tokens=self.completion_tokens or 0,
            cache_read_tokens=self.cached_tokens,
            audio_input_tokens=(read.audio_tokens or 0) if read is not None else 0,
            reasoning_tokens=made.reasoning_tokens if made is not None else None,
            audio_output_tokens=(made.audio_tokens or 0) if made is not None else 0,
            service_tier=service_tier,
        )


class Choice(msgspec.Struct):
    """Of a choice, only how it ended."""

    finish_reason: str | None = None


class Progress(msgspec.Struct):
    """llama.cpp's `prompt_progress`: tokens of the prompt, and those of them that it had."""

    total: int
    cache: int = 0


class Glimpse(msgspec.Struct):
    """What the gateway reads of an answer or of one event."""

    prompt_progress: Progress | None = None
    usage: Usage | None = None
    service_tier: str | None = None
    choices: list[Choice] | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Loose(msgspec.Struct):
    """The same where the usage is of another form."""

    usage: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()
    choices: list[Choice] | None = None
    error: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(Glimpse)
_loose = msgspec.json.Decoder(_Loose)


class _Part(msgspec.Struct):
    delta: dict[str, msgspec.Raw] | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Parts(msgspec.Struct):
    choices: list[_Part] | None = None


_parts = msgspec.json.Decoder(_Parts)
_NOTHING = {b"null", b'""', b"[]", b"{}"}


def says_something(data: bytes) -> bool:
    """Whether an event holds more than the role that engines announce before they compute: text,
    reasoning, a tool call, an end. Until then nothing is lost by trying another endpoint."""
    try:
        parts = _parts.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return any(
        part.text
        or part.finish_reason
        or any(
            name != "role" and bytes(value) not in _NOTHING
            for name, value in (part.delta or {}).items()
        )
        for part in parts.choices or ()
    )


class Tally:
    """What is known of an answer so far."""

    __slots__ = (
        "_told_at", "events", "finish_reason", "is_partial", "progress", "service_tier", "told",
        "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._told_at = ""
        self.told: chat.Usage | None = None
        """The usage of an answer in another dialect, or of one that is not of the usual form."""
        self.service_tier = ""
        self.is_partial = False
        """Whether more of the usage is still to come: the question is counted before the answer."""
        self.progress: Progress | None = None
        """What the engine said of the prompt before the first token."""
        self.finish_reason = ""
        self.events = 0
        """Events with content seen: what an aborted stream is counted by."""

    def counted(self) -> chat.Usage | None:
        """What the endpoint says it took."""
        if self.told is not None or self.usage is None:
            return self.told
        return self.usage.neutral(self.service_tier)

    def see(self, data: bytes) -> Glimpse | None:
        """Read one JSON value; None when it is not one."""
        try:
            glimpse = _decoder.decode(data)
        except msgspec.ValidationError:
            return self._see_loosely(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if glimpse.service_tier:
            self.service_tier = glimpse.service_tier
        if glimpse.usage is not None:
            self._take(glimpse.usage, glimpse.choices)
        if glimpse.prompt_progress is not None:
            self.progress = glimpse.prompt_progress
        for choice in glimpse.choices or ():
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
        return glimpse

    def _take(self, usage: Usage, choices: list[Choice] | None) -> None:
        """Some engines, llama.cpp among them, tell the usage of each choice at its end: those of
        equal place are added. All others tell what it is until now, or once."""
        place = "end" if not choices else "choice" if choices[0].finish_reason else ""
        before = self.counted() if place and place == self._told_at else None
        self.usage, self._told_at = usage, place
        self.told = added(before, usage.neutral(self.service_tier)) if before else None

    def _see_loosely(self, data: bytes) -> Glimpse | None:
        try:
            found = _loose.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        tier = bytes(found.service_tier)
        told = read_usage(found.usage, tier.decode().strip('"') if tier[:1] == b'"' else "")
        for choice in found.choices or ():
            self.finish_reason = choice.finish_reason or self.finish_reason
        if told is None:
            return Glimpse(choices=found.choices, error=found.error)
        self.told = told
        seen = Usage(prompt_tokens=told.input_tokens, completion_tokens=told.output_tokens)
        return Glimpse(usage=seen, choices=found.choices, error=found.error)


class StreamRelay:
    """Filters the bytes of one stream. `done` turns true with `[DONE]`."""

    __slots__ = ("_keep_progress", "_keep_usage", "_splitter", "done", "tally")

    def __init__(self, tally: Tally, *, keep_usage: bool, keep_progress: bool = False) -> None:
        self.tally = tally
        self._keep_usage = keep_usage
        self._keep_progress = keep_progress
        self._splitter = EventSplitter()
        self.done = False

    def feed(self, piece: bytes) -> bytes:
        """What to pass on of this piece: whole events only.

        Raises Upstream when the stream carries an error, or something that is no event stream;
        what came before it in the same piece is in the error's `passed`.
        """
        if (
            self.tally.events
            and not self._splitter.pending
            and piece.startswith(b"data: {")
            and piece.endswith(b"}\n\n")
            and _plain(piece)
            and (events := piece.count(b"\n\n")) == piece.count(b"}\n\ndata: {") + 1
        ):
            self.tally.events += events
            return piece
        passed: list[bytes] = []
        for raw, data in self._splitter.feed(piece):
            self._event(raw, data, passed)
        if len(self._splitter.pending) > MAX_EVENT_BYTES:
            raise StreamBroken("the upstream sent an endless event", b"".join(passed))
        return b"".join(passed)

    def close(self) -> bytes:
        """Without its end mark a stream was cut off."""
        return b""

    def broken(self, error: Told) -> bytes:
        """An event with the error, and no `[DONE]`."""
        return b"data: " + envelope(error) + b"\n\n"

    def _event(self, raw: bytes, data: bytes, passed: list[bytes]) -> None:
        if self.done:
            return
        if data == b"[DONE]":
            self.done = True
            passed.append(raw)
            return
        if not data:
            passed.append(raw)  # a comment: engines send them to keep connections alive
            return
        glimpse = self.tally.see(data)
        if glimpse is None:
            raise StreamBroken("the upstream sent an event that is not JSON", b"".join(passed))
        if message := upstream_message(glimpse.error):
            raise StreamBroken(message, b"".join(passed), data)
        if glimpse.usage is not None and not glimpse.choices and not self._keep_usage:
            return  # the extra chunk that we asked for and the client did not
        if glimpse.prompt_progress is not None and not self._keep_progress:
            return  # likewise
        if self.tally.events or says_something(data):
            self.tally.events += 1
        passed.append(raw)


def _plain(piece: bytes) -> bool:
    """Whether nothing in whole events is notable. Fixed bytes are looked for before the pattern:
    it is tried at every byte."""
    suspicious = any(word in piece for word in _SUSPICIOUS)
    if not suspicious and piece.count(b'"finish_reason"') == piece.count(b'"finish_reason":null'):
        return True
    return _NOTABLE.search(piece) is None


class StreamBroken(Upstream):
    """The stream cannot go on. `passed` is what may still be passed on, `event` the error that the
    upstream told, if it told one."""

    code = "upstream_stream_error"
    blamed = True
    """Whether the endpoint is at fault, and is left alone for a while."""

    def __init__(self, message: str, passed: bytes, event: bytes = b"") -> None:
        super().__init__(message)
        self.passed = passed
        self.event = event
