"""Record kinds and their columns: one row per request, whatever happens to it.

Columns are only ever added. Times are integer microseconds UTC, durations integer microseconds,
money integer nano-dollars. A missing number is None, never 0.
"""

from collections.abc import Callable
from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """How a request ended, from the client's point of view."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """The client went away before the end."""
    REJECTED = "rejected"
    """Refused before dispatch: bad key, bad input, unknown model, a limit."""
    BLOCKED = "blocked"
    CACHED = "cached"
    GATEWAY_LOST = "gateway_lost"
    """The gateway process died with the request open; closed from its slot."""


class RequestRecord(msgspec.Struct, kw_only=True, omit_defaults=False):
    """Kind `request`: exactly one per request that reached a gateway process."""

    request_id: str
    tenant: str
    started_at_us: int
    outcome: str
    status: int
    """The HTTP status the client saw (or would have seen)."""
    route: str
    """The route path, such as `/v1/chat/completions`."""
    stream: bool = False
    service: str = ""
    model: str = ""
    model_version: str = ""
    """`name:3` of the version that answered."""
    model_digest: str = ""
    revision: str = ""
    endpoint: str = ""
    """The id of the endpoint that answered: a replica's or an outside URL's."""
    key_id: str = ""
    team: str = ""
    person: str = ""
    session: str = ""
    client: str = ""
    """The name the caller gives itself: `x-modelyard-client`, else the User-Agent's product."""
    duration_us: int = 0
    admission_us: int | None = None
    """From the first byte read until the first attempt began."""
    ttft_us: int | None = None
    """From the first byte read until the first token was written to the client."""
    tokens_input: int | None = None
    tokens_output: int | None = None
    tokens_cached: int | None = None
    cost_nano_usd: int | None = None
    finish_reason: str = ""
    attempts: int = 0
    error_code: str = ""
    error_message: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
    process: str = ""
    """The gateway process that served it."""
    snapshot_generation: int = 0
    connect_us: int | None = None
    """Of the only attempt, until its connection was there; None when a pooled one was used. A
    request whose first attempt worked has no `attempt` rows: these columns say all."""
    first_byte_us: int | None = None
    """Of the only attempt, from its start until the first byte of the answer."""
    routing: str = ""
    """Why this endpoint: the rule, what its scores mean, and the candidates with their scores, the
    chosen one first."""
    queue_us: int | None = None
    """How long it waited for its turn; None where it did not."""
    cache: str = ""
    """`hit`, `miss` or `bypass`; empty where nothing is cached."""
    caused_by: str = ""
    """The request on whose behalf the gateway made this one: a shadow's copy, an embedding."""
    usage_estimated: bool = False
    """Whether the tokens are estimates, because the answer ended before its usage was told."""
    fallback: str = ""
    """The service that answered in place of the one that was asked."""
    tokens_cache_write: int | None = None
    """Of the input, what the endpoint wrote into its cache; None where it does not say."""
    tokens_reasoning: int | None = None
    """Of the output, what was thought; None where the endpoint does not say."""
    unpriced: str = ""
    """What was used and has no price, as `kind=count, …`: the cost is an estimate then."""
    translated_to: str = ""
    """The dialect in which the endpoint was asked, where it is not the client's."""
    guarantee: str = ""
    """How what was demanded of the answer was seen to, such as `json_schema native`; `repaired`
    behind it where a first answer did not do, and a second was asked for."""


copied: Callable[[RequestRecord], RequestRecord] = RequestRecord.__copy__  # type: ignore[attr-defined]
"""A shallow copy, as `copy.copy` makes it, at a fifth of the time."""


class AttemptRecord(msgspec.Struct, kw_only=True, omit_defaults=False):
    """Kind `attempt`: one per try at an endpoint; the waterfall of a request is made of these."""

    request_id: str
    tenant: str
    started_at_us: int
    number: int
    """From 1."""
    endpoint: str
    offset_us: int
    """From the start of the request."""
    connect_us: int | None = None
    """Until the connection was there; None when a pooled one was used."""
    first_byte_us: int | None = None
    """From the start of the attempt until the first byte of the answer."""
    duration_us: int = 0
    status: int | None = None
    outcome: str = ""
    """`ok`, or the error code of the failure."""
    error_message: str = ""


Record = RequestRecord | AttemptRecord

KINDS: dict[str, type[Record]] = {"request": RequestRecord, "attempt": AttemptRecord}
