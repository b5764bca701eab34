"""The snapshot: all that a gateway process needs to serve, as one frozen value.

Compiled by the control plane from documents and replica states, sent to the gateway whole, kept
on its disk. Encoding is JSON; `sha256` covers the bytes as they were written, with the field itself
empty, so that a snapshot of an older version, which lacks newer fields, is as good as it was.
"""

import msgspec

from modelyard.domain.snapshot.capabilities import Capabilities as Capabilities
from modelyard.domain.snapshot.prices import Price as Price
from modelyard.lib.digests import of_bytes


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that speaks OpenAI, as the gateway sees it."""

    id: str
    """`<replica id>` of ours, `<service>/<n>` of an outside URL, or
    `<service>/<provider>/<key number>`."""
    url: str
    """Base URL up to and including `/v1`, without a trailing slash."""
    api_key: str = ""
    """Sent as `auth` says; empty sends nothing."""
    upstream_model: str = ""
    """Replaces `model` in the request; empty leaves the client's."""
    cancels_without_stream: bool = True
    """Whether closing the connection of an unstreamed request stops generation. Where it does
    not, the gateway asks the engine to stream and assembles the answer."""
    slots: int = 0
    """Requests it works on at once; 0 when unknown."""
    tells_prompt: bool = False
    """Whether it says before the first token how long the prompt is, when it is asked by
    `return_progress`: what an answer that breaks off is charged by."""
    dialects: tuple[str, ...] = ("chat",)
    """What it speaks natively: `chat`, `responses`, `messages`, `count_tokens`; for all else the
    gateway translates."""
    auth: str = "bearer"
    """How it is shown the key: `bearer`, `x-api-key` or `api-key`."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers of every request."""
    paths: dict[str, str] = {}
    """Route path → path and query there, where it is not the base and the route path."""
    weight: float = 1.0
    """Share of the requests beside the other endpoints of its revision; all equal: the routing
    rule decides."""
    max_tokens_name: str = "max_tokens"
    """What it calls the bound on an answer's tokens in chat completions."""
    provider: str = ""
    """Name of the provider document; empty for replicas and plain URLs."""
    provider_kind: str = ""
    price: Price | None = None
    """What it costs where the service has no price of its own; None: nobody knows."""
    capabilities: Capabilities = Capabilities()
    fim: str = ""
    """How a question with a `suffix` is put to a model that only continues texts: a text with
    `{prefix}` and `{suffix}` in it. Empty: the endpoint takes `suffix`, or refuses it."""
    keeps: tuple[str, ...] = ()
    """What it holds its model to: `json_object`, `json_schema`, `tool_choice`."""
    lacks: tuple[str, ...] = ()
    """What it does not know or takes no notice of; see `Lacked` in `domain/providers/kinds.py`."""

    @property
    def able(self) -> Capabilities:
        """What its model can do, as it is asked here."""
        return (
            msgspec.structs.replace(self.capabilities, fim=True) if self.fim else self.capabilities
        )


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One resolved state of a service that runs."""

    id: str
    model: str = ""
    model_version: str = ""
    model_digest: str = ""
    engine: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    price: Price | None = None


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """A second revision that takes a share of the requests."""

    revision: Revision
    weight: float
    """Share of the requests, 0 to 1."""
    sticky: str = "session"
    """What stays on one side: `session` (else the person, else the key), `key` or `none`."""


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint is chosen; the rules are in `domain/routing`."""

    rule: str = "first_token"
    """`first_token`, `prefix`, `least_load`, `round_robin` or `session`."""
    beta: float = 1.0
    """Weight of the load in the `prefix` rule."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; 0 takes the gateway's setting, and for `total_s` means none."""

    connect_s: float = 0.0
    first_token_s: float = 0.0
    idle_s: float = 0.0
    total_s: float = 0.0


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """Tries of one request before its first byte, over endpoints of one service."""

    attempts: int = 3
    backoff_s: float = 0.025
    """Before the second try at most this, doubling; the pause is drawn evenly from 0 up to it."""
    budget: float = 0.2
    """Retries may be at most this share of the recent requests, and a few always."""


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes when its service could not answer it."""

    service: str
    on: tuple[str, ...] = ("unavailable", "timeout", "error", "rate_limited")
    """Error classes: those, and `context_length`."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that wait for a free slot instead of piling up in the engines."""

    per_slot: float = 0.0
    """Requests sent to an endpoint at once per slot of it; 0: no queue, all are sent at once."""
    limit: int = 1000
    """Waiting requests of one gateway process; a full queue answers 429 with the wait."""
    timeout_s: float = 60.0
    """A request that waited this long is given up with 503."""


class SemanticCache(msgspec.Struct, frozen=True, kw_only=True):
    """Answers for questions that mean the same."""

    service: str
    """The service that embeds (`/v1/embeddings`)."""
    threshold: float = 0.05
    """Largest cosine distance of a hit."""
    max_temperature: float = 0.3
    ttl_s: float = 3600.0


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that are given again."""

    ttl_s: float = 0.0
    """Of exact hits; 0: no exact cache."""
    max_temperature: float = 2.0
    """Requests above it are neither answered from the cache nor kept."""
    semantic: SemanticCache | None = None


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """A service that gets copies of requests; its answers are recorded and never returned."""

    service: str
    share: float = 1.0


class Guarantees(msgspec.Struct, frozen=True, kw_only=True):
    """How what a request demands of its answer is seen to; see `domain/guarantees`."""

    json_schema: str = "auto"
    """`auto`, `native`, `checked` or `off`: of the form of the text."""
    tool_choice: str = "auto"
    """The same of calls and their arguments."""
    repair: bool = True
    """Whether the model is told what is wrong with its answer and asked once more."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of what people write and models answer."""

    responses_keep_s: float = 0.0
    """Answers of `/v1/responses`, so that requests may continue from them; 0: none is kept."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What clients call by name."""

    tenant: str
    name: str
    revision: Revision
    created_at_us: int = 0
    canary: Canary | None = None
    routing: Routing = Routing()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    fallbacks: tuple[Fallback, ...] = ()
    queue: Queue = Queue()
    cache: Cache = Cache()
    shadow: Shadow | None = None
    passes: tuple[str, ...] = ()
    """Further paths that are passed on as they are, as patterns such as `/v1/videos/*`."""
    capabilities: Capabilities = Capabilities()
    """What the document says of them; all else is what its endpoints can do."""
    guarantees: Guarantees = Guarantees()
    content: Content = Content()


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one counter of the ledger may reach; 0 is no bound. All are met, or nothing is."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrency: int = 0
    budget_nano_usd: int = 0
    budget_per: str = "month"
    """`day`, `week`, `month` (calendar, UTC) or `total`."""
    unknown_price: str = "refuse"
    """A request without a price under a budget: `refuse` or `allow`."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A Limit document: whom it counts, together or each, and the bounds."""

    tenant: str
    name: str
    bounds: Bounds
    key: str = ""
    team: str = ""
    person: str = ""
    service: str = ""
    """Only requests for which all of the given ones hold are counted; none given: the tenant's."""
    each: str = ""
    """`key`, `team`, `person` or `service`: every one of them has a counter of its own."""


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the gateway knows it: never the secret, only its HMAC."""

    id: str
    digest: str
    """Hexadecimal HMAC-SHA256 of the whole key text under the installation's pepper."""
    tenant: str
    role: str
    services: tuple[str, ...] = ()
    """Names it may call; empty means all of its tenant."""
    team: str = ""
    person: str = ""
    client: str = ""
    expires_at_us: int = 0
    """0: never."""
    bounds: Bounds | None = None
    """The key's own limits."""
    trusted: bool = False
    """Whether it may say for which person and team it asks."""
    priority: int = 1
    """Class in the queue of a service: 0 interactive, 1 normal, 2 background."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """`epoch` changes when a backup is restored; `generation` only grows within one."""

    epoch: str
    generation: int
    created_at_us: int
    services: tuple[Service, ...] = ()
    keys: tuple[AccessKey, ...] = ()
    limits: tuple[Limit, ...] = ()
    sha256: str = ""
    """The last field, see `decode`."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Snapshot)


def seal(snapshot: Snapshot) -> Snapshot:
    """The same snapshot with its checksum filled in."""
    bare = msgspec.structs.replace(snapshot, sha256="")
    return msgspec.structs.replace(bare, sha256=of_bytes(_encoder.encode(bare)))


def encode(snapshot: Snapshot) -> bytes:
    """JSON bytes of a sealed snapshot."""
    return _encoder.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    """The snapshot in `data`. Raises ValueError when it is damaged or not a snapshot.

    The checksum is that of the bytes as they came, not of what is read of them: the writer may be
    of a version with fewer fields, or with more.
    """
    snapshot = _decoder.decode(data)
    if not _is_whole(data, snapshot.sha256):
        raise ValueError("the snapshot's checksum does not match its content")
    return snapshot


def _is_whole(data: bytes, sha256: str) -> bool:
    """The checksum is the last field, and was taken while it was empty."""
    tail = b'"sha256":"' + sha256.encode() + b'"}'
    return data.endswith(tail) and of_bytes(data.removesuffix(tail) + b'"sha256":""}') == sha256
