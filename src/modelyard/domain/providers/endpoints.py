"""From a provider, one of its models and one of its keys to an endpoint of the snapshot."""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from modelyard.domain.providers.kinds import KINDS, PASSED, ROUTES, Upstream
from modelyard.domain.snapshot import Endpoint, Price

_DATED = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
_DEPLOYED = (
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/audio/speech",
    "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/generations",
    "/v1/images/edits",
)  # fmt: skip
"""What Azure serves of a deployment under a dated API version."""


class Provider(NamedTuple):
    """A provider's document, with what it leaves open filled in from its kind."""

    name: str
    kind: str
    url: str
    """What stands before `/chat/completions`."""
    dialects: tuple[str, ...]
    headers: tuple[tuple[str, str], ...] = ()
    api_version: str = ""
    """Azure's; a date means the older addresses by deployment."""
    models: tuple[str, ...] = ()
    """Those that services may use; empty: all."""
    keeps: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


def credentials(auth: str, api_key: str) -> tuple[str, str]:
    """Name and value of the header that shows a key."""
    if auth == "x-api-key":
        return "X-Api-Key", api_key
    if auth == "api-key":
        return "Api-Key", api_key
    return "Authorization", f"Bearer {api_key}"


def endpoint(
    endpoint_id: str,
    provider: Provider,
    model: str,
    api_key: str = "",
    weight: float = 1.0,
    price: Price | None = None,
) -> Endpoint:
    """How a gateway reaches a model of a provider with one of its keys, and what that costs."""
    kind = KINDS[provider.kind]
    return Endpoint(
        id=endpoint_id,
        url=provider.url,
        api_key=api_key,
        upstream_model=model,
        dialects=provider.dialects,
        auth=kind.auth,
        headers=provider.headers,
        paths=_paths(provider, model),
        weight=weight,
        max_tokens_name=kind.max_tokens_name,
        provider=provider.name,
        provider_kind=provider.kind,
        price=price,
        keeps=provider.keeps,
        lacks=provider.lacks,
    )


def labels(upstreams: Sequence[Upstream]) -> list[str]:
    """A name for each within its service: the provider's, with a number from the second on that
    names the same provider. It does not change when others are added behind it."""
    found: list[str] = []
    for place, one in enumerate(upstreams):
        before = sum(other.provider == one.provider for other in upstreams[:place])
        found.append(f"{one.provider}:{before + 1}" if before else one.provider)
    return found


def dated(api_version: str) -> bool:
    """Whether an Azure API version is one of the older ones, which are called by date."""
    return _DATED.fullmatch(api_version) is not None


def _paths(provider: Provider, model: str) -> dict[str, str]:
    """Only what differs from the base and the route path."""
    base = urlsplit(provider.url).path
    version = provider.api_version
    query = f"?api-version={version}" if version and version != "v1" else ""
    if dated(version):
        root = base.removesuffix("/v1")
        place = f"{root}/deployments/{quote(model, safe='')}"
        deployed = {route: place + route.removeprefix("/v1") + query for route in _DEPLOYED}
        return {**deployed, "/v1/models": f"{root}/models{query}"}
    if base.endswith("/v1") and not query:
        return {}
    return {route: base + route.removeprefix("/v1") + query for route in (*ROUTES, *PASSED)}
