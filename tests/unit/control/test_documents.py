"""Several documents at once: all or none, checked against each other and what is stored."""

from typing import Any

import pytest

from modelyard.control import documents
from modelyard.control.access import Access
from modelyard.control.limits import Limits
from modelyard.control.services import Services
from modelyard.domain.documents import kinds
from modelyard.errors import Conflict, Invalid, NotFound
from modelyard.ports.meta import newest
from modelyard.testing.stores import MemoryMetaStore

T = "default"
NOW_US = 1_000_000


@pytest.fixture
def meta() -> MemoryMetaStore:
    return MemoryMetaStore()


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "modelyard/v1", "kind": "Service", "name": name, "spec": spec}


def limit(name: str = "blue", **spec: Any) -> dict[str, Any]:
    whole = {"concurrency": 4, **spec}
    return {"apiVersion": "modelyard/v1", "kind": "Limit", "name": name, "spec": whole}


def apply(meta: MemoryMetaStore, *data: dict[str, Any]) -> list[documents.Applied]:
    return documents.apply(meta, T, [kinds.parse(one) for one in data], "ada")


def refused(meta: MemoryMetaStore, *data: dict[str, Any]) -> Invalid:
    before = newest(meta)
    with pytest.raises(Invalid) as raised:
        apply(meta, *data)
    assert newest(meta) == before, "nothing is stored"
    return raised.value


def test_they_may_name_each_other_in_any_order(meta: MemoryMetaStore) -> None:
    made = apply(meta, limit(service="bot"), service("bot", fallback=["spare"]), service("spare"))
    assert [(one.kind, one.name, one.changed) for one in made] == [
        ("Limit", "blue", True), ("Service", "bot", True), ("Service", "spare", True),
    ]  # fmt: skip
    (commit,) = meta.watch(0, 0.0)
    assert commit.reason == "create limit blue, create service bot, create service spare"
    again = apply(meta, service("spare"), service("bot", fallback=["spare"], model="m:1"))
    assert [one.changed for one in again] == [False, True]
    assert again[0].generation < again[1].generation
    assert meta.watch(1, 0.0)[0].reason == "change service bot"
    apply(meta, service("spare"))
    assert newest(meta) == 2, "what is there already makes no commit"


def test_the_reason_of_many_stays_readable(meta: MemoryMetaStore) -> None:
    apply(meta, *(service(f"s{number:02}") for number in range(20)))
    reason = meta.watch(0, 0.0)[0].reason
    assert reason.endswith("create service s11 and 8 more")


def test_nobody_is_stored_when_one_is_wrong(meta: MemoryMetaStore) -> None:
    apply(meta, service("support"))
    wrong = service("bot", fallback=["suport"], shadow={"service": "bot"})
    error = refused(meta, service("good"), wrong)
    assert "service bot: spec.fallback: no service 'suport'" in error.message
    assert "service bot: spec.shadow: bot names itself" in error.message
    assert "did you mean 'support'?" in error.hint
    assert "good" in error.hint


def test_a_circle_over_what_is_stored(meta: MemoryMetaStore) -> None:
    apply(meta, service("b"), service("a", fallback=["b"]))
    error = refused(meta, service("b", fallback=["a"]))
    assert error.message == "spec.fallback: fallbacks go in a circle: b → a → b"
    apply(meta, service("a"), service("b", fallback=["a"]))


def test_a_limit_names_what_is_there(meta: MemoryMetaStore) -> None:
    assert refused(meta, limit(service="bot")).message == "spec.service: no service 'bot'"
    for key in ("nobody", "a/b"):
        error = refused(meta, limit(key=key))
        assert error.message == f"spec.key: no key {key!r}"
        assert "modelyard keys list" in error.hint
    key, _ = Access(meta, b"p").create_key(T, actor="ada", now_us=NOW_US)
    apply(meta, limit(key=key["id"]), limit("all", each="person"))


def test_what_is_said_twice(meta: MemoryMetaStore) -> None:
    assert "service a is given twice" in refused(meta, service("a"), service("a")).message
    with pytest.raises(Invalid):
        documents.apply(meta, T, [], "ada")
    apply(meta, service("a"), limit("a"))


def test_a_service_that_others_name_stays(meta: MemoryMetaStore) -> None:
    services, limits = Services(meta), Limits(meta)
    apply(meta, service("spare"), service("bot", fallback=["spare"]), limit(service="spare"))
    with pytest.raises(Conflict) as raised:
        services.delete(T, "spare", "ada")
    assert raised.value.message == (
        "service spare is named by service bot (spec.fallback), limit blue"
    )
    assert "force" in raised.value.hint
    services.delete(T, "spare", "ada", force=True)
    assert "service spare was deleted" in limits.get(T, "blue", NOW_US)["problem"]
    services.delete(T, "bot", "ada")
    with pytest.raises(NotFound):
        services.delete(T, "bot", "ada", force=True)


def test_limits_come_and_go(meta: MemoryMetaStore) -> None:
    limits, access = Limits(meta), Access(meta, b"p")
    key, _ = access.create_key(T, actor="ada", now_us=NOW_US)
    assert limits.apply(T, limit(key=key["id"]), "ada").changed
    assert not limits.apply(T, limit(key=key["id"]), "ada").changed
    (found,) = limits.list(T, NOW_US)
    assert found["document"]["spec"] == {"concurrency": 4, "key": key["id"]}
    assert found["problem"] == ""
    access.revoke(T, key["id"], "ada", NOW_US)
    assert "revoked" in limits.get(T, "blue", NOW_US)["problem"]
    assert limits.list("acme", NOW_US) == []
    with pytest.raises(NotFound, match="no limit 'bleu'") as raised:
        limits.delete(T, "bleu", "ada")
    assert "did you mean 'blue'?" in raised.value.hint
    limits.delete(T, "blue", "ada")
    reasons = [commit.reason for commit in meta.watch(0, 0.0)]
    assert reasons[-1] == "delete limit blue"
    with pytest.raises(Invalid):
        limits.apply(T, service("bot"), "ada")
