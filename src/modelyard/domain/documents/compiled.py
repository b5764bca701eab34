"""Documents in the form that gateways serve from: no defaults left open, money as whole numbers."""

from modelyard.domain import services
from modelyard.domain import snapshot as compiled
from modelyard.domain.documents.limits import BoundsSpec, LimitDocument
from modelyard.domain.documents.prices import NANO as NANO
from modelyard.domain.documents.prices import nano as nano
from modelyard.domain.documents.prices import price_of


def price(spec: services.PriceSpec | None) -> compiled.Price | None:
    """The price of a service that has one."""
    return None if spec is None else price_of(spec)


def service(
    tenant: str,
    name: str,
    revision: compiled.Revision,
    spec: services.ServiceSpec,
    *,
    canary: compiled.Canary | None = None,
    created_at_us: int = 0,
) -> compiled.Service:
    """A service whose references hold."""
    return compiled.Service(
        tenant=tenant,
        name=name,
        revision=revision,
        created_at_us=created_at_us,
        canary=canary,
        routing=compiled.Routing(**spec.routing.model_dump()),
        timeouts=compiled.Timeouts(**spec.timeouts.model_dump()),
        retries=compiled.Retries(**spec.retries.model_dump()),
        fallbacks=tuple(compiled.Fallback(service=one.service, on=one.on) for one in spec.fallback),
        queue=compiled.Queue(**spec.queue.model_dump()),
        cache=_cache(spec),
        shadow=compiled.Shadow(**spec.shadow.model_dump()) if spec.shadow else None,
        passes=spec.passes,
        capabilities=compiled.Capabilities(**spec.capabilities.model_dump()),
        guarantees=compiled.Guarantees(**spec.guarantees.model_dump()),
        content=_content(spec),
    )


def _content(spec: services.ServiceSpec) -> compiled.Content:
    responses = spec.content.responses
    return compiled.Content(responses_keep_s=responses.keep_s if responses else 0.0)


def _cache(spec: services.ServiceSpec) -> compiled.Cache:
    semantic = spec.cache.semantic
    return compiled.Cache(
        ttl_s=spec.cache.ttl_s,
        max_temperature=spec.cache.max_temperature,
        semantic=compiled.SemanticCache(**semantic.model_dump()) if semantic else None,
    )


def bounds(spec: BoundsSpec) -> compiled.Bounds | None:
    """None where nothing is bounded."""
    if not spec.any:
        return None
    budget = spec.budget
    return compiled.Bounds(
        requests_per_minute=spec.requests_per_minute or 0,
        tokens_per_minute=spec.tokens_per_minute or 0,
        concurrency=spec.concurrency or 0,
        budget_nano_usd=nano(budget.usd) if budget else 0,
        budget_per=budget.per if budget else "month",
        unknown_price=spec.unknown_price,
    )


def limit(tenant: str, document: LimitDocument) -> compiled.Limit:
    """A Limit whose names are known."""
    spec = document.spec
    return compiled.Limit(
        tenant=tenant,
        name=document.name,
        bounds=bounds(spec) or compiled.Bounds(),
        key=spec.key,
        team=spec.team,
        person=spec.person,
        service=spec.service or "",
        each=spec.each,
    )
