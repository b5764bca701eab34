"""Limits: what a counter is, what a refusal says, and the decisions (windows, budgets, headers)."""

import msgspec

from modelyard.domain.snapshot import Bounds

MOST_RETRY_S = 120.0
"""OpenAI's clients do not retry at all when they are told to wait longer."""
UNBOUNDED = 1 << 62
"""What is left where there is no bound."""


class Counter(msgspec.Struct, frozen=True):
    """One thing that is counted: what it may reach, and how people call it."""

    id: str
    """The same id is the same counter, also after its bounds changed."""
    bounds: Bounds
    what: str
    """For messages: `key abc`, `limit blue of team red`."""


class Amounts(msgspec.Struct, frozen=True):
    """Requests, tokens, open requests and nano-dollars."""

    requests: int = 0
    tokens: int = 0
    concurrency: int = 0
    money_nano_usd: int = 0


class Denied(msgspec.Struct, frozen=True):
    """Why a request was not admitted: the counter and the bound that it would have broken."""

    counter: Counter
    bound: str
    """`requests`, `tokens`, `concurrency`, `budget` or `price`."""
    limit: int
    remaining: int
    """What is left of the bound, in its unit: requests, tokens or nano-dollars."""
    asked: int
    """What the request would have taken."""
    retry_after_s: float
    """When the same request may be admitted; at most MOST_RETRY_S."""
    gone: bool = False
    """Trying the same request again is useless, until `renews_at_us` at least."""
    renews_at_us: int = 0
    """When the period of the budget ends; 0: never, or no budget."""


class Standing(msgspec.Struct, gc=False):
    """The tightest counters of a request, for headers. A limit of 0: nothing bounds it."""

    limit_requests: int = 0
    remaining_requests: int = 0
    reset_requests: int = 0
    """Half seconds until all that is counted now has left the window."""
    limit_tokens: int = 0
    remaining_tokens: int = 0
    reset_tokens: int = 0


def worst(denials: list[Denied]) -> Denied:
    """The refusal to report: one that waiting does not cure, else the one that lasts longest."""
    return max(denials, key=lambda one: (one.gone, one.retry_after_s))
