"""The steps of a request before dispatch, each a plain function that may raise to end it."""

from typing import TYPE_CHECKING

from modelyard.errors import Unavailable
from modelyard.gateway import own
from modelyard.gateway.body import inspect
from modelyard.gateway.dialects.openai import PERMISSION

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange

_MAX_LABEL = 64


def authenticate(exchange: "Exchange") -> None:
    """Find the access key."""
    record = exchange.record
    key = own.key_of(exchange.gateway, exchange.head.headers)
    exchange.key = key
    record.tenant, record.key_id = key.tenant, key.id
    record.team, record.person = key.team, key.person
    headers = exchange.head.headers
    record.session = _label(headers.get(b"x-modelyard-session", b""))
    record.client = key.client or _label(
        headers.get(b"x-modelyard-client") or headers.get(b"user-agent", b"").split(b" ")[0]
    )


def authorise(exchange: "Exchange") -> None:
    """Its role must hold the permission of the route path."""
    assert exchange.key is not None
    own.require(exchange.key, PERMISSION)


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
        raise own.no_model(name)
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
