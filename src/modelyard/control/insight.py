"""Reading request records: lists, one request, sums over time, and what happens right now."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from modelyard.domain.records import AttemptRecord, RequestRecord
from modelyard.errors import Invalid, NotFound
from modelyard.lib import ids
from modelyard.ports.records import Batch, Query, RecordStore

MAX_LIMIT = 1000
MAX_NUMBER = 2**62
LISTENER_ROWS = 1000
REMEMBERED = 10_000
"""Ids that listeners were told of lately: a batch that comes again is not told again."""
DAY_US = 24 * 3600 * 1_000_000
_COLUMNS = {field.name: field for field in msgspec.structs.fields(RequestRecord)}
_MINIMA = {"min_duration_us": "duration_us", "min_ttft_us": "ttft_us"}
_TIMES = ("since_us", "until_us")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Insight:
    """Over one record store; the process that ingests also tells listeners."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self._listeners: set[Listener] = set()
        self._told: dict[str, None] = {}
        self._lock = threading.Lock()

    def ingest(self, batch: Batch) -> None:
        """Store a batch durably, then tell the listeners. Safe for many threads."""
        self._records.append(batch)
        with self._lock:
            listeners = list(self._listeners)
            fresh = self._fresh(batch) if listeners else []
        for listener in listeners:
            listener.offer(fresh)

    def _fresh(self, batch: Batch) -> list[RequestRecord]:
        """The requests of a batch that no listener was told of."""
        requests = (one for one in batch.records if isinstance(one, RequestRecord))
        fresh = {one.request_id: one for one in requests if one.request_id not in self._told}
        self._told.update(dict.fromkeys(fresh))
        while len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        return list(fresh.values())

    def wake(self) -> None:
        """End the waiting of all listeners; for when the process ends."""
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.wake()

    def prune(self, before_us: int) -> int:
        """Drop whole days that ended before; the number of rows."""
        return self._records.prune(before_us)

    def requests(
        self, tenant: str, filters: Mapping[str, Any], limit: int = 100, before_id: str = ""
    ) -> list[dict[str, Any]]:
        """Rows of kind request, newest first. Raises Invalid for an unknown filter."""
        if not 1 <= limit <= MAX_LIMIT:
            raise Invalid(f"limit must be from 1 to {MAX_LIMIT}")
        query = _query(tenant, filters)
        return self._records.query(query._replace(limit=limit, before_id=before_id))

    def request(self, tenant: str, request_id: str) -> dict[str, Any]:
        """`{request, attempts}`, attempts in order. Raises NotFound."""
        began_us = ids.began_us(request_id)
        query = Query(
            "request",
            {"tenant": tenant, "request_id": request_id},
            since_us=max(0, began_us - DAY_US),
            until_us=began_us + 2 * DAY_US,
        )
        rows = self._records.query(query)
        if not rows:
            raise NotFound(
                f"no record of request {request_id!r}",
                hint="records come a moment after the answer, and go with their retention",
            )
        attempts = self._records.query(query._replace(kind="attempt")) or _only_attempt(rows[0])
        return {"request": rows[0], "attempts": sorted(attempts, key=lambda row: row["number"])}

    def aggregate(
        self, tenant: str, filters: Mapping[str, Any], group_by: str = "", bucket_us: int = 0
    ) -> list[dict[str, Any]]:
        """Sums and percentiles, see `RecordStore.aggregate`."""
        if not 0 <= bucket_us <= MAX_NUMBER:
            raise Invalid("bucket_us must be a number of microseconds, or 0 for no buckets")
        return self._records.aggregate(_query(tenant, filters), group_by, bucket_us)

    @contextlib.contextmanager
    def listen(self, tenant: str) -> Iterator["Listener"]:
        """A Listener for the rows of a tenant while the context lasts; inside an event loop."""
        listener = Listener(tenant, asyncio.get_running_loop())
        with self._lock:
            self._listeners.add(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.discard(listener)


class Listener:
    """New request rows as they are stored. A slow one loses rows and is told how many."""

    def __init__(self, tenant: str, loop: asyncio.AbstractEventLoop) -> None:
        self._tenant = tenant
        self._loop = loop
        self._records: deque[RequestRecord] = deque()
        self._ready = asyncio.Event()
        self.lost = 0

    def offer(self, records: list[RequestRecord]) -> None:
        """Called by any thread."""
        mine = [record for record in records if record.tenant == self._tenant]
        if mine:
            self._call(mine)

    def wake(self) -> None:
        """Let `take` return at once, with nothing. Called by any thread."""
        self._call([])

    def _call(self, records: list[RequestRecord]) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closing: nobody listens
            self._loop.call_soon_threadsafe(self._keep, records)

    def _keep(self, records: list[RequestRecord]) -> None:
        room = LISTENER_ROWS - len(self._records)
        self._records.extend(records[:room])
        self.lost += len(records[room:])
        self._ready.set()

    async def take(self, wait_s: float) -> list[dict[str, Any]]:
        """All rows that came since the last call; waits for the first one, but not longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._ready.wait()
        self._ready.clear()
        rows = [msgspec.structs.asdict(record) for record in self._records]
        self._records.clear()
        return rows


def _only_attempt(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The attempt of a request whose first one worked: its row holds all there is to say."""
    if request["attempts"] != 1 or request["first_byte_us"] is None:
        return []
    offset_us = request["admission_us"] or 0
    attempt = AttemptRecord(
        request_id=request["request_id"],
        tenant=request["tenant"],
        started_at_us=request["started_at_us"],
        number=1,
        endpoint=request["endpoint"],
        offset_us=offset_us,
        connect_us=request["connect_us"],
        first_byte_us=request["first_byte_us"],
        duration_us=request["duration_us"] - offset_us,
        status=200,
        outcome="ok",
    )
    return [msgspec.structs.asdict(attempt)]


def _query(tenant: str, filters: Mapping[str, Any]) -> Query:
    where: dict[str, Any] = {"tenant": tenant}
    minimum: dict[str, int] = {}
    times: dict[str, Any] = {}
    for name, value in filters.items():
        if name in _TIMES:
            times[name] = _whole(name, value)
        elif name in _MINIMA:
            minimum[_MINIMA[name]] = _whole(name, value)
        elif name in _COLUMNS and name != "tenant":
            where[name] = _typed(name, value)
        else:
            known = ", ".join([*_TIMES, *_MINIMA, *(c for c in _COLUMNS if c != "tenant")])
            raise Invalid(f"unknown filter {name!r}", hint=f"filters: {known}")
    query = Query("request", where, minimum)
    return query._replace(**times)


def _typed(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_typed(name, one) for one in value)
    kind = _COLUMNS[name].type
    if kind is bool:
        return _truth(name, value)
    return str(value) if kind is str else _whole(name, value)


def _truth(name: str, value: Any) -> bool:
    text = str(value).lower()
    if text not in _WORDS:
        raise Invalid(f"{name} must be true or false, not {value!r}")
    return _WORDS[text]


def _whole(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise Invalid(f"{name} must be a whole number, not {value!r}") from None
    if abs(number) > MAX_NUMBER:
        raise Invalid(f"{name} is too large a number")
    return number
