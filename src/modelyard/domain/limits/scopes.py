"""Which counters a request runs against: those of Limit documents, and its key's own."""

from collections.abc import Iterable

from modelyard.domain.limits import Counter
from modelyard.domain.snapshot import AccessKey, Bounds, Limit

SCOPES = ("key", "team", "person", "service")


def counters(limits: Iterable[Limit], key: AccessKey, service: str) -> tuple[Counter, ...]:
    """All counters for requests of this key to this service; empty when nothing bounds them.

    To be worked out once per key and service of a snapshot: the tuple is what the ledger knows
    the counters by. A document that counts `each` team or person does not count requests that
    have none.
    """
    asks = {"key": key.id, "team": key.team, "person": key.person, "service": service}
    found = [] if key.bounds is None else [Counter(f"key:{key.id}", key.bounds, f"key {key.id}")]
    found += [
        _counter(limit, asks)
        for limit in limits
        if limit.tenant == key.tenant and _applies(limit, asks)
    ]
    return tuple(one for one in found if bounded(one.bounds))


def bounded(bounds: Bounds) -> bool:
    """Whether anything is bounded at all."""
    return bool(
        bounds.requests_per_minute
        or bounds.tokens_per_minute
        or bounds.concurrency
        or bounds.budget_nano_usd
    )


def _applies(limit: Limit, asks: dict[str, str]) -> bool:
    wanted = ((scope, getattr(limit, scope)) for scope in SCOPES)
    if any(name and name != asks[scope] for scope, name in wanted):
        return False
    return not limit.each or bool(asks[limit.each])


def _counter(limit: Limit, asks: dict[str, str]) -> Counter:
    identity, what = f"limit:{limit.tenant}/{limit.name}", f"limit {limit.name}"
    if limit.each:
        identity += f":{limit.each}={asks[limit.each]}"
        what += f" of {limit.each} {asks[limit.each]}"
    return Counter(identity, limit.bounds, what)
