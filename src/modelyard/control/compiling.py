"""Stored documents and statuses → the parts of a snapshot. Nothing that comes out names a service
or a key that does not come out, too: what dangles is left out, and the status says so.

A key's own list of services is no such name: it says what the key may call, and may say it before
the service is there.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from modelyard.control.documents import specs_of
from modelyard.control.status import CanaryStatus, Status
from modelyard.domain import snapshot
from modelyard.domain.access import PRIORITIES, holds
from modelyard.domain.documents import compiled, references
from modelyard.domain.documents import limits as limit_documents
from modelyard.domain.documents.limits import BoundsSpec, LimitDocument
from modelyard.domain.services import CanarySpec, ServiceSpec
from modelyard.domain.snapshot import AccessKey, Canary, Limit, Price, Revision, Service
from modelyard.errors import Invalid
from modelyard.ports.meta import Document


def services(documents: Sequence[Document], statuses: Iterable[Document]) -> tuple[Service, ...]:
    """Every service with what answers for it now."""
    by_name = {
        (one.key.tenant, one.key.name): msgspec.convert(one.body, Status) for one in statuses
    }
    by_tenant: dict[str, list[Document]] = {}
    for document in documents:
        by_tenant.setdefault(document.key.tenant, []).append(document)
    specs = {tenant: _whole(specs_of(theirs)) for tenant, theirs in by_tenant.items()}
    return tuple(
        _service(document, specs[document.key.tenant], by_name.get(_place(document)))
        for document in documents
    )


def keys(documents: Iterable[Document], now_us: int) -> tuple[AccessKey, ...]:
    """Those that are valid now."""
    return tuple(_key(document) for document in documents if holds(document.body, now_us))


def limits(
    documents: Iterable[Document], services: Iterable[Service], keys: Iterable[AccessKey]
) -> tuple[Limit, ...]:
    """Those whose service and key are in the snapshot: without them they count nothing."""
    callable_names = {(one.tenant, one.name) for one in services}
    valid = {(one.tenant, one.id) for one in keys}
    found = []
    for document in documents:
        tenant, read = document.key.tenant, _limit(document)
        if read is None:
            continue
        service, key = read.spec.service, read.spec.key
        if (not service or (tenant, service) in callable_names) and (
            not key or (tenant, key) in valid
        ):
            found.append(compiled.limit(tenant, read))
    return tuple(found)


def _place(document: Document) -> tuple[str, str]:
    return document.key.tenant, document.key.name


def _whole(specs: Mapping[str, ServiceSpec | None]) -> dict[str, ServiceSpec | None]:
    """Without references that cannot work."""
    wrong = references.problems(specs)
    return {
        name: spec and references.without(spec, wrong.get(name, [])) for name, spec in specs.items()
    }


def _service(
    document: Document, specs: Mapping[str, ServiceSpec | None], status: Status | None
) -> Service:
    """A document that cannot be read any more: the reconciler says so in the status, and what
    runs goes on with the defaults, without a price."""
    spec = specs[document.key.name] or ServiceSpec()
    price = compiled.price(spec.price)
    revision = _revision(status, price) if status is not None else Revision(id="")
    return compiled.service(
        document.key.tenant,
        document.key.name,
        revision,
        spec,
        canary=_canary(spec.canary, status.canary if status else None, price),
        created_at_us=document.updated_at_us,
    )


def _revision(status: Status | CanaryStatus, price: Price | None) -> Revision:
    return Revision(
        id=status.revision,
        model=status.model,
        model_version=status.model_version,
        model_digest=status.model_digest,
        engine=status.engine,
        endpoints=status.endpoints,
        price=price,
    )


def _canary(
    spec: CanarySpec | None, status: CanaryStatus | None, price: Price | None
) -> Canary | None:
    """None until it can answer. The smaller weight of document and status: a document that was
    just changed may speak of another revision than the one that runs, and one that takes weight
    away is obeyed at once."""
    if spec is None or status is None or not status.endpoints:
        return None
    weight = min(spec.weight, status.weight)
    return Canary(revision=_revision(status, price), weight=weight, sticky=spec.sticky)


def _key(document: Document) -> AccessKey:
    body = document.body
    return AccessKey(
        id=body["id"],
        digest=body["digest"],
        tenant=document.key.tenant,
        role=body["role"],
        services=tuple(body["services"]),
        team=body["team"],
        person=body["person"],
        client=body["client"],
        expires_at_us=body["expires_at_us"],
        trusted=body.get("trusted", False),
        bounds=_bounds(body.get("limits") or {}),
        priority=PRIORITIES.index(body.get("priority", "normal")),
    )


def _bounds(stored: Mapping[str, object]) -> snapshot.Bounds | None:
    return compiled.bounds(BoundsSpec.model_validate(stored)) if stored else None


def _limit(document: Document) -> LimitDocument | None:
    """None where it cannot be read any more."""
    try:
        return limit_documents.parse(dict(document.body))
    except Invalid:
        return None
