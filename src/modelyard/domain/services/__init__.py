"""Documents: what the platform does, as typed values checked in full before they are stored.

`parse` says every mistake of a document with its path and the nearest right word. Old versions
are lifted by pure functions, so nothing else ever sees one.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from modelyard.errors import Invalid

API_VERSION = "modelyard/v1"
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ReplicaRange(_Part):
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


class PriceSpec(_Part):
    """US dollars per million tokens; what a request costs is rounded up to a nano-dollar."""

    input_usd_per_million: float = Field(default=0.0, ge=0, le=1_000_000)
    output_usd_per_million: float = Field(default=0.0, ge=0, le=1_000_000)
    cached_usd_per_million: float | None = Field(default=None, ge=0, le=1_000_000)


class ServiceSpec(_Part):
    """What a service runs."""

    model: str = ""
    """A reference `name:3`, `name@alias` or `name@sha256:…`; empty for outside upstreams."""
    engine: EngineOptions = EngineOptions()
    replicas: ReplicaRange = ReplicaRange()
    price: PriceSpec | None = None


class ServiceDocument(_Part):
    """The document a user writes; the smallest one never stops working."""

    api_version: Literal["modelyard/v1"] = Field(alias="apiVersion")
    kind: Literal["Service"]
    name: Name
    spec: ServiceSpec


def revision_id(name: str, resolved: Mapping[str, Any]) -> str:
    """`<service>-<8 hex>`: the same resolved state always has the same id."""
    canonical = json.dumps(resolved, sort_keys=True, separators=(",", ":")).encode()
    return f"{name}-{hashlib.sha256(canonical).hexdigest()[:8]}"


_LIFTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Old apiVersion → pure function to the next one."""


def lift(data: dict[str, Any]) -> dict[str, Any]:
    """Bring a document of an older apiVersion to the current one; raises Invalid for others."""
    version = data.get("apiVersion")
    while version in _LIFTS:
        data = _LIFTS[version](data)
        version = data["apiVersion"]
    if version != API_VERSION:
        raise Invalid(
            f"apiVersion is {version!r}; this server speaks {API_VERSION!r}",
            hint=f"write `apiVersion: {API_VERSION}` as the first line",
        )
    return data


def parse(data: Any) -> ServiceDocument:
    """A checked document. Raises Invalid that lists every mistake with its path."""
    if not isinstance(data, dict):
        raise Invalid("a document is a mapping with apiVersion, kind, name and spec")
    lifted = lift(data)
    if lifted.get("kind") != "Service":
        raise Invalid(f"kind is {lifted.get('kind')!r}; known kinds: Service")
    try:
        return ServiceDocument.model_validate(lifted)
    except ValidationError as error:
        raise Invalid(_explain(error), hint="see docs/reference/service.md") from None


def _explain(error: ValidationError) -> str:
    return "; ".join(_line(detail) for detail in error.errors(include_url=False))


def _line(detail: Any) -> str:
    path = ".".join(str(step) for step in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown field{_nearest(detail['loc'])}"
    if "name" in path and detail["type"] == "string_pattern_mismatch":
        return f"{path}: use lower-case letters, digits, '.', '_' and '-', at most 63 characters"
    return f"{path}: {detail['msg'].removeprefix('Value error, ')}"


def _nearest(location: tuple[Any, ...]) -> str:
    known = {
        (): ("apiVersion", "kind", "name", "spec"),
        ("spec",): tuple(ServiceSpec.model_fields),
        ("spec", "replicas"): tuple(ReplicaRange.model_fields),
        ("spec", "price"): tuple(PriceSpec.model_fields),
    }.get(tuple(location[:-1]), ())
    match = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {match[0]!r}?" if match else f"; known: {', '.join(known)}"
