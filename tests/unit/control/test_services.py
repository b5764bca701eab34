"""Service documents: every mistake named, and nothing changed without need."""

from typing import Any

import pytest

from modelyard.control.services import Services
from modelyard.domain import services as documents
from modelyard.errors import Invalid, NotFound
from modelyard.ports.meta import newest
from modelyard.testing.stores import MemoryMetaStore

T = "default"


@pytest.fixture
def meta() -> MemoryMetaStore:
    return MemoryMetaStore()


@pytest.fixture
def services(meta: MemoryMetaStore) -> Services:
    return Services(meta)


def document(name: str = "bot", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "modelyard/v1", "kind": "Service", "name": name, "spec": spec}


def test_apply_creates_changes_and_leaves_alone(services: Services, meta: MemoryMetaStore) -> None:
    first = services.apply(T, document(model="m:1"), "ada")
    same = services.apply(T, document(model="m:1"), "ada")
    other = services.apply(T, document(model="m:2"), "ada")
    assert (first.changed, same.changed, other.changed) == (True, False, True)
    assert first.generation == same.generation < other.generation
    reasons = [commit.reason for commit in meta.watch(0, 0.0)]
    assert reasons == ["create service bot", "change service bot"]
    services.delete(T, "bot", "ada")
    with pytest.raises(NotFound):
        services.delete(T, "bot", "ada")


def test_what_was_written_comes_back(services: Services) -> None:
    written = document(model="m@production", replicas=2, engine={"name": "echo", "tokens": 5})
    services.apply(T, written, "ada")
    found = services.get(T, "bot")
    assert found["document"]["spec"]["model"] == "m@production"
    assert found["document"]["spec"]["replicas"] == {"min": 2, "max": 2}
    assert found["document"]["spec"]["engine"] == {"name": "echo", "tokens": 5}
    assert found["status"] is None
    assert services.apply(T, found["document"], "ada").changed is False


def test_a_missing_service_names_those_there_are(services: Services) -> None:
    with pytest.raises(NotFound) as raised:
        services.get(T, "nobody")
    assert raised.value.hint == "apply one first"
    services.apply(T, document(), "ada")
    with pytest.raises(NotFound) as raised:
        services.get(T, "nobody")
    assert "bot" in raised.value.hint


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "a document is a mapping"),
        ([], "a document is a mapping"),
        ({}, "apiVersion is None"),
        ({**document(), "apiVersion": "modelyard/v9"}, "this server speaks 'modelyard/v1'"),
        ({**document(), "kind": "Sevice"}, "known kinds: Service"),
        ({**document(), "name": "No Name"}, "name: use lower-case letters"),
        ({**document(), "name": "a" * 64}, "name: use lower-case letters"),
        ({**document(), "spce": {}}, "spce: unknown field; did you mean 'spec'?"),
        (document(modle="x"), "spec.modle: unknown field; did you mean 'model'?"),
        (document(replicas={"mn": 1}), "spec.replicas.mn: unknown field; did you mean 'min'?"),
        (document(replicas=65), "spec.replicas"),
        (document(replicas=-1), "spec.replicas"),
        (document(replicas="two"), "spec.replicas"),
        (document(replicas={"min": 1, "max": 4}), "nothing scales a service yet"),
        (document(price={"input_usd_per_million": -1}), "spec.price.input_usd_per_million"),
        (document(model=5), "spec.model"),
    ],
)
def test_mistakes_are_named_with_their_place(
    services: Services, meta: MemoryMetaStore, data: Any, said: str
) -> None:
    with pytest.raises(Invalid) as raised:
        services.apply(T, data, "ada")
    assert said in raised.value.message
    assert newest(meta) == 0


def test_all_mistakes_are_told_at_once(services: Services) -> None:
    with pytest.raises(Invalid) as raised:
        services.apply(T, document(modle="x", replicas=99), "ada")
    assert "spec.modle" in raised.value.message
    assert "spec.replicas" in raised.value.message


def test_a_revision_is_named_by_what_it_runs() -> None:
    one = documents.revision_id("bot", {"model": "m:1", "options": {"a": 1, "b": 2}})
    same = documents.revision_id("bot", {"options": {"b": 2, "a": 1}, "model": "m:1"})
    other = documents.revision_id("bot", {"model": "m:2", "options": {"a": 1, "b": 2}})
    assert one == same != other
    assert one.startswith("bot-")
