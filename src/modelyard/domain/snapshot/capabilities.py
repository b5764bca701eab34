"""What a model can do, as far as anybody has said so."""

from collections.abc import Iterable

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


_SIZES = ("context_tokens", "max_output_tokens")


def common(several: Iterable[Capabilities]) -> Capabilities:
    """What all of them can do: any of them may answer. Sizes are those of the smallest."""
    each = list(several)
    if not each:
        return Capabilities()
    found: dict[str, bool | int | None] = {}
    for name in Capabilities.__struct_fields__:
        values = [getattr(one, name) for one in each]
        found[name] = min(values) if name in _SIZES else _all(values)
    return msgspec.convert(found, Capabilities)


def _all(values: list[bool | None]) -> bool | None:
    if False in values:
        return False
    return None if None in values else True


def with_said(found: Capabilities, said: Capabilities) -> Capabilities:
    """What is said counts more than what was found out."""
    given = {
        name: value
        for name in Capabilities.__struct_fields__
        if (value := getattr(said, name)) is not None and (value or name not in _SIZES)
    }
    return msgspec.structs.replace(found, **given)
