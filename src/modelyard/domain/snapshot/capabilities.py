"""What a model can do, as far as anybody has said so."""

import msgspec


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None means that nobody knows; clients are then told nothing of it."""

    chat: bool | None = None
    """Conversations: it has a chat template, or its provider takes messages."""
    tools: bool | None = None
    """Calls of functions that the request describes."""
    images: bool | None = None
    """Pictures in the question."""
    audio: bool | None = None
    """Sound in the question."""
    reasoning: bool | None = None
    """It thinks before it answers, and may be told how much."""
    structured_output: bool | None = None
    """Answers that follow a JSON schema."""
    fim: bool | None = None
    """Fill in the middle: completions with a `suffix`."""
    embeddings: bool | None = None
    rerank: bool | None = None
    context_tokens: int = 0
    """Of question and answer together; 0: not known."""
    max_output_tokens: int = 0
    """Of an answer; 0: not known, or bounded by the context alone."""
