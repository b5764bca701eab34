"""The parts of a Service document that say how requests reach what it runs."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from modelyard.domain.documents import Name, Part

Rule = Literal["first_token", "prefix", "least_load", "round_robin", "session"]
Sticky = Literal["session", "key", "none"]
ErrorClass = Literal["unavailable", "timeout", "error", "rate_limited", "context_length"]

PassedPath = Annotated[str, StringConstraints(pattern=r"^/v1/[A-Za-z0-9._~:@*/-]{1,200}$")]
"""A path below `/v1`, or a pattern of paths in which `*` stands for anything."""

Seen = Literal["auto", "native", "checked", "off"]

HOUR_S = 3600
DAY_S = 24 * HOUR_S


class RoutingSpec(Part):
    """How an endpoint is chosen."""

    rule: Rule = "first_token"
    beta: float = Field(default=1.0, ge=0, le=100)
    """Weight of the load in the `prefix` rule."""


class TimeoutsSpec(Part):
    """Seconds; 0 takes the gateway's setting, and for `total_s` means none."""

    connect_s: float = Field(default=0.0, ge=0, le=60)
    first_token_s: float = Field(default=0.0, ge=0, le=HOUR_S)
    idle_s: float = Field(default=0.0, ge=0, le=HOUR_S)
    total_s: float = Field(default=0.0, ge=0, le=DAY_S)


class RetriesSpec(Part):
    """Tries of one request before its first byte, over the endpoints of the service."""

    attempts: int = Field(default=3, ge=1, le=10)
    backoff_s: float = Field(default=0.025, ge=0, le=10)
    budget: float = Field(default=0.2, ge=0, le=1)
    """Retries may be at most this share of the recent requests, and a few always."""


class FallbackSpec(Part):
    """Where a request goes when the service could not answer it; a name alone is enough."""

    service: Name
    on: tuple[ErrorClass, ...] = Field(
        default=("unavailable", "timeout", "error", "rate_limited"), min_length=1
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, data: Any) -> Any:
        """YAML 1.1 reads a bare `on` as the truth; what was meant is beyond doubt."""
        if isinstance(data, str):
            return {"service": data}
        if isinstance(data, dict):
            return {"on" if key in (True, "true") else key: data[key] for key in data}
        return data


class QueueSpec(Part):
    """Requests that wait for a free slot instead of piling up in the engines."""

    per_slot: float = Field(default=0.0, ge=0, le=100)
    """Requests sent to an endpoint at once per slot of it; 0: no queue."""
    limit: int = Field(default=1000, ge=1, le=100_000)
    timeout_s: float = Field(default=60.0, gt=0, le=HOUR_S)


class SemanticCacheSpec(Part):
    """Answers for questions that mean the same."""

    service: Name
    """The service that embeds."""
    threshold: float = Field(default=0.05, gt=0, le=1)
    """Largest cosine distance of a hit."""
    max_temperature: float = Field(default=0.3, ge=0, le=2)
    ttl_s: float = Field(default=3600.0, gt=0, le=30 * DAY_S)


class CacheSpec(Part):
    """Answers that are given again."""

    ttl_s: float = Field(default=0.0, ge=0, le=30 * DAY_S)
    """Of exact hits; 0: no exact cache."""
    max_temperature: float = Field(default=2.0, ge=0, le=2)
    semantic: SemanticCacheSpec | None = None


class ShadowSpec(Part):
    """A service that gets copies of requests; its answers are recorded and never returned."""

    service: Name
    share: float = Field(default=1.0, ge=0, le=1)


class GuaranteesSpec(Part):
    """How what a request demands of its answer is seen to. `auto` relies on an engine that holds
    its model to it, and checks all others before the client sees anything; `native` lets streams
    pass and checks on the way; `checked` holds every stream; `off` looks at nothing."""

    json_schema: Seen = "auto"
    """Of `json_object` and `json_schema`."""
    tool_choice: Seen = "auto"
    """Of calls that must be made, and of the arguments of strict tools."""
    repair: bool = True
    """Whether the model is told once what is wrong, and asked again."""
