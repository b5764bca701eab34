"""What services say of each other: names that lead nowhere, and fallbacks that go in circles.

Such a part is refused when a document is applied. One that comes about later (a service was
deleted by force, two documents were applied at once) is left out of what gateways serve from.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from modelyard.domain.services import ServiceSpec

FALLBACK, SHADOW, SEMANTIC = "fallback", "shadow", "cache.semantic"


class Reference(NamedTuple):
    """One service named by another."""

    place: str
    """`fallback`, `shadow` or `cache.semantic`."""
    service: str


class Problem(NamedTuple):
    """A reference that cannot work."""

    reference: Reference
    reason: str

    @property
    def text(self) -> str:
        """`spec.shadow: no service 'x'`."""
        return f"spec.{self.reference.place}: {self.reason}"


def references(spec: ServiceSpec) -> Iterator[Reference]:
    """Every service that this one needs."""
    for one in spec.fallback:
        yield Reference(FALLBACK, one.service)
    if spec.shadow is not None:
        yield Reference(SHADOW, spec.shadow.service)
    if spec.cache.semantic is not None:
        yield Reference(SEMANTIC, spec.cache.semantic.service)


def problems(specs: Mapping[str, ServiceSpec | None]) -> dict[str, list[Problem]]:
    """What is wrong among the services of a tenant, by name; those without a problem are absent.
    None stands for a service whose document cannot be read: it exists and names nobody."""
    onward = {
        name: [one.service for one in spec.fallback] if spec else [] for name, spec in specs.items()
    }
    found = {
        name: [
            Problem(reference, reason)
            for reference in references(spec)
            if (reason := _reason(name, reference, onward))
        ]
        for name, spec in specs.items()
        if spec is not None
    }
    return {name: wrong for name, wrong in found.items() if wrong}


def without(spec: ServiceSpec, wrong: list[Problem]) -> ServiceSpec:
    """The spec without the parts that cannot work."""
    broken = {problem.reference for problem in wrong}
    if not broken:
        return spec
    cache = spec.cache
    if cache.semantic and Reference(SEMANTIC, cache.semantic.service) in broken:
        cache = cache.model_copy(update={"semantic": None})
    keeps = [one for one in spec.fallback if Reference(FALLBACK, one.service) not in broken]
    shadow = spec.shadow
    if shadow and Reference(SHADOW, shadow.service) in broken:
        shadow = None
    changed = {"fallback": tuple(keeps), "cache": cache, "shadow": shadow}
    return spec.model_copy(update=changed)


def _reason(name: str, reference: Reference, onward: Mapping[str, list[str]]) -> str:
    if reference.service == name:
        return f"{name} names itself"
    if reference.service not in onward:
        return f"no service {reference.service!r}"
    if reference.place == FALLBACK and (way := _way(reference.service, name, onward)):
        return f"fallbacks go in a circle: {' → '.join([name, *way])}"
    return ""


def _way(start: str, goal: str, onward: Mapping[str, list[str]]) -> list[str]:
    """The shortest way over fallbacks, both ends included; empty when there is none."""
    ways = {start: [start]}
    waiting = [start]
    for place in waiting:  # grows while it is walked: breadth first
        for nearby in onward.get(place, ()):
            if nearby == goal:
                return [*ways[place], goal]
            if nearby not in ways:
                ways[nearby] = [*ways[place], nearby]
                waiting.append(nearby)
    return []
