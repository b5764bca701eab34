"""The snapshot that gateways serve from: compiled from documents, handed out by long poll."""

import threading
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec

from modelyard.control.access import KIND as KEY_KIND
from modelyard.control.access import is_valid
from modelyard.control.reconcile import Status
from modelyard.control.services import KIND as SERVICE_KIND
from modelyard.control.services import STATUS_KIND, all_of
from modelyard.domain import services
from modelyard.domain.snapshot import AccessKey, Price, Revision, Service, Snapshot, seal
from modelyard.errors import Invalid
from modelyard.ports.meta import Document, MetaStore

NANO = 1_000_000_000
RELEVANT = {KEY_KIND, SERVICE_KIND, STATUS_KIND}


class Snapshots:
    """Compiles when something relevant has changed; safe for many threads."""

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta
        self._lock = threading.Lock()
        self._current: Snapshot | None = None
        self._seen = 0

    def current(self, now_us: int) -> Snapshot:
        """The snapshot of what is stored now."""
        with self._lock:
            while commits := self._meta.watch(self._seen, 0.0):
                self._seen = commits[-1].generation
                if any(key.kind in RELEVANT for commit in commits for key in commit.keys):
                    self._current = None
            if self._current is None:
                self._current = self.compile(now_us)
            return self._current

    def compile(self, now_us: int) -> Snapshot:
        """Services with what answers for them, and the keys that are valid now.

        Its generation is read first, so that it never claims more than it holds.
        """
        generation = 0
        while commits := self._meta.watch(generation, 0.0):
            generation = commits[-1].generation
        statuses = {
            (status.key.tenant, status.key.name): msgspec.convert(status.body, Status)
            for status in all_of(self._meta, "*", STATUS_KIND)
        }
        return seal(
            Snapshot(
                epoch=self._meta.epoch,
                generation=generation,
                created_at_us=now_us,
                services=tuple(
                    _service(document, statuses.get((document.key.tenant, document.key.name)))
                    for document in all_of(self._meta, "*", SERVICE_KIND)
                ),
                keys=tuple(
                    _key(document)
                    for document in all_of(self._meta, "*", KEY_KIND)
                    if is_valid(document, now_us)
                ),
            )
        )


def _service(document: Document, status: Status | None) -> Service:
    revision = Revision(id="")
    if status is not None:
        revision = Revision(
            id=status.revision,
            model=status.model,
            model_version=status.model_version,
            model_digest=status.model_digest,
            engine=status.engine,
            endpoints=status.endpoints,
            price=_price(document.body),
        )
    return Service(
        tenant=document.key.tenant,
        name=document.key.name,
        revision=revision,
        created_at_us=document.updated_at_us,
    )


def _price(body: Mapping[str, Any]) -> Price | None:
    try:
        price = services.parse(dict(body)).spec.price
    except Invalid:
        return None  # the reconciler says so in the status; what runs goes on without a price
    if price is None:
        return None
    cached = price.cached_usd_per_million
    return Price(
        input=_nano(price.input_usd_per_million),
        output=_nano(price.output_usd_per_million),
        cached=_nano(price.input_usd_per_million if cached is None else cached),
    )


def _nano(dollars: float) -> int:
    """Nano-dollars, rounded up; through the decimal text, so that 0.1 is a tenth."""
    return int((Decimal(str(dollars)) * NANO).to_integral_value(ROUND_CEILING))


def _key(document: Document) -> AccessKey:
    body = document.body
    return AccessKey(
        id=body["id"],
        digest=body["digest"],
        tenant=document.key.tenant,
        role=body["role"],
        services=tuple(body["services"]),
        team=body["team"],
        person=body["person"],
        client=body["client"],
        expires_at_us=body["expires_at_us"],
    )
