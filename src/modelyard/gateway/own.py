"""What the gateway answers by itself: models, kept responses, health, metrics. Each path names its
permission."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from modelyard.domain.snapshot import AccessKey
from modelyard.gateway.catalog import no_model, require
from modelyard.gateway.kept import paths
from modelyard.lib.http import RequestHead

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
    delete: Callable[["Gateway", AccessKey | None, str], Said] | None = None
    """What DELETE does there, if it may."""

    @property
    def methods(self) -> tuple[bytes, ...]:
        """Those that it takes."""
        return (b"GET", b"HEAD") if self.delete is None else (b"GET", b"HEAD", b"DELETE")


def answer(gateway: "Gateway", head: RequestHead, one: OwnPath, rest: str) -> Said:
    """What an own path says to this caller. Raises Unauthenticated, Forbidden, NotFound."""
    key = None
    if one.permission != "public":
        key = gateway.catalog.caller(head).key
        require(key, one.permission)
    if one.delete is not None and head.method == b"DELETE":
        return one.delete(gateway, key, rest)
    return one.answer(gateway, key, rest)


def find(head: RequestHead) -> tuple[OwnPath, str] | None:
    """The own path that answers, and what follows it."""
    path = head.path
    if path.startswith(_RESPONSES):
        rest = head.target.removeprefix(_RESPONSES).decode("latin-1")
        return (PATHS[_RESPONSES], rest) if head.method != b"POST" else None
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


def _root(_: "Gateway", __: AccessKey | None, ___: str) -> Said:
    """Clients ask for it to see whether anybody is there (`HEAD /`)."""
    return Said(200, JSON, b'{"name":"modelyard","openai":"/v1","anthropic":"/"}')


def _health(_: "Gateway", __: AccessKey | None, ___: str) -> Said:
    return Said(200, JSON, b'{"status":"ok"}')


def _readiness(gateway: "Gateway", _: AccessKey | None, __: str) -> Said:
    ready = gateway.catalog.generation >= 0 and not gateway.draining
    return Said(200 if ready else 503, JSON, b'{"ready":%b}' % (b"true" if ready else b"false"))


def _metrics(gateway: "Gateway", _: AccessKey | None, __: str) -> Said:
    return Said(200, TEXT, gateway.render_metrics())


def _response(gateway: "Gateway", key: AccessKey | None, rest: str) -> Said:
    assert key is not None
    return Said(200, JSON, paths.show(gateway, key, rest))


def _delete_response(gateway: "Gateway", key: AccessKey | None, rest: str) -> Said:
    assert key is not None
    return Said(200, JSON, paths.delete(gateway, key, rest))


_RESPONSES = b"/v1/responses/"

PATHS = {
    b"/v1/models": OwnPath("inference.call", _models),
    _RESPONSES: OwnPath("inference.call", _response, _delete_response),
    b"/": OwnPath("public", _root),
    b"/healthz": OwnPath("public", _health),
    b"/readyz": OwnPath("public", _readiness),
    b"/metrics": OwnPath("public", _metrics),
}
