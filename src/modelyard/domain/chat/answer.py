"""What is answered, and what it took."""

import msgspec

from modelyard.domain.chat.request import Foreign, Members, Refusal, Text, Thinking, ToolCall

FINISHES = ("stop", "length", "tool_calls", "content_filter", "stop_sequence", "pause", "refusal")
"""Why an answer ended: by itself, at `max_tokens`, to call tools, by a filter, at one of the given
stop texts, to be continued by the client (Anthropic's `pause_turn`), or as the model refused."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens. Each kind is part of the sum that its comment names, whatever the dialect adds up:
    Anthropic's `input_tokens` leaves out what was read from and written to its cache."""

    input_tokens: int = 0
    """The whole prompt."""
    output_tokens: int = 0
    """The whole answer, thinking included."""
    cache_read_tokens: int | None = None
    """Of the input; None where the upstream does not say."""
    cache_write_tokens: int = 0
    """Of the input, kept for five minutes or as long as the upstream's only cache does."""
    cache_write_1h_tokens: int = 0
    """Of the input, kept for an hour."""
    audio_input_tokens: int = 0
    """Of the input."""
    image_input_tokens: int = 0
    """Of the input, where the upstream counts them apart."""
    reasoning_tokens: int | None = None
    """Of the output; None where the upstream does not say."""
    audio_output_tokens: int = 0
    """Of the output."""
    image_output_tokens: int = 0
    """Of the output."""
    server_tools: dict[str, int] = {}
    """Uses of tools that the provider runs and charges for, by name (`web_search`)."""
    unknown: dict[str, int] = {}
    """Kinds that nobody here knows, by their path in the answer: shown, never taken as free."""
    service_tier: str = ""
    """The tier that answered, as the upstream names it."""
    extra: Members = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer in no dialect."""

    id: str = ""
    model: str = ""
    created_s: int = 0
    parts: tuple[Text | Thinking | Refusal | ToolCall | Foreign, ...] = ()
    finish: str = "stop"
    """One of FINISHES."""
    stop_sequence: str = ""
    usage: Usage | None = None
    extra: Members = {}
