"""What requests look up: keys, services, the least loaded endpoint, and loads that others see."""

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.domain.snapshot import AccessKey, Endpoint, Revision, Service, Snapshot
from modelyard.gateway.catalog import Catalog, address_of
from modelyard.gateway.shared import Region, SharedFile, endpoint_hash

PEPPER = b"pepper"
TEXT = b"my_abc_secret"


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SharedFile]:
    file = SharedFile(tmp_path / "shared.bin", 2)
    yield file
    file.close()


@pytest.fixture
def region(shared: SharedFile) -> Region:
    return shared.region(0)


@pytest.fixture
def catalog(region: Region) -> Catalog:
    return Catalog(PEPPER, region)


def snapshot(*endpoints: Endpoint, generation: int = 1, **key: object) -> Snapshot:
    digest = hmac.new(PEPPER, TEXT, hashlib.sha256).hexdigest()
    fields = {"id": "abc", "digest": digest, "tenant": "default", "role": "caller", **key}
    revision = Revision(id="support-1", endpoints=endpoints)
    service = Service(tenant="default", name="support", revision=revision, created_at_us=0)
    return Snapshot(
        epoch="e", generation=generation, created_at_us=0, services=(service,),
        keys=(AccessKey(**fields),),  # type: ignore[arg-type]
    )  # fmt: skip


def endpoint(name: str, port: int = 9, slots: int = 4) -> Endpoint:
    return Endpoint(id=name, url=f"http://127.0.0.1:{port}/v1", slots=slots)


def key(catalog: Catalog) -> AccessKey:
    found = catalog.key(TEXT, now_us=0)
    assert found is not None
    return found


def test_a_key_is_found_by_its_digest_and_expires(catalog: Catalog) -> None:
    catalog.swap(snapshot(expires_at_us=100))
    assert key(catalog).id == "abc"
    assert catalog.key(b"my_abc_wrong", now_us=0) is None
    assert catalog.key(TEXT, now_us=100) is None
    assert catalog.key(TEXT, now_us=99) is not None


def test_a_key_that_a_snapshot_no_longer_has_is_forgotten(catalog: Catalog) -> None:
    catalog.swap(snapshot())
    assert catalog.key(TEXT, 0) is not None
    catalog.swap(snapshot(digest="other"))
    assert catalog.key(TEXT, 0) is None


def test_a_key_reaches_only_its_tenant_and_its_services(catalog: Catalog) -> None:
    catalog.swap(snapshot())
    assert catalog.service(key(catalog), "support") is not None
    catalog.swap(snapshot(services=("other",)))
    assert catalog.service(key(catalog), "support") is None
    assert catalog.services(key(catalog)) == []
    catalog.swap(snapshot(tenant="acme"))
    assert catalog.service(key(catalog), "support") is None


def test_the_least_loaded_per_slot_is_picked_and_equals_take_turns(catalog: Catalog) -> None:
    catalog.swap(snapshot(endpoint("a", slots=1), endpoint("b", slots=4)))
    service = catalog.service(key(catalog), "support")
    assert service is not None
    small, big = service.endpoints
    catalog.enter(small)
    catalog.enter(big)
    assert {service.pick(0.0, ()) for _ in range(4)} == {big}
    catalog.leave(small)
    catalog.leave(big)
    assert {service.pick(0.0, ()) for _ in range(4)} == {small, big}


def test_a_failed_endpoint_is_left_alone_unless_there_is_no_other(catalog: Catalog) -> None:
    catalog.swap(snapshot(endpoint("a"), endpoint("b")))
    service = catalog.service(key(catalog), "support")
    assert service is not None
    bad, good = service.endpoints
    bad.failed(now_s=10.0)
    assert {service.pick(10.1, ()) for _ in range(4)} == {good}
    assert service.pick(10.1, [good]) is bad
    assert service.pick(10.1, [good, bad]) is None
    assert {service.pick(60.0, ()) for _ in range(4)} == {bad, good}
    pauses = []
    for _ in range(12):
        bad.failed(now_s=0.0)
        pauses.append(bad.cool_until_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10.0
    bad.succeeded()
    assert bad.cool_until_s == 0.0


def test_after_a_failure_one_request_tries_it_out(catalog: Catalog) -> None:
    catalog.swap(snapshot(endpoint("a"), endpoint("b")))
    service = catalog.service(key(catalog), "support")
    assert service is not None
    bad, good = service.endpoints
    bad.failed(now_s=10.0)
    later_s = 60.0
    for _ in range(5):
        catalog.enter(good)  # so that the failed one has the least load
    assert service.pick(later_s, ()) is bad
    catalog.enter(bad)
    assert {service.pick(later_s, ()) for _ in range(4)} == {good}, "its trial is under way"
    catalog.leave(bad)
    bad.failed(later_s)
    assert {service.pick(later_s + 0.9, ()) for _ in range(4)} == {good}, "twice as long"
    catalog.enter(bad)
    catalog.leave(bad)
    bad.succeeded()
    catalog.enter(bad)
    assert service.pick(later_s, ()) is bad, "it works: no trial any more"


def test_load_is_published_until_the_last_request_has_ended(
    catalog: Catalog, region: Region
) -> None:
    catalog.swap(snapshot(endpoint("a")))
    (one,) = catalog.endpoints.values()
    catalog.enter(one)
    catalog.enter(one)
    catalog.swap(snapshot(endpoint("b"), generation=2))
    assert region.loads() == {endpoint_hash("a"): 2}, "who drains it sees what is still open"
    catalog.leave(one)
    assert region.loads() == {endpoint_hash("a"): 1}
    catalog.leave(one)
    assert region.loads() == {}
    rows = {region.load_row(endpoint_hash(str(number))) for number in range(511)}
    assert -1 not in rows, "its row is free again"


def test_a_replica_that_came_back_elsewhere_keeps_one_count(
    catalog: Catalog, region: Region
) -> None:
    catalog.swap(snapshot(endpoint("a", port=9)))
    (before,) = catalog.endpoints.values()
    catalog.enter(before)
    catalog.swap(snapshot(endpoint("a", port=10), generation=2))
    (after,) = catalog.endpoints.values()
    assert after is not before
    catalog.enter(after)
    catalog.leave(before)
    assert region.loads() == {endpoint_hash("a"): 1}
    catalog.leave(after)
    assert region.loads() == {}


def test_an_endpoint_that_stays_keeps_its_connections(catalog: Catalog) -> None:
    catalog.swap(snapshot(endpoint("a")))
    (before,) = catalog.endpoints.values()
    catalog.swap(snapshot(endpoint("a"), endpoint("b"), generation=2))
    assert catalog.endpoints["a"] is before
    assert catalog.generation == 2


def test_what_other_processes_have_open_counts(shared: SharedFile) -> None:
    mine = Catalog(PEPPER, shared.region(0))
    theirs = Catalog(PEPPER, shared.region(1))
    both = snapshot(endpoint("a"), endpoint("b"))
    mine.swap(both)
    theirs.swap(both)
    theirs.enter(theirs.endpoints["a"])
    mine.see_others([shared.region(1)])
    service = mine.service(key(mine), "support")
    assert service is not None
    assert {service.pick(0.0, ()) for _ in range(4)} == {mine.endpoints["b"]}


@pytest.mark.parametrize(
    ("url", "host", "port", "secure", "base"),
    [
        ("http://127.0.0.1:9/v1", "127.0.0.1", 9, False, ""),
        ("https://api.example.com/v1", "api.example.com", 443, True, ""),
        ("http://example.com/openai/v1/", "example.com", 80, False, "/openai"),
        ("http://[::1]:8000/v1", "::1", 8000, False, ""),
    ],
)
def test_addresses(url: str, host: str, port: int, secure: bool, base: str) -> None:
    address = address_of(Endpoint(id="x", url=url))
    assert (address.host, address.port, address.secure, address.base) == (host, port, secure, base)
