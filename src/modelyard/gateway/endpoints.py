"""Endpoints as one gateway process sees them: how to reach them, their load, whether they work."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from modelyard.domain import snapshot as snapshots
from modelyard.domain.resilience import Breaker
from modelyard.gateway.shared import PublishedLoad, Region, endpoint_hash
from modelyard.gateway.upstream import Address, Pool
from modelyard.lib import clock

PROBE_S = 1.0
"""How long one process alone may try an endpoint out again before the next may: it may have no
request for it."""
MOST_PROBE_S = 30.0
"""A request that tries an endpoint out keeps other processes from it no longer than this."""


class Load:
    """Requests in flight of one endpoint id: ours, published in a row, and the others'.

    It outlives the endpoint until the last of its requests has ended, because whoever drains a
    replica waits for the published count.
    """

    __slots__ = ("cells", "hash", "in_flight", "others", "others_waiting_tokens")

    def __init__(self, endpoint_id: str, region: Region) -> None:
        self.hash = endpoint_hash(endpoint_id)
        self.cells = region.load_row(self.hash)
        self.in_flight = 0
        self.others = 0
        """As other gateway processes published them."""
        self.others_waiting_tokens = 0


class Endpoint:
    """An endpoint and all that is known of it here."""

    __slots__ = ("breaker", "cancels_without_stream", "id", "load", "pool", "slots", "spec")

    def __init__(self, spec: snapshots.Endpoint, load: Load) -> None:
        self.spec = spec
        self.id = spec.id
        self.load = load
        self.pool = Pool(address_of(spec))
        self.cancels_without_stream = spec.cancels_without_stream
        self.slots = max(1, spec.slots)
        self.breaker = Breaker()

    def failed(self, now_s: float, retry_after_s: float = 0.0) -> None:
        """Leave it alone for a while; the other gateway processes will see it."""
        self.breaker.failed(now_s, retry_after_s)
        self.load.cells[2] = int(self.breaker.open_until_s * 1_000_000)

    def succeeded(self) -> None:
        """It works."""
        breaker = self.breaker
        if breaker.watched or breaker.share:
            breaker.succeeded()
            self.load.cells[2] = int(breaker.open_until_s * 1_000_000)


class Endpoints:
    """All endpoints of the snapshot. They outlive snapshots: one that a new snapshot still names
    keeps its connections and counts; one that is gone is closed once its last request has ended."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._loads: dict[str, Load] = {}
        self._previous: dict[str, Endpoint] = {}
        self.by_id: dict[str, Endpoint] = {}

    def begin_swap(self) -> None:
        """From here until `end_swap` the new snapshot names its endpoints."""
        self._previous, self.by_id = self.by_id, {}

    def named(self, spec: snapshots.Endpoint) -> Endpoint:
        """The endpoint of this spec: the known one where nothing about it changed."""
        known = self.by_id.get(spec.id) or self._previous.get(spec.id)
        if known is None or known.spec != spec:
            load = self._loads.get(spec.id) or Load(spec.id, self._region)
            self._loads[spec.id] = load
            load.cells[2] = 0  # that another address failed says nothing of this one
            known = Endpoint(spec, load)
        self.by_id[spec.id] = known
        return known

    def end_swap(self) -> None:
        """Retire what was not named again."""
        for endpoint in self._previous.values():
            if self.by_id.get(endpoint.id) is not endpoint:
                endpoint.pool.retire()
                self._forget_idle(endpoint)
        self._previous = {}

    def enter(self, endpoint: Endpoint) -> bool:
        """Count a request before it is dispatched; whether it tries out if the endpoint works."""
        load = endpoint.load
        load.in_flight += 1
        load.cells[0] = load.in_flight
        if endpoint.breaker.doubted:
            endpoint.breaker.probing = True
            load.cells[3] = int((clock.monotonic_s() + MOST_PROBE_S) * 1_000_000)
            return True
        return False

    def leave(self, endpoint: Endpoint, *, probed: bool = True) -> None:
        """The request is over. Only the one that tried the endpoint out lets others try."""
        load = endpoint.load
        load.in_flight -= 1
        load.cells[0] = load.in_flight
        if probed:
            endpoint.breaker.probing = False
        if self.by_id.get(endpoint.id) is not endpoint:
            self._forget_idle(endpoint)

    def see_others(self, others: Iterable[Region]) -> None:
        """Read what the other processes publish, who are given in their order."""
        regions = list(others)
        told = [region.loads() for region in regions]
        before = sum(region.process < self._region.process for region in regions)
        for endpoint in self.by_id.values():
            load = endpoint.load
            rows = [loads.get(load.hash, _NOTHING) for loads in told]
            load.others = sum(row.in_flight for row in rows)
            load.others_waiting_tokens = sum(row.waiting_tokens for row in rows)
            if not endpoint.breaker.probing:
                load.cells[3] = 0
            open_us = max((row.open_until_us for row in rows), default=0)
            until_s = _others_until_s(load.cells[2], rows, before) if open_us else 0.0
            endpoint.breaker.others_say(open_us / 1_000_000, until_s)

    def _forget_idle(self, endpoint: Endpoint) -> None:
        """Give back the row of an endpoint that is gone and has nothing open any more."""
        if endpoint.load.in_flight == 0 and endpoint.id not in self.by_id:
            self._loads.pop(endpoint.id, None)
            self._region.release_row(endpoint.load.hash)


def _others_until_s(own_us: int, rows: list[PublishedLoad], before: int) -> float:
    """Until when other processes, one of which at least met a failure, keep this one from an
    endpoint.

    While one tries it out, all wait for the outcome. Before that they take turns, lest several try
    at once: first those that met the failure, then the others, each in the order of the processes,
    of which so many come `before` this one.
    """
    failing = [row.open_until_us > 0 for row in rows]
    turn = sum(failing[:before]) if own_us else sum(failing) + failing[:before].count(False)
    open_us = max(own_us, *(row.open_until_us for row in rows))
    probe_us = max(row.probe_until_us for row in rows)
    return max(open_us / 1_000_000 + turn * PROBE_S, probe_us / 1_000_000)


_NOTHING = PublishedLoad()


def address_of(spec: snapshots.Endpoint) -> Address:
    """Where and how to reach an endpoint."""
    parts = urlsplit(spec.url)
    secure = parts.scheme == "https"
    base = parts.path.rstrip("/")
    versioned = base.endswith("/v1") or not spec.provider
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or (443 if secure else 80),
        secure=secure,
        base=base.removesuffix("/v1"),
        strips="" if versioned else "/v1",
        api_key=spec.api_key,
        auth=spec.auth,
        headers=spec.headers,
        paths=spec.paths,
    )
