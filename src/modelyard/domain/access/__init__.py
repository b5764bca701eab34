"""Who may do what: permissions, roles, principals, and the form of keys.

Every route path and every command names one of these permissions; a test walks them all.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, NamedTuple

from modelyard.errors import Forbidden

PERMISSIONS: dict[str, str] = {
    "inference.call": "call services through the gateway",
    "services.read": "see services, replicas and their status",
    "services.write": "apply and delete services",
    "logs.read": "read replica logs",
    "models.read": "see models and pull their files",
    "models.write": "push versions and move aliases",
    "requests.read": "see request records",
    "keys.read": "see keys (never their secrets)",
    "keys.write": "make, limit and revoke keys",
    "limits.read": "see what callers may use",
    "limits.write": "set and delete what callers may use",
    "providers.read": "see outside providers (never their keys) and the models they list",
    "providers.write": "set, test and delete outside providers and their keys",
    "audit.read": "read the audit log",
    "self.read": "see who one is",
    "public": "needs no key",
    "internal": "the platform's own processes only",
    "local": "runs on this machine without asking the platform",
}

ROLES: dict[str, frozenset[str]] = {
    "admin": frozenset(PERMISSIONS) - {"internal"},
    "caller": frozenset({"inference.call", "self.read", "public", "local"}),
}

PRIORITIES = ("interactive", "normal", "background")
"""Classes in the queue of a service, the first served first."""


class Principal(NamedTuple):
    """Who is asking. `name` goes into the audit log as the actor."""

    tenant: str
    key_id: str
    role: str
    name: str
    team: str = ""
    person: str = ""
    services: tuple[str, ...] = ()

    def may(self, permission: str) -> bool:
        """Whether its role holds the permission."""
        return permission in ROLES.get(self.role, frozenset())

    def require(self, permission: str) -> None:
        """Raises Forbidden when `may` says no."""
        if not self.may(permission):
            raise Forbidden(
                f"key {self.key_id} has role {self.role!r}, which lacks {permission!r}",
                hint="use a key with a role that holds it, or ask an admin for one",
            )


def key_text(key_id: str, secret: str) -> str:
    """`my_<id>_<secret>`: the whole key, shown once."""
    return f"my_{key_id}_{secret}"


def key_digest(pepper: bytes, text: str) -> str:
    """What is stored instead of a key: HMAC-SHA256 in hexadecimal (RFC 2104)."""
    return hmac.new(pepper, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def holds(body: Mapping[str, Any], now_us: int) -> bool:
    """Whether a stored key is neither revoked nor expired."""
    return not body["revoked_at_us"] and not 0 < body["expires_at_us"] <= now_us
