"""Service documents: checked, stored, listed, removed. The reconciler acts on what is stored."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from modelyard.domain import services
from modelyard.errors import Conflict, NotFound
from modelyard.ports.meta import ABSENT, Change, Document, Key, MetaStore, all_of

KIND = "Service"
STATUS_KIND = "ServiceStatus"
_TRIES = 5
_HIDDEN = "(hidden)"


class Applied(NamedTuple):
    """What `apply` did; `generation` is the document's."""

    name: str
    changed: bool
    generation: int


class Services:
    """One tenant's services at a time; every method takes the tenant first."""

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta

    def apply(self, tenant: str, data: Any, actor: str) -> Applied:
        """Store the document if it differs from what is there. Raises Invalid with all mistakes."""
        document = services.parse(data)
        body = document.model_dump(by_alias=True, mode="json", exclude_unset=True)
        key = Key(tenant, KIND, document.name)
        for _ in range(_TRIES):
            known = self._meta.get(key)
            if known is not None and known.body == body:
                return Applied(document.name, False, known.generation)
            expected = known.generation if known else ABSENT
            verb = "change" if known else "create"
            try:
                change = Change(key, body, expected)
                generation = self._meta.commit([change], actor, f"{verb} service {document.name}")
            except Conflict:
                continue
            return Applied(document.name, True, generation)
        raise Conflict(f"service {document.name} is being changed by others", hint="apply it again")

    def get(self, tenant: str, name: str) -> dict[str, Any]:
        """`{document, status, generation}`; `status` is None until the reconciler saw it."""
        document = self._meta.get(Key(tenant, KIND, name))
        if document is None:
            known = [other.key.name for other in self._meta.list(tenant, KIND).documents]
            raise NotFound(
                f"no service {name!r}",
                hint=f"there are: {', '.join(known)}" if known else "apply one first",
            )
        return self._view(document)

    def list(self, tenant: str) -> list[dict[str, Any]]:
        """All services by name, each as `get` gives it."""
        return [self._view(document) for document in all_of(self._meta, tenant, KIND)]

    def delete(self, tenant: str, name: str, actor: str) -> None:
        """Remove it; the reconciler drains and ends its replicas. Raises NotFound."""
        for _ in range(_TRIES):
            generation = self.get(tenant, name)["generation"]
            change = Change(Key(tenant, KIND, name), None, generation)
            try:
                self._meta.commit([change], actor, f"delete service {name}")
            except Conflict:
                continue
            return
        raise Conflict(f"service {name} is being changed by others", hint="delete it again")

    def _view(self, document: Document) -> dict[str, Any]:
        status = self._meta.get(document.key._replace(kind=STATUS_KIND))
        return {
            "document": dict(document.body),
            "status": _without_secrets(status.body) if status else None,
            "generation": document.generation,
        }


def _without_secrets(status: Mapping[str, Any]) -> dict[str, Any]:
    endpoints = [
        {**endpoint, "api_key": _HIDDEN} if endpoint.get("api_key") else endpoint
        for endpoint in status.get("endpoints", [])
    ]
    return {**status, "endpoints": endpoints}
