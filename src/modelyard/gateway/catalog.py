"""The snapshot compiled for serving: callers by the head they send, services by name, lanes.

A *lane* is what requests of one caller to one service on one route path have in common. It is
compiled at the first such request after a snapshot came; all others look it up.
"""

import hashlib
import hmac
from collections.abc import Iterable
from random import random
from typing import NamedTuple

import msgspec

from modelyard.domain import snapshot as snapshots
from modelyard.domain.access import ROLES
from modelyard.domain.access.asking import Asking, of_head, person_of
from modelyard.domain.limits import Counter
from modelyard.domain.limits.scopes import counters
from modelyard.domain.records import RequestRecord
from modelyard.domain.resilience import RetryBudget
from modelyard.errors import Forbidden, NotFound, Unauthenticated
from modelyard.gateway.endpoints import Endpoint, Endpoints
from modelyard.gateway.metering import BYTES_PER_TOKEN
from modelyard.gateway.shared import Region
from modelyard.gateway.steps import INNER_STEPS, steps_of
from modelyard.gateway.variants import Variant
from modelyard.gateway.waiting import ServiceQueue
from modelyard.lib import clock
from modelyard.lib.http import RequestHead
from modelyard.settings import GatewaySettings

PERMISSION = "inference.call"
"""What a key must hold to call services."""
MAX_OTHERS = 256
"""Persons for whom one head of a trusted key asks that are kept in mind."""
MAX_COUNTERS = 50_000


class Service:
    """A callable name: its revisions, and what was agreed on for its requests."""

    __slots__ = (
        "bytes_per_token",
        "canary",
        "canary_weight",
        "limits",
        "queue",
        "retry_budget",
        "spec",
        "stable",
        "sticky",
    )

    def __init__(
        self,
        spec: snapshots.Service,
        stable: Variant,
        canary: Variant | None,
        budget: RetryBudget,
        limits: "TimeLimits",
    ) -> None:
        self.spec = spec
        self.queue = ServiceQueue(spec.queue, self) if spec.queue.per_slot > 0 else None
        self.bytes_per_token = BYTES_PER_TOKEN
        self.limits = limits
        self.stable = stable
        self.canary = canary
        self.canary_weight = spec.canary.weight if spec.canary else 0.0
        self.sticky = spec.canary.sticky if spec.canary else ""
        self.retry_budget = budget

    def variants(self) -> list[Variant]:
        """The stable one, and the canary if there is one."""
        return [self.stable] if self.canary is None else [self.stable, self.canary]

    def of_revision(self, revision: str) -> Variant | None:
        """The variant of that revision: a canary that was promoted is the stable one now."""
        return next((one for one in self.variants() if one.revision.id == revision), None)

    def endpoints(self) -> list[Endpoint]:
        """Of all its revisions."""
        return [endpoint for variant in self.variants() for endpoint in variant.endpoints]

    def variant(self, caller: "Caller") -> Variant:
        """The side of the canary split for this caller: the same one each time, unless the split
        is not sticky."""
        if self.canary is None:
            return self.stable
        share = random() if self.sticky == "none" else caller.share(self.sticky, self.spec.name)  # noqa: S311
        return self.canary if share < self.canary_weight else self.stable


class TimeLimits(NamedTuple):
    """Of a service's requests, in seconds: its own, else those of the settings."""

    connect_s: float
    first_token_s: float
    whole_s: float
    """Until the first byte of an unstreamed answer."""
    idle_s: float
    total_s: float
    """0: none."""

    @classmethod
    def of(cls, own: snapshots.Timeouts, settings: GatewaySettings) -> "TimeLimits":
        """What holds for a service."""
        return cls(
            own.connect_s or settings.connect_timeout_s,
            own.first_token_s or settings.first_byte_timeout_s,
            settings.first_byte_timeout_s,
            own.idle_s or settings.stream_idle_timeout_s,
            own.total_s,
        )


class Caller:
    """What the heads of one client say, looked up once per snapshot."""

    __slots__ = (
        "affinity", "expires_at_us", "key", "lanes", "others", "record", "session", "turn",
    )  # fmt: skip

    def __init__(self, key: snapshots.AccessKey, record: RequestRecord, turn: int) -> None:
        self.key = key
        self.record = record
        """The beginning of the records of its requests, whatever they ask for."""
        self.session = record.session
        self.affinity = (record.session or key.person or key.id).encode()
        """What the `session` rule keeps at one endpoint."""
        self.expires_at_us = key.expires_at_us
        self.turn = turn
        self.lanes: dict[tuple[str, str], Lane] = {}
        self.others: dict[str, Caller] = {}
        """The same head, for persons that bodies named."""

    def share(self, sticky: str, salt: str) -> float:
        """A number from 0 to 1 that is always the same for what a split is sticky to."""
        subject = "" if sticky == "key" else self.session or self.key.person
        subject = subject or self.key.id
        digest = hashlib.blake2b(f"{salt}\n{subject}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


class Lane:
    """See the module. `record` is the beginning of each request's record."""

    __slots__ = ("caller", "counters", "record", "service", "steps")

    def __init__(
        self,
        caller: Caller,
        service: Service,
        counters: tuple[Counter, ...] = (),
        *,
        inner: bool = False,
    ) -> None:
        self.caller = caller
        self.service = service
        self.counters = counters
        outer = steps_of(service.spec, limited=bool(counters))
        self.steps = INNER_STEPS if inner else outer
        revision = service.stable.revision
        self.record = msgspec.structs.replace(
            caller.record,
            service=service.spec.name,
            model=revision.model,
            model_version=revision.model_version,
            model_digest=revision.model_digest,
            revision=revision.id,
        )


class Catalog:
    """All that requests look up. `swap` replaces it between two requests, never during one."""

    def __init__(
        self,
        pepper: bytes,
        region: Region,
        settings: GatewaySettings,
        unknown: RequestRecord,
        index: int = 0,
    ) -> None:
        self._hmac = hmac.new(pepper, digestmod=hashlib.sha256)
        self._settings = settings
        self._unknown = unknown
        self._index = index
        self._keys: dict[str, snapshots.AccessKey] = {}
        self._services: dict[tuple[str, str], Service] = {}
        self._limits: tuple[snapshots.Limit, ...] = ()
        self._counters: dict[tuple[str, str, str, str], tuple[Counter, ...]] = {}
        self.endpoints = Endpoints(region)
        self.generation = -1
        self.epoch = ""
        self.created_at_us = 0
        self._turn = 0
        """Counts the swaps: what a head's memo was made of."""

    def swap(self, snapshot: snapshots.Snapshot) -> None:
        """Serve from this snapshot from now on."""
        self._turn += 1
        self._keys = {key.digest: key for key in snapshot.keys}
        self._limits = snapshot.limits
        self._counters = {}
        previous = self._services
        self.endpoints.begin_swap()
        self._services = {
            (service.tenant, service.name): self._service(service, previous)
            for service in snapshot.services
        }
        self.endpoints.end_swap()
        self.generation = snapshot.generation
        self.epoch = snapshot.epoch
        self.created_at_us = snapshot.created_at_us

    def _service(
        self, spec: snapshots.Service, previous: dict[tuple[str, str], Service]
    ) -> Service:
        known = previous.get((spec.tenant, spec.name))
        budget = known.retry_budget if known is not None else RetryBudget(spec.retries.budget)
        budget.share = spec.retries.budget
        canary = self._variant(spec, spec.canary.revision, known) if spec.canary else None
        if canary is not None and not canary.endpoints:
            canary = None
        limits = TimeLimits.of(spec.timeouts, self._settings)
        stable = self._variant(spec, spec.revision, known)
        service = Service(spec, stable, canary, budget, limits)
        if known is not None:
            service.bytes_per_token = known.bytes_per_token
            if known.queue is not None:
                known.queue.move_to(service.queue)
        return service

    def _variant(
        self, spec: snapshots.Service, revision: snapshots.Revision, known: Service | None
    ) -> Variant:
        before = known.of_revision(revision.id) if known is not None else None
        return Variant.of(
            revision,
            [self.endpoints.named(one) for one in revision.endpoints],
            spec.routing,
            before,
            process=self._index,
        )

    def see_others(self, others: Iterable[Region]) -> None:
        """Take over what the other gateway processes publish of the endpoints."""
        self.endpoints.see_others(others)
        for service in self._services.values():
            for variant in service.variants():
                variant.see_others()

    # --- callers ---------------------------------------------------------------------------

    def caller(self, head: RequestHead) -> Caller:
        """Who sent this head. Raises Unauthenticated, never saying whether a key exists."""
        known = head.memo
        if known is None or known.turn != self._turn:
            known = head.memo = self._caller(head.headers)
        if known.expires_at_us and known.expires_at_us <= clock.now_us():
            raise _unauthenticated()
        return known  # type: ignore[no-any-return]

    def _caller(self, headers: dict[bytes, bytes]) -> Caller:
        key = self._key(headers)
        if key is None:
            raise _unauthenticated()
        return self._speaking(key, of_head(key, headers))

    def speaking_for(self, caller: Caller, value: bytes) -> Caller:
        """The caller for the person that the body of a trusted key names; `value` is its JSON. A
        person that the key or the head named stays."""
        person = "" if caller.key.person else person_of(value)
        if not person:
            return caller
        known = caller.others.get(person)
        if known is None:
            if len(caller.others) >= MAX_OTHERS:
                caller.others.clear()
            record = caller.record
            asking = Asking(record.team, person, record.session, record.client)
            known = caller.others[person] = self._speaking(caller.key, asking)
        return known

    def _speaking(self, key: snapshots.AccessKey, asking: Asking) -> Caller:
        """Limits of a person and a team count whom the key speaks for."""
        if (key.team, key.person) != (asking.team, asking.person):
            key = msgspec.structs.replace(key, team=asking.team, person=asking.person)
        record = msgspec.structs.replace(
            self._unknown,
            tenant=key.tenant,
            key_id=key.id,
            team=asking.team,
            person=asking.person,
            session=asking.session,
            client=asking.client,
            snapshot_generation=self.generation,
        )
        return Caller(key, record, self._turn)

    def _key(self, headers: dict[bytes, bytes]) -> snapshots.AccessKey | None:
        """A bearer token, or `x-api-key`."""
        value = headers.get(b"authorization", b"")
        text = value[7:].strip() if value[:7].lower() == b"bearer " else b""
        text = text or headers.get(b"x-api-key", b"")
        if not text:
            return None
        digest = self._hmac.copy()
        digest.update(text)
        return self._keys.get(digest.hexdigest())

    # --- services --------------------------------------------------------------------------

    def lane(self, caller: Caller, route: str, name: str) -> Lane:
        """The lane to the service of that name. Raises Forbidden, NotFound."""
        key = caller.key
        require(key, PERMISSION)
        service = self.service(key, name)
        if service is None:
            raise no_model(name)
        lane = caller.lanes[route, name] = Lane(caller, service, self._counters_of(key, name))
        return lane

    def inner_lane(self, caller: Caller, service: Service) -> Lane:
        """The lane of requests that the gateway makes itself: nothing limits or answers them but
        the service."""
        known = caller.lanes.get(("", service.spec.name))
        if known is None:
            known = caller.lanes["", service.spec.name] = Lane(caller, service, inner=True)
        return known

    def _counters_of(self, key: snapshots.AccessKey, service: str) -> tuple[Counter, ...]:
        """The same tuple for all lanes of a key to a service: the ledger knows it by that."""
        whose = (key.id, key.team, key.person, service)
        found = self._counters.get(whose)
        if found is None:
            if len(self._counters) >= MAX_COUNTERS:
                self._counters.clear()
            found = self._counters[whose] = counters(self._limits, key, service)
        return found

    def named(self, tenant: str, name: str) -> Service | None:
        """The service of that name, whoever asks."""
        return self._services.get((tenant, name))

    def service(self, key: snapshots.AccessKey, name: str) -> Service | None:
        """The service of that name, if this key may call it."""
        if key.services and name not in key.services:
            return None
        return self._services.get((key.tenant, name))

    def queues(self) -> list[ServiceQueue]:
        """All there are."""
        return [one.queue for one in self._services.values() if one.queue is not None]

    def services(self, key: snapshots.AccessKey) -> list[Service]:
        """All services this key may call, by name."""
        return [
            service
            for (tenant, name), service in sorted(self._services.items())
            if tenant == key.tenant and (not key.services or name in key.services)
        ]


def require(key: snapshots.AccessKey, permission: str) -> None:
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


def _unauthenticated() -> Unauthenticated:
    return Unauthenticated(
        "incorrect API key provided",
        hint="send `Authorization: Bearer my_…`; `modelyard keys create` makes one",
        code="invalid_api_key",
    )
