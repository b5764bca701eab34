"""Keys and limits."""

from collections.abc import Mapping
from typing import Any

from modelyard.client.calls import Calls, quoted


class AccessCalls(Calls):
    """Who may call, and how much."""

    def limits(self) -> list[dict[str, Any]]:
        """All limits: `{document, generation, problem}`."""
        return list(self._connection.call("GET", "/api/limits")["limits"])

    def limit(self, name: str) -> dict[str, Any]:
        """One limit."""
        return self._connection.call("GET", f"/api/limits/{quoted(name)}")

    def set_limit(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Store a Limit document in place of the former one of that name."""
        return self._connection.call("POST", "/api/limits", json=document)

    def delete_limit(self, name: str) -> dict[str, Any]:
        """Remove a limit."""
        return self._connection.call("DELETE", f"/api/limits/{quoted(name)}")

    def keys(self) -> list[dict[str, Any]]:
        """All keys, without their secrets."""
        return list(self._connection.call("GET", "/api/keys")["keys"])

    def create_key(self, **fields: Any) -> dict[str, Any]:
        """A new key; `key` in the answer is shown only this once."""
        return self._connection.call("POST", "/api/keys", json=fields)

    def limit_key(
        self, key_id: str, limits: Mapping[str, Any], priority: str = ""
    ) -> dict[str, Any]:
        """Change what a key may use; a bound that is None is taken away, others stay."""
        body = {"limits": dict(limits), "priority": priority}
        return self._connection.call("PATCH", f"/api/keys/{quoted(key_id)}", json=body)

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        """End a key."""
        return self._connection.call("DELETE", f"/api/keys/{quoted(key_id)}")
