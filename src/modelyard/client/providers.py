"""The client's calls about providers: outside upstreams and their keys."""

from collections.abc import Mapping
from typing import Any

from modelyard.client.calls import Calls, quoted


class ProviderCalls(Calls):
    """Providers and the keys that are kept for them."""

    def providers(self) -> list[dict[str, Any]]:
        """All providers: `{document, generation, kind, url, origin, problem, keys, services,
        test}`."""
        return list(self._connection.call("GET", "/api/providers")["providers"])

    def provider(self, name: str) -> dict[str, Any]:
        """One provider."""
        return self._connection.call("GET", f"/api/providers/{quoted(name)}")

    def set_provider(
        self, document: Mapping[str, Any], keys: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Store a Provider document, and values of keys that it names as `store:NAME`."""
        body = {"document": dict(document), "keys": dict(keys or {})}
        return self._connection.call("POST", "/api/providers", json=body)

    def test_provider(self, name: str) -> dict[str, Any]:
        """Call it with each of its keys: `{ok, at_us, keys: [{key, ok, said, latency_us}]}`."""
        return self._connection.call("POST", f"/api/providers/{quoted(name)}/test")

    def provider_models(self, name: str) -> list[str]:
        """The models that it lists. Raises Upstream when it does not."""
        return list(self._connection.call("GET", f"/api/providers/{quoted(name)}/models")["models"])

    def delete_provider(self, name: str, force: bool = False) -> dict[str, Any]:
        """Remove a provider and its stored keys. Raises Conflict when services name it, unless
        `force`."""
        path = f"/api/providers/{quoted(name)}"
        return self._connection.call("DELETE", path, params={"force": force})
