"""What requests look up: keys, services, the least loaded endpoint, and loads that others see."""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from modelyard.domain.records import RequestRecord
from modelyard.domain.routing import Work
from modelyard.domain.snapshot import AccessKey, Canary, Endpoint, Revision, Service, Snapshot
from modelyard.errors import Forbidden, NotFound, Unauthenticated
from modelyard.gateway.catalog import Caller, Catalog
from modelyard.gateway.endpoints import MOST_PROBE_S, PROBE_S, address_of
from modelyard.gateway.endpoints import Endpoint as Known
from modelyard.gateway.shared import (
    LOAD_CELLS,
    LOAD_ROWS,
    PublishedLoad,
    Region,
    SharedFile,
    endpoint_hash,
)
from modelyard.gateway.variants import Variant
from modelyard.lib import clock
from modelyard.lib.http import RequestHead, parse_request
from modelyard.settings import GatewaySettings

PEPPER = b"pepper"
TEXT = b"my_abc_secret"
ROUTE = "/v1/chat/completions"
UNKNOWN = RequestRecord(
    request_id="", tenant="default", started_at_us=0, outcome="failed", status=0, route=""
)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SharedFile]:
    file = SharedFile(tmp_path / "shared.bin", 2)
    yield file
    file.close()


@pytest.fixture
def region(shared: SharedFile) -> Region:
    return shared.region(0)


def made(region: Region) -> Catalog:
    return Catalog(PEPPER, region, GatewaySettings(), UNKNOWN)


@pytest.fixture
def catalog(region: Region) -> Catalog:
    return made(region)


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


def head(*fields: bytes, key: bytes = TEXT) -> RequestHead:
    lines = (b"POST / HTTP/1.1", b"Host: x", b"Authorization: Bearer " + key, *fields)
    return parse_request(b"\r\n".join(lines))


def caller(catalog: Catalog, *fields: bytes) -> Caller:
    return catalog.caller(head(*fields))


def variant(catalog: Catalog) -> Variant:
    return catalog.lane(caller(catalog), ROUTE, "support").service.stable


def test_a_key_is_found_by_its_digest_and_expires(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.swap(snapshot(expires_at_us=100))
    one = head()
    monkeypatch.setattr("modelyard.lib.clock.now_us", lambda: 99)
    assert catalog.caller(one).key.id == "abc"
    with pytest.raises(Unauthenticated):
        catalog.caller(head(key=b"my_abc_wrong"))
    monkeypatch.setattr("modelyard.lib.clock.now_us", lambda: 100)
    with pytest.raises(Unauthenticated):
        catalog.caller(one)


def test_a_head_that_was_seen_before_is_looked_up_anew_after_a_swap(catalog: Catalog) -> None:
    catalog.swap(snapshot())
    one = head()
    first = catalog.caller(one)
    assert catalog.caller(one) is first
    catalog.swap(snapshot(digest="other"))
    with pytest.raises(Unauthenticated):
        catalog.caller(one)


def test_a_key_reaches_only_its_tenant_and_its_services(catalog: Catalog) -> None:
    catalog.swap(snapshot())
    assert catalog.lane(caller(catalog), ROUTE, "support").service.spec.name == "support"
    for other in ({"services": ("other",)}, {"tenant": "acme"}):
        catalog.swap(snapshot(**other))
        with pytest.raises(NotFound):
            catalog.lane(caller(catalog), ROUTE, "support")
        assert catalog.services(caller(catalog).key) == []


def test_a_role_that_may_not_call_is_told_so(catalog: Catalog) -> None:
    catalog.swap(snapshot(role="nobody"))
    with pytest.raises(Forbidden):
        catalog.lane(caller(catalog), ROUTE, "support")


def pick(
    one: Variant, now_s: float, tried: Sequence[Known] = (), prompt: bytes = b""
) -> Known | None:
    found = one.pick(prompt, b"", now_s, tried)
    return found.endpoint if found else None


def send(catalog: Catalog, one: Variant, endpoint: Known) -> Work:
    """Count a request at an endpoint."""
    catalog.endpoints.enter(endpoint)
    return one.router.dispatch(one.candidates[one.endpoints.index(endpoint)], b"", 0.0)


def split(weight: float, sticky: str) -> Snapshot:
    stable, other = (Revision(id=f"support-{name}", endpoints=(endpoint(name),)) for name in "ab")
    service = Service(
        tenant="default", name="support", revision=stable,
        canary=Canary(revision=other, weight=weight, sticky=sticky),
    )  # fmt: skip
    plain = snapshot()
    return Snapshot(epoch="e", generation=1, created_at_us=0, services=(service,), keys=plain.keys)


def test_a_canary_gets_its_share_and_keeps_its_sessions(catalog: Catalog) -> None:
    catalog.swap(split(0.25, "session"))
    sides = []
    for number in range(400):
        who = caller(catalog, b"X-Modelyard-Session: s%d" % number)
        service = catalog.lane(who, ROUTE, "support").service
        chosen = {service.variant(who) for _ in range(3)}
        assert len(chosen) == 1, "a session stays on its side"
        sides.append(service.canary in chosen)
    assert 0.15 < sum(sides) / len(sides) < 0.35


@pytest.mark.parametrize(("weight", "share"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_a_split_that_is_not_sticky_is_drawn(catalog: Catalog, weight: float, share: float) -> None:
    catalog.swap(split(weight, "none"))
    who = caller(catalog)
    service = catalog.lane(who, ROUTE, "support").service
    drawn = sum(service.variant(who) is service.canary for _ in range(2000)) / 2000
    assert drawn == pytest.approx(share, abs=0.08 if 0 < share < 1 else 0)


def test_the_less_busy_is_picked_and_equals_take_turns(catalog: Catalog) -> None:
    catalog.swap(snapshot(endpoint("a"), endpoint("b")))
    service = variant(catalog)
    busy, free = service.endpoints
    work = send(catalog, service, busy)
    assert {pick(service, 0.0) for _ in range(4)} == {free}
    work.finished(1.0)
    assert {pick(service, 0.0) for _ in range(4)} == {busy, free}


def test_a_prompt_goes_where_its_beginning_is_and_what_was_learnt_survives_a_swap(
    catalog: Catalog,
) -> None:
    both = (endpoint("a"), endpoint("b"))
    catalog.swap(snapshot(*both))
    prompt = b"the same long beginning " * 50
    service = variant(catalog)
    home = service.endpoints[1]
    service.router.dispatch(service.candidates[1], prompt, 0.0).finished(1.0)
    assert {pick(service, 2.0, prompt=prompt + b"x") for _ in range(4)} == {home}
    catalog.swap(snapshot(*both, endpoint("c"), generation=2))
    assert {pick(variant(catalog), 3.0, prompt=prompt + b"y") for _ in range(4)} == {home}
    moved = (endpoint("a"), endpoint("b", port=10))
    catalog.swap(snapshot(*moved, generation=3))
    found = {pick(variant(catalog), 4.0, prompt=prompt + b"z") for _ in range(4)}
    assert len(found) == 2, "a replica that was started anew has nothing cached"


def test_a_failed_endpoint_is_left_alone_unless_there_is_no_other(catalog: Catalog) -> None:
    catalog.swap(snapshot(endpoint("a"), endpoint("b")))
    service = variant(catalog)
    bad, good = service.endpoints
    bad.failed(now_s=10.0)
    assert {pick(service, 10.1) for _ in range(4)} == {good}
    assert pick(service, 10.1, [good]) is bad
    assert pick(service, 10.1, [good, bad]) is None
    assert {pick(service, 60.0) for _ in range(4)} == {bad, good}
    bad.succeeded()
    assert {pick(service, 10.1) for _ in range(4)} == {bad, good}


def test_after_a_failure_one_request_tries_it_out(catalog: Catalog) -> None:
    catalog.swap(snapshot(endpoint("a"), endpoint("b")))
    service = variant(catalog)
    bad, good = service.endpoints
    bad.failed(now_s=10.0)
    later_s = 60.0
    for _ in range(5):
        send(catalog, service, good)  # so that the failed one has the least load
    assert pick(service, later_s) is bad
    catalog.endpoints.enter(bad)
    assert {pick(service, later_s) for _ in range(4)} == {good}, "its trial is under way"
    catalog.endpoints.leave(bad)
    bad.failed(later_s)
    assert {pick(service, later_s + 0.9) for _ in range(4)} == {good}, "twice as long"
    catalog.endpoints.enter(bad)
    catalog.endpoints.leave(bad)
    bad.succeeded()
    catalog.endpoints.enter(bad)
    assert pick(service, later_s) is bad, "it works: no trial any more"


def test_load_is_published_until_the_last_request_has_ended(
    catalog: Catalog, region: Region
) -> None:
    catalog.swap(snapshot(endpoint("a")))
    (one,) = catalog.endpoints.by_id.values()
    catalog.endpoints.enter(one)
    catalog.endpoints.enter(one)
    catalog.swap(snapshot(endpoint("b"), generation=2))
    assert region.loads() == {endpoint_hash("a"): PublishedLoad(2)}, (
        "who drains it sees what is still open"
    )
    catalog.endpoints.leave(one)
    assert region.loads() == {endpoint_hash("a"): PublishedLoad(1)}
    catalog.endpoints.leave(one)
    assert region.loads() == {}
    for number in range(LOAD_ROWS - 1):
        region.load_row(endpoint_hash(str(number)))[0] = 1
    assert len(region.loads()) == LOAD_ROWS - 1, "its row is free again"
    spare = [region.load_row(endpoint_hash(f"x{number}")) for number in range(2)]
    assert len(spare[1]) == LOAD_CELLS, "what finds no row is counted all the same"


def test_a_replica_that_came_back_elsewhere_keeps_one_count(
    catalog: Catalog, region: Region
) -> None:
    catalog.swap(snapshot(endpoint("a", port=9)))
    (before,) = catalog.endpoints.by_id.values()
    catalog.endpoints.enter(before)
    catalog.swap(snapshot(endpoint("a", port=10), generation=2))
    (after,) = catalog.endpoints.by_id.values()
    assert after is not before
    catalog.endpoints.enter(after)
    catalog.endpoints.leave(before)
    assert region.loads() == {endpoint_hash("a"): PublishedLoad(1)}
    catalog.endpoints.leave(after)
    assert region.loads() == {}


def test_an_endpoint_that_stays_keeps_its_connections(catalog: Catalog) -> None:
    catalog.swap(snapshot(endpoint("a")))
    (before,) = catalog.endpoints.by_id.values()
    catalog.swap(snapshot(endpoint("a"), endpoint("b"), generation=2))
    assert catalog.endpoints.by_id["a"] is before
    assert catalog.generation == 2


def test_what_other_processes_have_open_counts(shared: SharedFile) -> None:
    mine = made(shared.region(0))
    theirs = made(shared.region(1))
    both = snapshot(endpoint("a"), endpoint("b"))
    mine.swap(both)
    theirs.swap(both)
    theirs.endpoints.enter(theirs.endpoints.by_id["a"])
    mine.see_others([shared.region(1)])
    service = variant(mine)
    assert {pick(service, 0.0) for _ in range(4)} == {mine.endpoints.by_id["b"]}


def test_what_failed_in_one_process_is_left_alone_by_all(shared: SharedFile) -> None:
    mine, theirs = made(shared.region(0)), made(shared.region(1))
    for one in (mine, theirs):
        one.swap(snapshot(endpoint("a"), endpoint("b")))
    bad, good = mine.endpoints.by_id["a"], theirs.endpoints.by_id["b"]
    bad.failed(now_s=100.0)
    theirs.see_others([shared.region(0)])
    assert {pick(variant(theirs), 100.1) for _ in range(4)} == {good}
    until_s = bad.breaker.open_until_s
    assert {pick(variant(theirs), until_s + 0.1) for _ in range(4)} == {good}, "it tries it out"
    assert {pick(variant(theirs), until_s + PROBE_S + 0.1) for _ in range(4)} != {good}
    bad.succeeded()
    theirs.see_others([shared.region(0)])
    assert {pick(variant(theirs), 100.1) for _ in range(4)} != {good}


def test_where_all_are_left_alone_the_one_that_failed_least_is_used(catalog: Catalog) -> None:
    catalog.swap(snapshot(endpoint("dead"), endpoint("stumbled")))
    dead, stumbled = (catalog.endpoints.by_id[name] for name in ("dead", "stumbled"))
    for _ in range(3):
        dead.failed(now_s=100.0)
    stumbled.failed(now_s=100.0)
    assert {pick(variant(catalog), 100.1) for _ in range(8)} == {stumbled}
    assert pick(variant(catalog), 100.1, (stumbled,)) is dead, "and after it the other"


def test_processes_take_turns_at_trying_out_what_failed_for_all(tmp_path: Path) -> None:
    shared = SharedFile(tmp_path / "three.bin", 3)
    each = [made(shared.region(number)) for number in range(3)]

    def look() -> None:
        for number, one in enumerate(each):
            one.see_others([shared.region(other) for other in range(3) if other != number])

    def open_at(after_s: float) -> list[bool]:
        return [not one.endpoints.by_id["a"].breaker.shut(until_s + after_s) for one in each]

    for one in each:
        one.swap(snapshot(endpoint("a"), endpoint("b")))
        one.endpoints.by_id["a"].failed(clock.monotonic_s())
    until_s = each[0].endpoints.by_id["a"].breaker.open_until_s
    look()
    assert open_at(0.1) == [True, False, False]
    assert open_at(PROBE_S + 0.1) == [True, True, False]
    each[0].endpoints.enter(each[0].endpoints.by_id["a"])
    look()
    assert open_at(MOST_PROBE_S / 2) == [False, False, False], "one tries it out"
    assert open_at(MOST_PROBE_S + 1) == [False, True, True], "and is not waited for without end"
    each[0].endpoints.leave(each[0].endpoints.by_id["a"])
    each[0].endpoints.by_id["a"].succeeded()
    look()
    assert open_at(0.1) == [True, True, False], "the next one may find out for itself"
    shared.close()


def test_what_others_said_is_disproved_by_an_answer(shared: SharedFile) -> None:
    """A process that has no more requests never takes back what it published."""
    mine, theirs = made(shared.region(0)), made(shared.region(1))
    for one in (mine, theirs):
        one.swap(snapshot(endpoint("a"), endpoint("b")))
    mine.endpoints.by_id["a"].failed(now_s=100.0)
    theirs.see_others([shared.region(0)])
    one = theirs.endpoints.by_id["a"]
    for _ in range(2):
        theirs.endpoints.enter(one)
        one.succeeded()
        theirs.endpoints.leave(one)
        theirs.see_others([shared.region(0)])
        assert not one.breaker.doubted
    mine.endpoints.by_id["a"].failed(now_s=200.0)
    theirs.see_others([shared.region(0)])
    assert one.breaker.shut(200.1)


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
