"""The Service document: what clients call by name, what it runs and how requests reach it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from modelyard.domain.documents import SERVICE, Name, Part, checked, lifted
from modelyard.domain.documents.prices import PriceSpec as PriceSpec
from modelyard.domain.providers.kinds import Dialect, Kept, Lacked
from modelyard.domain.services.abilities import FAMILIES, CapabilitiesSpec, is_template
from modelyard.domain.services.content import ContentSpec
from modelyard.domain.services.traffic import (
    CacheSpec,
    FallbackSpec,
    GuaranteesSpec,
    PassedPath,
    QueueSpec,
    RetriesSpec,
    RoutingSpec,
    ShadowSpec,
    Sticky,
    TimeoutsSpec,
)

HINT = "see docs/reference/service.md"


class ReplicaRange(Part):
    """How many replicas run. `min` and `max` are one number as long as nothing scales a service:
    a promise that is not kept would be worse than an error."""

    min: int = Field(default=1, ge=0, le=64)
    max: int = Field(default=1, ge=0, le=64)

    @model_validator(mode="before")
    @classmethod
    def _one_number(cls, data: Any) -> Any:
        if isinstance(data, int):
            return {"min": data, "max": data}
        if isinstance(data, dict) and len(data) == 1 and {"min", "max"} & set(data):
            (number,) = data.values()
            return {"min": number, "max": number}
        return data

    @model_validator(mode="after")
    def _fixed(self) -> "ReplicaRange":
        if self.max != self.min:
            raise ValueError(
                f"max {self.max} is not min {self.min}: nothing scales a service yet; "
                f"write `replicas: {max(self.min, 1)}`"
            )
        return self


class EngineOptions(BaseModel):
    """`name` chooses the adapter; everything else is the adapter's own and checked by it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = "xllamacpp"
    dialects: tuple[Dialect, ...] | None = Field(default=None, min_length=1)
    """What it speaks natively, where that is not what the adapter says: `chat`, `responses`,
    `messages`."""
    keeps: tuple[Kept, ...] | None = None
    """What it holds its model to, where that is not what the adapter says."""
    lacks: tuple[Lacked, ...] | None = None
    """What it does not know, where that is not what the adapter says."""

    fim: str | None = Field(default=None, max_length=500)
    """How the model is asked to fill in the middle: the name of a family (`qwen`), or a text with
    `{prefix}` and `{suffix}`; empty: the engine takes a `suffix` itself."""

    @field_validator("fim")
    @classmethod
    def _is_template(cls, value: str | None) -> str | None:
        if value and (value not in FAMILIES and not is_template(value)):
            known = ", ".join(FAMILIES)
            raise ValueError(f"must have {{prefix}} and {{suffix}} once each, or be one of {known}")
        return value

    @property
    def options(self) -> dict[str, Any]:
        """What the adapter gets."""
        return self.model_dump(exclude={"name", "dialects", "keeps", "lacks", "fim"})

    @property
    def says(self) -> dict[str, Any]:
        """Fields of the endpoints on which the document has the last word."""
        fim = None if self.fim is None else FAMILIES.get(self.fim, self.fim)
        said = {"dialects": self.dialects, "keeps": self.keeps, "lacks": self.lacks, "fim": fim}
        return {name: value for name, value in said.items() if value is not None}


class CanarySpec(Part):
    """A second revision of the same service; what is not given is the service's own."""

    weight: float = Field(ge=0, le=1)
    sticky: Sticky = "session"
    model: str | None = None
    """None: the service's own reference; empty: none, for an outside upstream."""
    engine: EngineOptions | None = None
    replicas: ReplicaRange | None = None

    @model_validator(mode="after")
    def _differs(self) -> "CanarySpec":
        if self.model is None and self.engine is None:
            raise ValueError("give a model or an engine: without both it is the same revision")
        return self


class Variant(Part):
    """What one revision of a service runs, whole."""

    model: str
    engine: EngineOptions
    replicas: int


class ServiceSpec(Part):
    """What a service runs, and how requests reach it."""

    model: str = ""
    """A reference `name:3`, `name@alias` or `name@sha256:…`; empty for outside upstreams."""
    engine: EngineOptions = EngineOptions()
    replicas: ReplicaRange = ReplicaRange()
    price: PriceSpec | None = None
    routing: RoutingSpec = RoutingSpec()
    timeouts: TimeoutsSpec = TimeoutsSpec()
    retries: RetriesSpec = RetriesSpec()
    fallback: tuple[FallbackSpec, ...] = Field(default=(), max_length=8)
    queue: QueueSpec = QueueSpec()
    cache: CacheSpec = CacheSpec()
    canary: CanarySpec | None = None
    shadow: ShadowSpec | None = None
    passes: tuple[PassedPath, ...] = Field(default=(), max_length=64)
    """Paths that are passed on as they are at `/pass/SERVICE/…`; `*` stands for anything."""
    capabilities: CapabilitiesSpec = CapabilitiesSpec()
    guarantees: GuaranteesSpec = GuaranteesSpec()
    content: ContentSpec = ContentSpec()

    @model_validator(mode="after")
    def _each_fallback_once(self) -> "ServiceSpec":
        names = [one.service for one in self.fallback]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"fallback names {twice} twice: a request goes there once")
        return self

    @property
    def stable(self) -> Variant:
        """What answers without a canary."""
        return Variant(model=self.model, engine=self.engine, replicas=self.replicas.min)

    @property
    def second(self) -> Variant | None:
        """What the canary runs, if there is one."""
        canary = self.canary
        if canary is None:
            return None
        return Variant(
            model=self.model if canary.model is None else canary.model,
            engine=canary.engine or self.engine,
            replicas=(canary.replicas or self.replicas).min,
        )


class ServiceDocument(Part):
    """The document a user writes; the smallest one never stops working."""

    api_version: Literal["modelyard/v1"] = Field(alias="apiVersion")
    kind: Literal["Service"]
    name: Name
    spec: ServiceSpec


def revision_id(name: str, resolved: Mapping[str, Any]) -> str:
    """`<service>-<8 hex>`: the same resolved state always has the same id."""
    canonical = json.dumps(resolved, sort_keys=True, separators=(",", ":")).encode()
    return f"{name}-{hashlib.sha256(canonical).hexdigest()[:8]}"


def parse(data: Any) -> ServiceDocument:
    """A checked document. Raises Invalid that lists every mistake with its path."""
    return checked(ServiceDocument, lifted(data, SERVICE), hint=HINT)
