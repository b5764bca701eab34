"""What requests cost: tokens at a price, and time on replicas of our own."""

from modelyard.domain.pricing.costs import Cost as Cost
from modelyard.domain.pricing.costs import Part as Part
from modelyard.domain.pricing.costs import cost as cost
from modelyard.domain.pricing.costs import rates_of, up_to_nano
from modelyard.domain.snapshot.prices import Price, Rates

HOUR_US = 3_600_000_000
RESERVED_US = 60_000_000
"""The time on a replica that is reserved for a request, before anybody knows how long it takes."""


def cost_nano_usd(price: Price, tokens_input: int, tokens_output: int, tokens_cached: int) -> int:
    """What one request costs, rounded up to a nano-dollar, when no more is known of its tokens.

    Cached tokens are part of the input. A kind without a price costs what the dearest other one of
    its side does: `cost` says when that happens, and knows all kinds.
    """
    rates = _rates(price, tokens_input, "")
    cached = min(tokens_cached, tokens_input)
    total = (
        (tokens_input - cached) * _known(rates.input, rates)
        + cached * _known(rates.cached, rates)
        + tokens_output * (_dearest_output(rates) if rates.output is None else rates.output)
    )
    return up_to_nano(total) + price.per_request


def time_cost_nano_usd(price: Price, duration_us: int, slots: int) -> int:
    """What a slot of a replica costs for that time, rounded up: a replica with four slots serves
    four requests at once, and each pays for a quarter of it."""
    return -(-price.replica_hour * duration_us // (HOUR_US * max(1, slots)))


def at_most_nano_usd(
    price: Price,
    tokens_input: int,
    tokens_output: int,
    slots: int,
    *,
    service_tier: str = "",
    media: bool = False,
) -> int:
    """What a request may cost that is about to begin: all of it is of the dearest kind, and the
    answer is as long as it may be. Sound and pictures are among the kinds with `media`. A service
    tier without a price is reserved for at the standard one. What tools may cost is not in it:
    nobody knows how often they will be used."""
    rates = _rates(price, tokens_input, service_tier)
    tokens = tokens_input * _dearest_input(rates, media) + tokens_output * _dearest_output(
        rates, media
    )
    return up_to_nano(tokens) + price.per_request + time_cost_nano_usd(price, RESERVED_US, slots)


def _rates(price: Price, tokens_input: int, service_tier: str) -> Rates:
    return rates_of(price, tokens_input, service_tier) or rates_of(price, tokens_input) or price


def _known(rate: int | None, rates: Rates) -> int:
    return _dearest_input(rates) if rate is None else rate


def _dearest_input(rates: Rates, media: bool = False) -> int:
    text = _dearest(rates.input, rates.cached, rates.cache_write, rates.cache_write_1h)
    if media or rates.input is None:
        return max(text, _dearest(rates.audio_input, rates.image_input))
    return text


def _dearest_output(rates: Rates, media: bool = False) -> int:
    text = _dearest(rates.output, rates.reasoning)
    if media or rates.output is None:
        return max(text, _dearest(rates.audio_output, rates.image_output))
    return text


def _dearest(*rates: int | None) -> int:
    most = 0
    for rate in rates:
        if rate is not None and rate > most:
            most = rate
    return most
