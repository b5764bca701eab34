"""Limit documents: checked, stored, listed, removed. Gateways count by what is stored."""

from typing import Any

from modelyard.control import documents
from modelyard.control.documents import Applied
from modelyard.domain import access
from modelyard.domain.documents import ACCESS_KEY, SERVICE, limits
from modelyard.domain.documents import LIMIT as KIND
from modelyard.ports.meta import Document, Key, MetaStore, all_of


class Limits:
    """One tenant's limits at a time; every method takes the tenant first."""

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta

    def apply(self, tenant: str, data: Any, actor: str) -> Applied:
        """Store the document if it differs from what is there. Raises Invalid with all mistakes,
        a key or service that does not exist among them."""
        (applied,) = documents.apply(self._meta, tenant, [limits.parse(data)], actor)
        return applied

    def get(self, tenant: str, name: str, now_us: int) -> dict[str, Any]:
        """`{document, generation, problem}`; `problem` says why it counts nothing, if so."""
        return self._view(documents.get(self._meta, Key(tenant, KIND, name)), now_us)

    def list(self, tenant: str, now_us: int) -> list[dict[str, Any]]:
        """All limits by name, each as `get` gives it."""
        return [self._view(document, now_us) for document in all_of(self._meta, tenant, KIND)]

    def delete(self, tenant: str, name: str, actor: str) -> None:
        """Remove it: what it counted is not bounded any more. Raises NotFound."""
        documents.delete(self._meta, Key(tenant, KIND, name), actor)

    def _view(self, document: Document, now_us: int) -> dict[str, Any]:
        body = dict(document.body)
        problem = self._problem(document.key.tenant, body["spec"], now_us)
        return {"document": body, "generation": document.generation, "problem": problem}

    def _problem(self, tenant: str, spec: dict[str, Any], now_us: int) -> str:
        """What it names may have gone since it was applied."""
        service, key = spec.get("service"), spec.get("key")
        if service and self._meta.get(Key(tenant, SERVICE, service)) is None:
            return f"it counts nothing: service {service} was deleted"
        found = self._meta.get(Key(tenant, ACCESS_KEY, key)) if key else None
        if key and (found is None or not access.holds(found.body, now_us)):
            return f"it counts nothing: key {key} is revoked or expired"
        return ""
