"""The steps of a request before dispatch, each a plain function that may raise to end it."""

from typing import TYPE_CHECKING

from modelyard.domain.access import ROLES
from modelyard.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from modelyard.gateway.body import inspect

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange

_MAX_LABEL = 64


def authenticate(exchange: "Exchange") -> None:
    """Find the access key. Never says whether a key exists."""
    gateway, record = exchange.gateway, exchange.record
    key = gateway.authenticate(exchange.head.headers)
    if key is None:
        raise Unauthenticated(
            "incorrect API key provided",
            hint="send `Authorization: Bearer my_…`; `modelyard keys create` makes one",
            code="invalid_api_key",
        )
    exchange.key = key
    record.tenant, record.key_id = key.tenant, key.id
    record.team, record.person = key.team, key.person
    headers = exchange.head.headers
    record.session = _label(headers.get(b"x-modelyard-session", b""))
    record.client = key.client or _label(
        headers.get(b"x-modelyard-client") or headers.get(b"user-agent", b"").split(b" ")[0]
    )


def authorise(exchange: "Exchange") -> None:
    """Its role must hold `inference.call`."""
    assert exchange.key is not None
    if "inference.call" not in ROLES.get(exchange.key.role, ()):
        raise Forbidden(
            f"key {exchange.key.id} may not call models (role {exchange.key.role!r})",
            code="permission_denied",
        )


def read_body(exchange: "Exchange") -> None:
    """Read what is decided on."""
    exchange.seen = inspect(exchange.body)
    exchange.record.service = exchange.seen.model[:_MAX_LABEL]
    exchange.record.stream = bool(exchange.seen.stream)


def resolve(exchange: "Exchange") -> None:
    """Service → revision."""
    assert exchange.key is not None
    assert exchange.seen is not None
    name = exchange.seen.model
    service = exchange.gateway.catalog.service(exchange.key, name)
    if service is None:
        raise NotFound(
            f"the model {name[:100]!r} does not exist or this key may not call it",
            hint="GET /v1/models lists what it may",
            code="model_not_found",
        )
    exchange.service = service
    record, revision = exchange.record, service.revision
    record.revision, record.model = revision.id, revision.model
    record.model_version, record.model_digest = revision.model_version, revision.model_digest


def admit(exchange: "Exchange") -> None:
    """Open the request's slot: from here on it is recorded even if this process dies."""
    gateway = exchange.gateway
    if gateway.recorder.full:
        raise Unavailable(
            "the record spool is full, so this request could not be recorded",
            hint="start the control plane or free disk space",
            code="records_spool_full",
        )
    exchange.slot = gateway.open_slot(exchange.record)
    if exchange.slot < 0:
        raise Unavailable("too many requests are open in this gateway process", code="overloaded")


STEPS = (authenticate, authorise, read_body, resolve, admit)


def _label(raw: bytes) -> str:
    return raw[:_MAX_LABEL].decode("latin-1")
