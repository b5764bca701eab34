"""Provider documents with their keys: bound to a place, refused elsewhere, gone with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelyard.adapters.secret import BySchemes
from modelyard.adapters.secret.env import EnvSecrets
from modelyard.adapters.secret.stored import StoredSecrets
from modelyard.control.providers import STATUS_KIND, Providers, Tried
from modelyard.control.services import Services
from modelyard.domain.snapshot import Endpoint
from modelyard.errors import Conflict, Invalid, NotFound, TooLarge
from modelyard.ports.meta import Change, Commit, Key, newest
from modelyard.testing.stores import MemoryMetaStore

T = "t"


class Full(MemoryMetaStore):
    """A store whose disk may be full."""

    full = False

    def commit(self, changes: Any, actor: str, reason: str) -> int:
        if self.full:
            raise TooLarge("no room")
        return super().commit(changes, actor, reason)


class Yard:
    def __init__(self, folder: Path) -> None:
        self.meta = Full()
        self.store = StoredSecrets(folder)
        self.environment = {"A_KEY": "sk-env"}
        secrets = BySchemes({"env": EnvSecrets(self.environment), "store": self.store})
        self.providers = Providers(self.meta, secrets, self.store)

    def apply(self, name: str = "a", given: Mapping[str, str] | None = None, **spec: Any) -> Any:
        whole = {"kind": "openai", "keys": [f"store:{name}"], **spec}
        data = {"apiVersion": "modelyard/v1", "kind": "Provider", "name": name, "spec": whole}
        return self.providers.apply(T, data, "ada", keys=given, now_us=7)

    def refused(self, name: str = "a", given: Mapping[str, str] | None = None, **spec: Any) -> Any:
        before = newest(self.meta)
        with pytest.raises(Invalid) as raised:
            self.apply(name, given, **spec)
        assert newest(self.meta) == before, "nothing is stored"
        return raised.value

    def service(self, provider: str, model: str = "m") -> None:
        engine = {"name": "provider", "provider": provider, "model": model}
        data = {"apiVersion": "modelyard/v1", "kind": "Service", "name": "bot",
                "spec": {"engine": engine}}  # fmt: skip
        Services(self.meta).apply(T, data, "ada")

    def commits(self) -> list[Commit]:
        return list(self.meta.watch(0, 0.0))


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def test_a_key_is_given_with_the_document_and_kept_for_its_address(yard: Yard) -> None:
    applied = yard.apply(given={"a": " sk-1\n"})
    assert (applied.kind, applied.name, applied.changed) == ("Provider", "a", True)
    assert yard.store.origin(T, "a") == "https://api.openai.com"
    shown = yard.providers.get(T, "a")
    assert shown["origin"] == "https://api.openai.com"
    assert shown["keys"] == [
        {"secret": "store:a", "weight": 1.0, "problem": "", "at_us": 7, "by": "ada"}
    ]
    assert [one.reason for one in yard.commits()] == [
        "create provider a",
        "set key a of provider a",
    ]
    assert not yard.apply().changed, "the document alone may be applied again"


def test_a_key_that_is_nowhere_is_refused_with_the_place(yard: Yard) -> None:
    error = yard.refused(keys=["store:a", "env:A_KEY", "env:NOBODY"])
    assert "spec.keys.0: no key a is stored" in error.message
    assert "spec.keys.2: the environment variable NOBODY is not set" in error.message
    assert "spec.keys.1" not in error.message
    assert error.hint == "store it: modelyard providers add PROVIDER --key -"


def test_another_address_needs_the_key_again(yard: Yard) -> None:
    yard.apply(given={"a": "sk-1"})
    error = yard.refused(url="https://proxy.test/v1")
    assert error.code == "secret_bound"
    assert "spec.keys.0: the stored key a is for https://api.openai.com" in error.message
    assert "give the key again for the new address" in error.hint
    assert yard.apply(url="https://api.openai.com/other/v1").changed, "the same origin"
    assert yard.apply(given={"a": "sk-2"}, url="https://proxy.test/v1").changed
    assert yard.store.origin(T, "a") == "https://proxy.test"


def test_a_key_is_not_taken_from_another_provider(yard: Yard) -> None:
    yard.apply(given={"a": "sk-1"})
    assert yard.refused("evil", url="https://evil.test", keys=["store:a"]).code == "secret_bound"
    error = yard.refused("evil", {"a": "sk-2"}, url="https://evil.test", keys=["store:a"])
    assert "store:a is a key of provider a, at another address" in error.message
    assert yard.store.resolve("store:a", tenant=T, origin="https://api.openai.com") == "sk-1"
    assert yard.apply("second", keys=["store:a"]).changed, "the same address may share it"


def test_only_keys_that_the_document_names_are_kept(yard: Yard) -> None:
    error = yard.refused(given={"b": "sk-1", "a": "sk-2"})
    assert "no key of the document is store:b" in error.message
    assert "sk-1" not in f"{error.message}{error.hint}"
    assert yard.refused(given={"a": "sk one"}).message.startswith("key a holds a space")
    assert yard.store.names(T) == []


def test_keys_that_nobody_names_any_more_are_forgotten(yard: Yard) -> None:
    yard.apply(given={"a": "sk-1", "a-2": "sk-2"}, keys=["store:a", "store:a-2"])
    yard.apply("b", keys=["store:a"])
    yard.apply(keys=["env:A_KEY"])
    assert yard.store.names(T) == ["a"], "provider b still names it"
    yard.providers.delete(T, "b", "ada")
    assert yard.store.names(T) == []


def test_a_document_that_cannot_be_stored_leaves_the_former_key(yard: Yard) -> None:
    yard.apply(given={"a": "sk-1"})
    yard.meta.full = True
    with pytest.raises(TooLarge):
        yard.apply(given={"a": "sk-2"}, models=["m"])
    with pytest.raises(TooLarge):
        yard.apply("b", {"b": "sk-3"})
    assert yard.store.resolve("store:a", tenant=T, origin="https://api.openai.com") == "sk-1"
    assert yard.store.names(T) == ["a"]


def test_a_provider_that_services_name_stays_unless_forced(yard: Yard) -> None:
    yard.apply(given={"a": "sk-1"})
    yard.service("a")
    assert yard.providers.get(T, "a")["services"] == ["bot"]
    with pytest.raises(Conflict) as raised:
        yard.providers.delete(T, "a", "ada")
    assert raised.value.message == "provider a is used by service bot"
    yard.providers.delete(T, "a", "ada", force=True)
    assert yard.meta.get(Key(T, STATUS_KIND, "a")) is None
    with pytest.raises(NotFound):
        yard.providers.delete(T, "a", "ada", force=True)
    assert yard.providers.list("other") == []


def test_a_test_is_kept_until_a_key_is_given_anew(yard: Yard) -> None:
    yard.apply(given={"a": "sk-1"}, keys=["store:a", "env:A_KEY"])
    tried = [("store:a", Tried(True, "it lists 3 models", 90)), ("env:A_KEY", Tried(False, "no"))]
    test = yard.providers.tested(T, "a", tried, "ada", 9)
    assert (test["ok"], test["at_us"]) == (False, 9)
    assert yard.providers.get(T, "a")["test"] == test
    assert yard.commits()[-1].reason == "test provider a"
    yard.apply(given={"a": "sk-2"}, keys=["store:a", "env:A_KEY"])
    assert yard.providers.get(T, "a")["test"] is None


def test_what_a_test_calls(yard: Yard) -> None:
    yard.apply(given={"a": "sk-1"}, keys=["store:a", "env:A_KEY"], models=["small", "large"])
    (_, first), (_, second) = yard.providers.targets(T, "a")
    assert isinstance(first, Endpoint)
    assert isinstance(second, Endpoint)
    assert (first.api_key, second.api_key) == ("sk-1", "sk-env")
    assert first.upstream_model == "small"
    yard.service("a", "large")
    del yard.environment["A_KEY"]
    (_, first), (key, problem) = yard.providers.targets(T, "a")
    assert isinstance(first, Endpoint)
    assert first.upstream_model == "large", "what services use"
    assert key == "env:A_KEY"
    assert "A_KEY is not set" in str(problem)


def test_a_document_that_cannot_be_read_any_more_is_said(yard: Yard) -> None:
    yard.meta.commit([Change(Key(T, "Provider", "old"), {"spec": {}}, 0)], "x", "old")
    (shown,) = yard.providers.list(T)
    assert "apply it again" in shown["problem"]
    with pytest.raises(Invalid):
        yard.providers.targets(T, "old")
    yard.providers.delete(T, "old", "ada")
