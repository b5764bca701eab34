"""What a service costs, as its document or the list prices of its providers say it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.domain.documents.prices import spec_of
from modelyard.domain.snapshot import Price


def price(service: Mapping[str, Any]) -> dict[str, Any]:
    """As documents write it: the service's own, else that of the dearest model that may answer;
    nothing when one of those has none."""
    own: dict[str, Any] | None = service["document"]["spec"].get("price")
    if own is not None:
        return own
    found = [one.get("price") for one in _endpoints(service)]
    if not found or None in found:
        return {}
    prices = [msgspec.convert(one, Price) for one in found]
    return spec_of(max(prices, key=lambda one: (one.output or 0, one.input or 0)))


def said(service: Mapping[str, Any]) -> str:
    """In words; empty when nobody knows it."""
    own = service["document"]["spec"].get("price")
    if own is not None:
        return _rates(own)
    lines = {_line(one): None for one in _endpoints(service) if one.get("provider")}
    return "; ".join(lines)


def _endpoints(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list((service["status"] or {}).get("endpoints") or ())


def _line(endpoint: Mapping[str, Any]) -> str:
    price = endpoint.get("price")
    text = _rates(spec_of(msgspec.convert(price, Price))) if price else "not known"
    return f"{endpoint['upstream_model']} at {endpoint['provider']}: {text}"


def _rates(price: Mapping[str, Any]) -> str:
    per_million = "_usd_per_million"
    parts = [
        f"${price[kind + per_million]:.12g} {kind}"
        for kind in ("input", "cached", "output")
        if price.get(kind + per_million) is not None
    ]
    texts = [f"{', '.join(parts)} per million tokens"] if parts else []
    hour = price.get("replica_usd_per_hour")
    return ", ".join([*texts, f"${hour:.12g} per replica hour"] if hour else texts)
