"""The snapshot that gateways serve from: compiled from documents, handed out when it changed."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from modelyard.control.access import Access
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
