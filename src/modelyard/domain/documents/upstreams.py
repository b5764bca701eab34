"""What a service says of providers: `engine: {name: provider, …}`."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, model_validator

from modelyard.domain.documents import Name, Part, checked
from modelyard.domain.documents.providers import HINT, ProviderSpec
from modelyard.domain.providers.kinds import Upstream
from modelyard.domain.services import EngineOptions, ServiceSpec
from modelyard.errors import Invalid

ENGINE = "provider"
MAX_UPSTREAMS = 64


class UpstreamSpec(Part):
    """A model of a provider, and its share of the requests."""

    provider: Name
    model: str = Field(min_length=1, max_length=256)
    """What the provider calls it."""
    weight: float = Field(default=1.0, gt=0, le=1000)


class ProviderEngine(Part):
    """One upstream, or several."""

    provider: Name | None = None
    model: str | None = Field(default=None, min_length=1, max_length=256)
    upstreams: tuple[UpstreamSpec, ...] = Field(default=(), max_length=MAX_UPSTREAMS)

    @model_validator(mode="after")
    def _one_or_several(self) -> "ProviderEngine":
        if self.upstreams and (self.provider or self.model):
            raise ValueError("give provider and model, or upstreams, not both")
        if not self.upstreams and not self.provider:
            raise ValueError("provider is missing: the name of a Provider document")
        if not self.upstreams and not self.model:
            raise ValueError(
                "model is missing: what the provider calls it; "
                f"`modelyard providers models {self.provider}` lists those there are"
            )
        return self


def of_options(options: Mapping[str, Any], place: str = "spec.engine") -> tuple[Upstream, ...]:
    """The upstreams that the options of a service's engine name.

    Raises Invalid that lists every mistake with its path.
    """
    read = checked(ProviderEngine, dict(options), place, HINT)
    several = read.upstreams or (
        UpstreamSpec(provider=read.provider or "", model=read.model or ""),
    )
    return tuple(Upstream(one.provider, one.model, one.weight) for one in several)


def named_by(spec: ServiceSpec) -> Iterator[tuple[str, Upstream]]:
    """Every upstream of a service and of its canary, with where it stands. Raises Invalid."""
    for place, engine in engines(spec):
        several = "upstreams" in engine.options
        for number, one in enumerate(of_options(engine.options, place)):
            yield (f"{place}.upstreams.{number}" if several else place), one


def providers_of(spec: ServiceSpec) -> set[str]:
    """Names of the providers that a service needs; what cannot be read names none."""
    found: set[str] = set()
    for place, engine in engines(spec):
        with contextlib.suppress(Invalid):
            found |= {one.provider for one in of_options(engine.options, place)}
    return found


def problems(spec: ServiceSpec, known: Mapping[str, ProviderSpec | None]) -> list[tuple[str, str]]:
    """What is wrong with what a service says of providers, each with the name of a provider that
    is not known, if it is that. `known` are all of the tenant; None: it cannot be read."""
    found = []
    for place, one in named_by(spec):
        if one.provider not in known:
            found.append((f"{place}.provider: no provider {one.provider!r}", one.provider))
        elif text := refused(one, known[one.provider]):
            found.append((f"{place}.model: {text}", ""))
    return found


def refused(upstream: Upstream, spec: ProviderSpec | None) -> str:
    """Why the provider does not let its model be used; empty when it does."""
    if spec is None or not spec.models or upstream.model in spec.models:
        return ""
    shown = ", ".join(spec.models[:12])
    return f"provider {upstream.provider} allows {shown}, not {upstream.model!r}"


def engines(spec: ServiceSpec) -> Iterator[tuple[str, EngineOptions]]:
    """Those of a service and its canary that are providers, with where each stands."""
    yield from (("spec.engine", spec.engine),) if spec.engine.name == ENGINE else ()
    canary = spec.canary.engine if spec.canary else None
    if canary is not None and canary.name == ENGINE:
        yield "spec.canary.engine", canary
