"""Where secrets are kept: environment, files, and a store of the platform's own."""

from collections.abc import Mapping

from modelyard.errors import Invalid
from modelyard.ports.meta import DEFAULT_TENANT
from modelyard.ports.secrets import Secrets


class BySchemes:
    """Secrets of all kinds: what stands before the colon of a reference chooses the adapter."""

    def __init__(self, adapters: Mapping[str, Secrets]) -> None:
        self._adapters = dict(adapters)

    def resolve(self, reference: str, *, tenant: str = DEFAULT_TENANT, origin: str = "") -> str:
        """See the port."""
        scheme, colon, _ = reference.partition(":")
        adapter = self._adapters.get(scheme) if colon else None
        if adapter is None:
            known = ", ".join(f"{name}:…" for name in self._adapters)
            raise Invalid("this is no reference to a secret", hint=f"write one of {known}")
        return adapter.resolve(reference, tenant=tenant, origin=origin)
