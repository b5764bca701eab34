"""The snapshot compiled for serving: keys by digest, services by name, endpoints with their load.

Endpoints outlive snapshots: a new snapshot that still names an endpoint keeps its connections and
counts. Those that are gone are closed once their last request has ended.
"""

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from modelyard.domain import snapshot as snapshots
from modelyard.gateway.shared import Region, endpoint_hash
from modelyard.gateway.upstream import Address, Pool

COOL_DOWN_S = 0.5
MAX_COOL_DOWN_S = 10.0


class Load:
    """Requests in flight of one endpoint id: ours, published in a row, and the others'.

    It outlives the endpoint until the last of its requests has ended, because whoever drains a
    replica waits for the published count.
    """

    __slots__ = ("hash", "in_flight", "others", "row")

    def __init__(self, endpoint_id: str, region: Region) -> None:
        self.hash = endpoint_hash(endpoint_id)
        self.row = region.load_row(self.hash)
        self.in_flight = 0
        self.others = 0
        """As other gateway processes published them."""


class Endpoint:
    """An endpoint as one gateway process sees it."""

    __slots__ = (
        "cancels_without_stream",
        "cool_until_s",
        "failures",
        "id",
        "load",
        "pool",
        "probing",
        "slots",
        "spec",
    )

    def __init__(self, spec: snapshots.Endpoint, load: Load) -> None:
        self.spec = spec
        self.id = spec.id
        self.load = load
        self.pool = Pool(address_of(spec))
        self.cancels_without_stream = spec.cancels_without_stream
        self.slots = max(1, spec.slots)
        self.failures = 0
        self.cool_until_s = 0.0
        self.probing = False
        """Whether one request tries out, after a failure, if it works again."""

    def failed(self, now_s: float) -> None:
        """Leave it alone for a while, longer each time."""
        self.failures += 1
        pause = min(COOL_DOWN_S * 2 ** min(self.failures - 1, 10), MAX_COOL_DOWN_S)
        self.cool_until_s = now_s + pause

    def succeeded(self) -> None:
        """It works."""
        self.failures = 0
        self.cool_until_s = 0.0


class Service:
    """A callable name and the endpoints of its revision."""

    __slots__ = ("endpoints", "revision", "spec", "turn")

    def __init__(self, spec: snapshots.Service, endpoints: list[Endpoint]) -> None:
        self.spec = spec
        self.revision = spec.revision
        self.endpoints = endpoints
        self.turn = 0

    def pick(self, now_s: float, tried: Iterable[Endpoint]) -> Endpoint | None:
        """The endpoint with the least load per slot; equals take turns.

        Endpoints cooling down after a failure are used only when there is no other; then a single
        request tries each out, and the others follow when it came back well. Tried ones are never
        used again for the same request.
        """
        candidates = [endpoint for endpoint in self.endpoints if endpoint not in tried]
        if not candidates:
            return None
        ready = [
            endpoint
            for endpoint in candidates
            if endpoint.cool_until_s <= now_s and not endpoint.probing
        ]
        candidates = ready or candidates
        if len(candidates) == 1:
            return candidates[0]
        self.turn += 1
        offset = self.turn % len(candidates)
        turned = candidates[offset:] + candidates[:offset]
        return min(turned, key=_load)


def _load(endpoint: Endpoint) -> float:
    return (endpoint.load.in_flight + endpoint.load.others) / endpoint.slots


class Catalog:
    """All that requests look up. `swap` replaces it between two requests, never during one."""

    def __init__(self, pepper: bytes, region: Region) -> None:
        self._hmac = hmac.new(pepper, digestmod=hashlib.sha256)
        self._region = region
        self._known: dict[bytes, snapshots.AccessKey] = {}
        self._keys: dict[str, snapshots.AccessKey] = {}
        self._services: dict[tuple[str, str], Service] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self._loads: dict[str, Load] = {}
        self.generation = -1
        self.epoch = ""
        self.created_at_us = 0

    def swap(self, snapshot: snapshots.Snapshot) -> None:
        """Serve from this snapshot from now on."""
        self._keys = {key.digest: key for key in snapshot.keys}
        self._known = {}
        previous, self.endpoints = self.endpoints, {}
        self._services = {
            (service.tenant, service.name): Service(
                service, [self._endpoint(spec, previous) for spec in service.revision.endpoints]
            )
            for service in snapshot.services
        }
        for endpoint in previous.values():
            if self.endpoints.get(endpoint.id) is not endpoint:
                self._retire(endpoint)
        self.generation = snapshot.generation
        self.epoch = snapshot.epoch
        self.created_at_us = snapshot.created_at_us

    def _endpoint(self, spec: snapshots.Endpoint, previous: dict[str, Endpoint]) -> Endpoint:
        known = previous.get(spec.id)
        if known is None or known.spec != spec:
            load = self._loads.get(spec.id) or Load(spec.id, self._region)
            self._loads[spec.id] = load
            known = Endpoint(spec, load)
        self.endpoints[spec.id] = known
        return known

    def _retire(self, endpoint: Endpoint) -> None:
        endpoint.pool.retire()
        self._forget_idle(endpoint)

    def _forget_idle(self, endpoint: Endpoint) -> None:
        """Give back the row of an endpoint that is gone and has nothing open any more."""
        if endpoint.load.in_flight == 0 and endpoint.id not in self.endpoints:
            self._loads.pop(endpoint.id, None)
            self._region.release_row(endpoint.load.hash)

    def key(self, text: bytes, now_us: int) -> snapshots.AccessKey | None:
        """The access key of this text, if it is known and has not expired."""
        found = self._known.get(text)
        if found is None:
            digest = self._hmac.copy()
            digest.update(text)
            found = self._keys.get(digest.hexdigest())
            if found is None:
                return None
            self._known[text] = found
        if found.expires_at_us and found.expires_at_us <= now_us:
            return None
        return found

    def service(self, key: snapshots.AccessKey, name: str) -> Service | None:
        """The service of that name, if this key may call it."""
        if key.services and name not in key.services:
            return None
        return self._services.get((key.tenant, name))

    def services(self, key: snapshots.AccessKey) -> list[Service]:
        """All services this key may call, by name."""
        return [
            service
            for (tenant, name), service in sorted(self._services.items())
            if tenant == key.tenant and (not key.services or name in key.services)
        ]

    def enter(self, endpoint: Endpoint) -> None:
        """Count a request before it is dispatched."""
        load = endpoint.load
        load.in_flight += 1
        if endpoint.failures:
            endpoint.probing = True
        if load.row >= 0:
            self._region.set_load(load.row, load.in_flight)

    def leave(self, endpoint: Endpoint) -> None:
        """The request is over."""
        load = endpoint.load
        load.in_flight -= 1
        endpoint.probing = False
        if load.row >= 0:
            self._region.set_load(load.row, load.in_flight)
        if self.endpoints.get(endpoint.id) is not endpoint:
            self._forget_idle(endpoint)

    def see_others(self, others: Iterable[Region]) -> None:
        """Read what the other processes have in flight."""
        totals: dict[bytes, int] = {}
        for region in others:
            for key, count in region.loads().items():
                totals[key] = totals.get(key, 0) + count
        for load in self._loads.values():
            load.others = totals.get(load.hash, 0)


def address_of(spec: snapshots.Endpoint) -> Address:
    """Where and how to reach an endpoint."""
    parts = urlsplit(spec.url)
    secure = parts.scheme == "https"
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or (443 if secure else 80),
        secure=secure,
        base=parts.path.rstrip("/").removesuffix("/v1"),
        api_key=spec.api_key,
    )
