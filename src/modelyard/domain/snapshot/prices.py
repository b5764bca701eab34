"""What tokens, requests and tools cost, as the gateway knows it: whole nano-dollars, no defaults
left to guess.

A token price is in nano-dollars per million tokens. None means that nobody knows the price of
that kind: what used it is reported, and never taken as free. 0 means free.
"""

import msgspec


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nano-dollars per million tokens of each kind. The kinds are those of `chat.Usage`, and each
    token has one price: that of its own kind, else that of the whole it is part of."""

    input: int | None = None
    """Tokens of the prompt that are of no other kind."""
    output: int | None = None
    """Tokens of the answer that are of no other kind."""
    cached: int | None = None
    """Tokens of the prompt that were read from the upstream's cache."""
    cache_write: int | None = None
    """Tokens of the prompt that were written to the cache, for as long as it usually keeps them."""
    cache_write_1h: int | None = None
    """Tokens of the prompt that were written to the cache for an hour."""
    reasoning: int | None = None
    """Tokens of the answer that were thought; None costs what the other output does."""
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None


class Step(Rates, frozen=True, kw_only=True, omit_defaults=True):
    """What every token of a request costs, output included, when its prompt is long. Nothing is
    taken over from the price it stands in."""

    above_input_tokens: int
    """It holds for prompts of more tokens than this, cached ones counted."""


class ServiceTier(Rates, frozen=True, kw_only=True, omit_defaults=True):
    """What tokens cost at another `service_tier`. Nothing is taken over from the standard price."""

    steps: tuple[Step, ...] = ()


class Price(Rates, frozen=True, kw_only=True, omit_defaults=True):
    """The whole price of a revision: its standard rates, and what else is charged."""

    input: int | None = 0
    output: int | None = 0
    cached: int | None = 0
    replica_hour: int = 0
    """What one replica of our own costs an hour, in nano-dollars; a request pays for the slot it
    held while it ran."""
    per_request: int = 0
    """Nano-dollars of each request, whatever it holds."""
    server_tools: dict[str, int] = {}
    """Nano-dollars of each use of a tool that the provider runs, by its name in `chat.Usage`; a
    name that is not here has a price that nobody knows."""
    steps: tuple[Step, ...] = ()
    """Other rates for long prompts, the lowest bound first."""
    service_tiers: dict[str, ServiceTier] = {}
    """Other rates by the `service_tier` that answered, in lower case; `batch` are those of a
    batch."""
