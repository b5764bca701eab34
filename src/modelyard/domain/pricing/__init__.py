"""What requests cost: tokens at a price, and time on replicas of our own."""

from modelyard.domain.snapshot import Price

HOUR_US = 3_600_000_000
RESERVED_US = 60_000_000
"""The time on a replica that is reserved for a request, before anybody knows how long it takes."""


def cost_nano_usd(price: Price, tokens_input: int, tokens_output: int, tokens_cached: int) -> int:
    """What tokens cost, rounded up to a nano-dollar. Cached tokens are part of the input."""
    cached = min(tokens_cached, tokens_input)
    fresh = tokens_input - cached
    total = fresh * price.input + cached * price.cached + tokens_output * price.output
    return -(-total // 1_000_000)


def time_cost_nano_usd(price: Price, duration_us: int, slots: int) -> int:
    """What a slot of a replica costs for that time, rounded up: a replica with four slots serves
    four requests at once, and each pays for a quarter of it."""
    return -(-price.replica_hour * duration_us // (HOUR_US * max(1, slots)))


def at_most_nano_usd(price: Price, tokens_input: int, tokens_output: int, slots: int) -> int:
    """What a request may cost that is about to begin: no token is in a cache, and the answer is as
    long as it may be."""
    return cost_nano_usd(price, tokens_input, tokens_output, 0) + time_cost_nano_usd(
        price, RESERVED_US, slots
    )
