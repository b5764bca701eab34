"""The snapshot that gateways serve from: compiled from documents, handed out when it changed."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from modelyard.control.access import Access
from modelyard.control.limits import Limits
from modelyard.control.services import STATUS_KIND, Services
from modelyard.control.snapshots import Snapshots
from modelyard.control.status import Status
from modelyard.domain import snapshot as snapshots
from modelyard.domain.snapshot import Endpoint
from modelyard.ports.meta import ABSENT, DEFAULT_TENANT, Change, Key
from modelyard.testing.stores import MemoryMetaStore

pytestmark = pytest.mark.anyio
NOW_US = 5_000_000
DOCUMENT = {
    "apiVersion": "modelyard/v1", "kind": "Service", "name": "bot",
    "spec": {"price": {"input_usd_per_million": 0.1, "output_usd_per_million": 0.4}},
}  # fmt: skip


@pytest.fixture
def meta() -> MemoryMetaStore:
    return MemoryMetaStore()


@pytest.fixture
def compiled(meta: MemoryMetaStore) -> Iterator[Snapshots]:
    one = Snapshots(meta)
    yield one
    one.close()


def ready(meta: MemoryMetaStore) -> None:
    endpoint = Endpoint(id="bot-1-a", url="http://127.0.0.1:9/v1", api_key="secret", slots=4)
    status = Status(generation=1, phase="ready", revision="bot-1", model="m",
                    model_version="m:3", endpoints=(endpoint,))  # fmt: skip
    key = Key(DEFAULT_TENANT, STATUS_KIND, "bot")
    meta.commit([Change(key, msgspec.to_builtins(status), ABSENT)], "reconciler", "ready")


def test_it_holds_services_and_valid_keys(meta: MemoryMetaStore, compiled: Snapshots) -> None:
    access = Access(meta, b"pepper")
    Services(meta).apply(DEFAULT_TENANT, DOCUMENT, "ada")
    ready(meta)
    good, _ = access.create_key(DEFAULT_TENANT, actor="ada", now_us=NOW_US, team="blue")
    access.create_key(DEFAULT_TENANT, actor="ada", now_us=NOW_US, expires_at_us=NOW_US + 1)
    gone, _ = access.create_key(DEFAULT_TENANT, actor="ada", now_us=NOW_US)
    access.revoke(DEFAULT_TENANT, gone["id"], "ada", NOW_US)
    snapshot = compiled.current(NOW_US + 2)
    assert [(key.id, key.team) for key in snapshot.keys] == [(good["id"], "blue")]
    (service,) = snapshot.services
    assert service.revision.model_version == "m:3"
    assert service.revision.endpoints[0].slots == 4
    assert service.revision.price is not None
    assert service.revision.price.input == 100_000_000, "nano-dollars per million tokens"


def test_a_service_without_a_status_has_no_endpoint(
    meta: MemoryMetaStore, compiled: Snapshots
) -> None:
    Services(meta).apply(DEFAULT_TENANT, DOCUMENT, "ada")
    (service,) = compiled.current(NOW_US).services
    assert service.revision.endpoints == ()


def document(kind: str, name: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": "modelyard/v1", "kind": kind, "name": name, "spec": spec}


def test_limits_and_what_keys_may_use(meta: MemoryMetaStore, compiled: Snapshots) -> None:
    access, limits = Access(meta, b"pepper"), Limits(meta)
    plain, _ = access.create_key(DEFAULT_TENANT, actor="ada", now_us=NOW_US)
    made, _ = access.create_key(
        DEFAULT_TENANT, actor="ada", now_us=NOW_US, priority="background",
        limits={"tokens_per_minute": 9, "budget": {"usd": 2, "per": "day"}},
    )  # fmt: skip
    limits.apply(DEFAULT_TENANT, document("Limit", "blue", team="blue", concurrency=3), "ada")
    snapshot = compiled.current(NOW_US)
    keys = {key.id: key for key in snapshot.keys}
    assert (keys[plain["id"]].bounds, keys[plain["id"]].priority) == (None, 1)
    bounds = keys[made["id"]].bounds
    assert bounds is not None
    assert (bounds.tokens_per_minute, bounds.requests_per_minute) == (9, 0)
    assert (bounds.budget_nano_usd, bounds.budget_per) == (2_000_000_000, "day")
    assert keys[made["id"]].priority == 2
    (limit,) = snapshot.limits
    assert (limit.name, limit.team, limit.bounds.concurrency) == ("blue", "blue", 3)
    limits.delete(DEFAULT_TENANT, "blue", "ada")
    assert compiled.current(NOW_US).limits == ()


def test_nothing_in_it_dangles(meta: MemoryMetaStore, compiled: Snapshots) -> None:
    services, limits, access = Services(meta), Limits(meta), Access(meta, b"pepper")
    key, _ = access.create_key(DEFAULT_TENANT, actor="ada", now_us=NOW_US)
    services.apply(DEFAULT_TENANT, document("Service", "spare"), "ada")
    cache = {"ttl_s": 60, "semantic": {"service": "spare"}}
    whole = document("Service", "bot", fallback=["spare"], shadow={"service": "spare"}, cache=cache)
    services.apply(DEFAULT_TENANT, whole, "ada")
    for name, spec in {"a": {"service": "spare"}, "b": {"key": key["id"]}, "c": {}}.items():
        limits.apply(DEFAULT_TENANT, document("Limit", name, concurrency=1, **spec), "ada")
    assert len(compiled.current(NOW_US).limits) == 3
    services.delete(DEFAULT_TENANT, "spare", "ada", force=True)
    access.revoke(DEFAULT_TENANT, key["id"], "ada", NOW_US)
    snapshot = compiled.current(NOW_US)
    (bot,) = snapshot.services
    assert (bot.fallbacks, bot.shadow, bot.cache.semantic) == ((), None, None)
    assert bot.cache.ttl_s == 60
    assert [one.name for one in snapshot.limits] == ["c"]


def test_two_who_were_too_fast_for_each_other(meta: MemoryMetaStore, compiled: Snapshots) -> None:
    """Each was checked before the other was stored; together they go in a circle."""
    for name, other in (("a", "b"), ("b", "a")):
        body = document("Service", name, fallback=[other])
        meta.commit([Change(Key(DEFAULT_TENANT, "Service", name), body, ABSENT)], "x", "race")
    assert [one.fallbacks for one in compiled.current(NOW_US).services] == [(), ()]


def test_a_document_that_cannot_be_read_stops_nothing(
    meta: MemoryMetaStore, compiled: Snapshots
) -> None:
    Services(meta).apply(DEFAULT_TENANT, DOCUMENT, "ada")
    broken = {"kind": "of an older version", "spec": {}}
    for kind in ("Service", "Limit"):
        meta.commit([Change(Key(DEFAULT_TENANT, kind, "old"), broken, ABSENT)], "x", "old")
    snapshot = compiled.current(NOW_US)
    assert [one.name for one in snapshot.services] == ["bot", "old"]
    assert snapshot.services[1].revision.price is None
    assert snapshot.limits == ()


def test_the_bytes_are_checked_when_they_are_read(
    meta: MemoryMetaStore, compiled: Snapshots
) -> None:
    Services(meta).apply(DEFAULT_TENANT, DOCUMENT, "ada")
    data = snapshots.encode(compiled.current(NOW_US))
    assert snapshots.decode(data).services[0].name == "bot"
    for broken in (data[:-1], b"", b"{}", data.replace(b'"bot"', b'"bad"')):
        with pytest.raises(ValueError):
            snapshots.decode(broken)


async def test_who_has_it_waits_for_the_next(meta: MemoryMetaStore, compiled: Snapshots) -> None:
    first = await compiled.newer("", -1, 0.0)
    assert first is not None
    assert await compiled.newer(first.epoch, first.generation, 0.05) is None
    waiting = [
        asyncio.create_task(compiled.newer(first.epoch, first.generation, 20.0)) for _ in range(5)
    ]
    await asyncio.sleep(0.05)
    await asyncio.to_thread(Services(meta).apply, DEFAULT_TENANT, DOCUMENT, "ada")
    found = await asyncio.gather(*waiting)
    assert all(one is not None and one.services[0].name == "bot" for one in found)


async def test_another_epoch_is_always_news(compiled: Snapshots) -> None:
    first = await compiled.newer("", -1, 0.0)
    assert first is not None
    assert await compiled.newer("another epoch", first.generation, 10.0) == first


async def test_stopping_ends_all_waiting(compiled: Snapshots) -> None:
    first = await compiled.newer("", -1, 0.0)
    assert first is not None
    waiting = asyncio.create_task(compiled.newer(first.epoch, first.generation, 600.0))
    await asyncio.sleep(0.05)
    compiled.stop()
    assert await asyncio.wait_for(waiting, 10) is None
