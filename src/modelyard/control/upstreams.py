"""What a service asks of providers, joined with their documents and keys: its endpoints now.

Documents are given by whoever reads the store; keys are read anew at each look, so that a changed
file or stored key is in use at the next one. What is missing is said, and the rest goes on.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from modelyard.control import prices
from modelyard.control.documents import provider_spec_of
from modelyard.domain.documents import providers as documents
from modelyard.domain.documents import upstreams as wanted
from modelyard.domain.documents.providers import ProviderSpec
from modelyard.domain.providers.endpoints import endpoint, labels
from modelyard.domain.providers.kinds import Upstream
from modelyard.domain.snapshot import Endpoint
from modelyard.errors import ModelyardError
from modelyard.ports.meta import Document
from modelyard.ports.secrets import Secrets


class Served(NamedTuple):
    """The endpoints that there are, and why others are not."""

    endpoints: tuple[Endpoint, ...]
    problems: tuple[str, ...]


class Keyed(NamedTuple):
    """One key of a provider: its value, or why there is none."""

    number: int
    """In the document, from 0; the same as long as the keys before it stay."""
    reference: str
    weight: float
    value: str = ""
    problem: str = ""


class Upstreams:
    """For all tenants. `see` takes the documents, `look` begins a new look at the keys."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._specs: Mapping[tuple[str, str], ProviderSpec | None] = {}
        self._keys: dict[tuple[str, str], list[Keyed]] = {}

    def see(self, found: Sequence[Document]) -> None:
        """From now on these Provider documents hold."""
        self._specs = {(one.key.tenant, one.key.name): provider_spec_of(one) for one in found}
        self.look()

    def look(self) -> None:
        """Read each key anew when it is next needed."""
        self._keys = {}

    def identity(self, tenant: str, upstreams: Sequence[Upstream]) -> list[list[str]]:
        """What answers for these upstreams, without keys and shares: part of what a revision is
        named by."""
        return [[one.provider, *self._place(tenant, one)] for one in upstreams]

    def served(self, tenant: str, prefix: str, upstreams: Sequence[Upstream]) -> Served:
        """An endpoint for each upstream and key, `<prefix>/<provider>/<key number>`."""
        endpoints: list[Endpoint] = []
        problems: list[str] = []
        for label, one in zip(labels(upstreams), upstreams, strict=True):
            spec = self._specs.get((tenant, one.provider))
            if problem := self._problem(tenant, one):
                problems.append(problem)
            elif spec is not None:
                keys = self._resolved(tenant, one.provider, spec)
                endpoints += endpoints_of(f"{prefix}/{label}", one, spec, keys)
                problems += [_said(one.provider, key) for key in keys if key.problem]
        return Served(tuple(endpoints), tuple(dict.fromkeys(problems)))

    def _problem(self, tenant: str, upstream: Upstream) -> str:
        name = upstream.provider
        if (tenant, name) not in self._specs:
            return f"no provider {name!r}: add it with `modelyard providers add {name} --kind …`"
        spec = self._specs[tenant, name]
        if spec is None:
            return f"provider {name} cannot be read any more: apply its document again"
        return wanted.refused(upstream, spec)

    def _place(self, tenant: str, upstream: Upstream) -> tuple[str, str]:
        spec = self._specs.get((tenant, upstream.provider))
        return (spec.kind, spec.base) if spec else ("", "")

    def _resolved(self, tenant: str, name: str, spec: ProviderSpec) -> list[Keyed]:
        known = self._keys.get((tenant, name))
        if known is None:
            known = self._keys[tenant, name] = resolved(self._secrets, tenant, spec)
        return known


def resolved(secrets: Secrets, tenant: str, spec: ProviderSpec) -> list[Keyed]:
    """All keys of a provider, each for its origin and no other; one without a value for a provider
    that has no keys."""
    if not spec.keys:
        return [Keyed(0, "", 1.0)]
    return [
        _resolve(secrets, tenant, spec.origin, Keyed(number, key.secret, key.weight))
        for number, key in enumerate(spec.keys)
    ]


def endpoints_of(
    prefix: str, upstream: Upstream, spec: ProviderSpec, keys: Sequence[Keyed]
) -> list[Endpoint]:
    """One for each key that has a value. They share the upstream's weight by their own."""
    usable = [key for key in keys if not key.problem]
    whole = sum(key.weight for key in usable)
    provider = documents.provider(upstream.provider, spec)
    price = prices.of_provider(spec, upstream.model)
    return [
        endpoint(
            f"{prefix}/{key.number}",
            provider,
            upstream.model,
            key.value,
            upstream.weight * key.weight / whole,
            price,
        )
        for key in usable
    ]


def _resolve(secrets: Secrets, tenant: str, origin: str, key: Keyed) -> Keyed:
    try:
        value = secrets.resolve(key.reference, tenant=tenant, origin=origin)
    except ModelyardError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return key._replace(problem=f"{error.message}{hint}")
    return key._replace(value=value)


def _said(provider: str, key: Keyed) -> str:
    return f"provider {provider}, key {key.reference}: {key.problem}"
