"""How requests reach a service, in few words: pure functions from documents and status."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from modelyard.domain import services
from modelyard.domain.services import ServiceSpec
from modelyard.entry import abilities, priced, wording
from modelyard.entry.wording import span
from modelyard.errors import Invalid


def of(
    service: Mapping[str, Any], names: Collection[str], limits: Iterable[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """What the pages show of one service as the control plane gives it; `names` are those of all
    services, so that what is gone is no link."""
    spec = _spec(service["document"])
    name = service["document"]["name"]
    shadow = spec.shadow
    return {
        "split": split(service["status"] or {}),
        "routing": _routing(spec),
        "timeouts": _timeouts(spec),
        "retries": _retries(spec),
        "fallback": [
            _named(one.service, names, f"on {', '.join(one.on)}") for one in spec.fallback
        ],
        "queue": _queue(spec),
        "cache": _cache(spec),
        "can": abilities.said(service),
        "price": priced.said(service),
        "content": wording.content(spec.model_dump()),
        "shadow": {**_named(shadow.service, names), "share": shadow.share} if shadow else None,
        "limits": [one for one in limits if _counts(one["document"]["spec"], name)],
    }


def split(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The revisions that share the requests, the stable one first. A canary that cannot answer
    takes none."""
    canary = status.get("canary")
    taken = canary["weight"] if canary and canary["endpoints"] else 0.0
    parts = [_part("stable", status, 1 - taken)] if status else []
    return [*parts, _part("canary", canary, taken)] if canary else parts


def share(part: float) -> str:
    """`0.125` → `12.5 %`."""
    return f"{100 * part:.3g} %"


def _on(classes: Iterable[str]) -> str:
    return f"on {', '.join(classes)}"


def _named(service: str, names: Collection[str], on: str = "") -> dict[str, Any]:
    return {"service": service, "there": service in names, "on": on}


def _spec(document: Mapping[str, Any]) -> ServiceSpec:
    try:
        return services.parse(dict(document)).spec
    except Invalid:
        return ServiceSpec()  # the status says what is wrong with it


def _part(word: str, status: Mapping[str, Any], taken: float) -> dict[str, Any]:
    return {
        "word": word,
        "share": taken,
        "revision": status.get("revision", ""),
        "version": status.get("model_version", "") or status.get("model", ""),
        "engine": status.get("engine", ""),
        "phase": status.get("phase", "starting"),
        "message": status.get("message", ""),
        "ready": len(status.get("endpoints") or ()),
        "sticky": status.get("sticky", ""),
    }


def _routing(spec: ServiceSpec) -> str:
    rule = spec.routing.rule
    return f"{rule}, β {spec.routing.beta:g}" if rule == "prefix" else rule


def _timeouts(spec: ServiceSpec) -> str:
    given = {
        name.removesuffix("_s").replace("_", " "): value
        for name, value in spec.timeouts.model_dump().items()
        if value
    }
    return ", ".join(f"{name} {span(value)}" for name, value in given.items())


def _retries(spec: ServiceSpec) -> str:
    retries = spec.retries
    if retries.attempts == 1:
        return "none"
    first = f"up to {retries.attempts} attempts, retries at most {share(retries.budget)}"
    return f"{first} of requests, first pause up to {1000 * retries.backoff_s:.3g} ms"


def _queue(spec: ServiceSpec) -> str:
    queue = spec.queue
    if not queue.per_slot:
        return ""
    return f"{queue.per_slot:g} per slot, {queue.limit:,} wait ≤ {span(queue.timeout_s)}"


def _cache(spec: ServiceSpec) -> str:
    cache, semantic = spec.cache, spec.cache.semantic
    parts = [f"exact {span(cache.ttl_s)}"] if cache.ttl_s else []
    if semantic:
        parts.append(f"semantic {span(semantic.ttl_s)}, ≤ {semantic.threshold:g}")
    return "; ".join(parts)


def _counts(spec: Mapping[str, Any], service: str) -> bool:
    """Limits that speak of this service; those of callers alone are not its own."""
    return spec.get("service") == service or spec.get("each") == "service"
