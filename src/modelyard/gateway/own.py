"""What the gateway answers by itself: models, health, metrics. Each path names its permission."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from modelyard.domain.access import ROLES
from modelyard.domain.snapshot import AccessKey
from modelyard.errors import Forbidden, NotFound, Unauthenticated

if TYPE_CHECKING:
    from modelyard.gateway.core import Gateway

JSON = b"Content-Type: application/json\r\n"
TEXT = b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"


class Said(NamedTuple):
    """Status, the content-type header line, and the body."""

    status: int
    kind: bytes
    body: bytes


class OwnPath(NamedTuple):
    """Who may ask, and the answer; the text is what follows the path, without its slash."""

    permission: str
    answer: Callable[["Gateway", AccessKey | None, str], Said]


def key_of(gateway: "Gateway", headers: dict[bytes, bytes]) -> AccessKey:
    """The access key of a request. Raises Unauthenticated; never says whether a key exists."""
    key = gateway.authenticate(headers)
    if key is None:
        raise Unauthenticated(
            "incorrect API key provided",
            hint="send `Authorization: Bearer my_…`; `modelyard keys create` makes one",
            code="invalid_api_key",
        )
    return key


def require(key: AccessKey, permission: str) -> None:
    """Raises Forbidden when the role of the key lacks the permission."""
    if permission not in ROLES.get(key.role, ()):
        raise Forbidden(
            f"key {key.id} may not call models (role {key.role!r})", code="permission_denied"
        )


def no_model(name: str) -> NotFound:
    """The error for a name that is unknown, or not for this key."""
    return NotFound(
        f"the model {name[:100]!r} does not exist or this key may not call it",
        hint="GET /v1/models lists what it may",
        code="model_not_found",
    )


def answer(gateway: "Gateway", headers: dict[bytes, bytes], one: OwnPath, rest: str) -> Said:
    """What an own path says to this caller. Raises Unauthenticated, Forbidden, NotFound."""
    key = None
    if one.permission != "public":
        key = key_of(gateway, headers)
        require(key, one.permission)
    return one.answer(gateway, key, rest)


def find(path: bytes) -> tuple[OwnPath, str] | None:
    """The own path that answers, and what follows it."""
    exact = PATHS.get(path)
    if exact is not None:
        return exact, ""
    if path.startswith(b"/v1/models/"):
        return PATHS[b"/v1/models"], path.removeprefix(b"/v1/models/").decode("latin-1")
    return None


def _models(gateway: "Gateway", key: AccessKey | None, name: str) -> Said:
    assert key is not None
    if not name:
        return Said(200, JSON, gateway.models(key))
    if gateway.catalog.service(key, name) is None:
        raise no_model(name)
    return Said(200, JSON, gateway.model(key, name))


def _health(_: "Gateway", __: AccessKey | None, ___: str) -> Said:
    return Said(200, JSON, b'{"status":"ok"}')


def _readiness(gateway: "Gateway", _: AccessKey | None, __: str) -> Said:
    ready = gateway.catalog.generation >= 0 and not gateway.draining
    return Said(200 if ready else 503, JSON, b'{"ready":%b}' % (b"true" if ready else b"false"))


def _metrics(gateway: "Gateway", _: AccessKey | None, __: str) -> Said:
    return Said(200, TEXT, gateway.render_metrics())


PATHS = {
    b"/v1/models": OwnPath("inference.call", _models),
    b"/healthz": OwnPath("public", _health),
    b"/readyz": OwnPath("public", _readiness),
    b"/metrics": OwnPath("public", _metrics),
}
