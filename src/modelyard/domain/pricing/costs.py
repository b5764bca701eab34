"""What an answer's usage costs at a price, kind by kind, and what of it has no price.

Money is added up in femto-dollars (10⁻¹⁵), in which tokens at nano-dollars per million are whole
numbers, and is rounded up once, to nano-dollars, at the end.
"""

import msgspec

from modelyard.domain.chat.answer import Usage
from modelyard.domain.snapshot.prices import Price, Rates

FEMTO_PER_NANO = 1_000_000
STANDARD_TIERS = frozenset({"", "auto", "default", "standard", "on_demand"})
"""How providers name the service tier of the standard price: OpenAI `default`, Anthropic
`standard`, Groq and Gemini `on_demand`; `auto` is what some echo of the request."""
BATCH = "batch"


class Part(msgspec.Struct, frozen=True):
    """One kind that was used."""

    kind: str
    """As the fields of `Rates`; else `request`, `server_tools.NAME`, `service_tier.NAME`, or the
    path of what nobody knows."""
    count: int
    femto_usd: int | None
    """None where it has no price."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What was used, and what it costs."""

    nano_usd: int | None
    """The whole, rounded up; None when part of it has no price."""
    priced_nano_usd: int
    """What has a price, rounded up: at least so much. Where the service tier has no price, this is
    at the standard one, which may be more or less."""
    unpriced: tuple[str, ...]
    """Kinds that were used and have no price."""
    parts: tuple[Part, ...]


def cost(price: Price, usage: Usage, *, requests: int = 1, batch: bool = False) -> Cost:
    """What a usage of so many requests costs; `batch` when they were answered as a batch."""
    rates, unknown_tier = _rates(price, usage, batch)
    parts = [*_input(rates, usage), *_output(rates, usage), *_charges(price, usage, requests)]
    if unknown_tier:
        parts.append(Part(f"service_tier.{unknown_tier}", 1, None))
    unpriced = tuple(part.kind for part in parts if part.femto_usd is None)
    total = sum(part.femto_usd for part in parts if part.femto_usd is not None)
    nano_usd = up_to_nano(total)
    return Cost(
        nano_usd=None if unpriced else nano_usd,
        priced_nano_usd=nano_usd,
        unpriced=unpriced,
        parts=tuple(parts),
    )


def up_to_nano(femto_usd: int) -> int:
    """Nano-dollars, rounded up."""
    return -(-femto_usd // FEMTO_PER_NANO)


def rates_of(price: Price, tokens_input: int, service_tier: str = "") -> Rates | None:
    """What tokens cost at that service tier for a prompt so long; None where it has no price."""
    tier = service_tier.lower()
    chosen: Rates = price
    steps = price.steps
    if tier not in STANDARD_TIERS:
        other = price.service_tiers.get(tier)
        if other is None:
            return None
        chosen, steps = other, other.steps
    for step in steps:
        if tokens_input > step.above_input_tokens:
            chosen = step
    return chosen


def _rates(price: Price, usage: Usage, batch: bool) -> tuple[Rates, str]:
    """The rates, and the name of the tier when it has none: then they are the standard ones."""
    tier = BATCH if batch else usage.service_tier
    rates = rates_of(price, usage.input_tokens, tier)
    if rates is not None:
        return rates, ""
    standard = rates_of(price, usage.input_tokens)
    assert standard is not None
    return standard, tier.lower()


def _input(rates: Rates, usage: Usage) -> list[Part]:
    """Where kinds overlap, as audio in the cache does, the earlier one here has the token."""
    kinds = (
        ("cached", usage.cache_read_tokens or 0, rates.cached),
        ("cache_write_1h", usage.cache_write_1h_tokens, rates.cache_write_1h),
        ("cache_write", usage.cache_write_tokens, rates.cache_write),
        ("audio_input", usage.audio_input_tokens, rates.audio_input),
        ("image_input", usage.image_input_tokens, rates.image_input),
        ("input", usage.input_tokens, rates.input),
    )
    return _split(usage.input_tokens, kinds)


def _output(rates: Rates, usage: Usage) -> list[Part]:
    reasoning = rates.output if rates.reasoning is None else rates.reasoning
    kinds = (
        ("audio_output", usage.audio_output_tokens, rates.audio_output),
        ("image_output", usage.image_output_tokens, rates.image_output),
        ("reasoning", usage.reasoning_tokens or 0, reasoning),
        ("output", usage.output_tokens, rates.output),
    )
    return _split(usage.output_tokens, kinds)


def _split(whole: int, kinds: tuple[tuple[str, int, int | None], ...]) -> list[Part]:
    """The whole by its kinds; the last one is what the others leave of it."""
    parts, left = [], whole
    for kind, tokens, rate in kinds:
        taken = min(tokens, left)
        if taken > 0:
            parts.append(Part(kind, taken, None if rate is None else taken * rate))
            left -= taken
    return parts


def _charges(price: Price, usage: Usage, requests: int) -> list[Part]:
    """What is not for tokens, and what nobody knows."""
    parts = []
    if price.per_request and requests > 0:
        parts.append(Part("request", requests, requests * price.per_request * FEMTO_PER_NANO))
    for name, uses in usage.server_tools.items():
        if uses > 0:
            rate = price.server_tools.get(name)
            femto_usd = None if rate is None else uses * rate * FEMTO_PER_NANO
            parts.append(Part(f"server_tools.{name}", uses, femto_usd))
    parts.extend(Part(path, count, None) for path, count in usage.unknown.items() if count)
    return parts
