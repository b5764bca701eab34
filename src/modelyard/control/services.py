"""Service documents: checked, stored, listed, removed. The reconciler acts on what is stored."""

from collections.abc import Mapping
from typing import Any

from modelyard.control import documents
from modelyard.control.documents import Applied
from modelyard.domain import services
from modelyard.domain.documents import SERVICE as KIND
from modelyard.errors import Conflict
from modelyard.ports.meta import Document, Key, MetaStore, all_of

STATUS_KIND = "ServiceStatus"
_HIDDEN = "(hidden)"


class Services:
    """One tenant's services at a time; every method takes the tenant first."""

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta

    def apply(self, tenant: str, data: Any, actor: str) -> Applied:
        """Store the document if it differs from what is there. Raises Invalid with all mistakes."""
        (applied,) = documents.apply(self._meta, tenant, [services.parse(data)], actor)
        return applied

    def get(self, tenant: str, name: str) -> dict[str, Any]:
        """`{document, status, generation}`; `status` is None until the reconciler saw it."""
        return self._view(documents.get(self._meta, Key(tenant, KIND, name)))

    def list(self, tenant: str) -> list[dict[str, Any]]:
        """All services by name, each as `get` gives it."""
        return [self._view(document) for document in all_of(self._meta, tenant, KIND)]

    def delete(self, tenant: str, name: str, actor: str, *, force: bool = False) -> None:
        """Remove it; the reconciler drains and ends its replicas. Raises NotFound, and Conflict
        when other documents name it, unless `force`: then that part of theirs has no effect."""
        key = Key(tenant, KIND, name)
        documents.get(self._meta, key)
        referrers = [] if force else documents.referrers(self._meta, tenant, name)
        if referrers:
            raise Conflict(
                f"service {name} is named by {', '.join(referrers)}",
                hint="change those first, or delete it with force",
                code="referred_to",
            )
        documents.delete(self._meta, key, actor)

    def _view(self, document: Document) -> dict[str, Any]:
        status = self._meta.get(document.key._replace(kind=STATUS_KIND))
        return {
            "document": dict(document.body),
            "status": _without_secrets(status.body) if status else None,
            "generation": document.generation,
        }


def _without_secrets(status: Mapping[str, Any]) -> dict[str, Any]:
    """Of the revision that answers, and of its canary."""
    canary = status.get("canary")
    shown = {**status, "endpoints": [_hidden(one) for one in status.get("endpoints", [])]}
    return {**shown, "canary": _without_secrets(canary)} if canary else shown


def _hidden(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    return {**endpoint, "api_key": _HIDDEN} if endpoint.get("api_key") else {**endpoint}
