"""The reconciler and providers: endpoints of what is there, words for what is not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.adapters.engine.provider import ProviderEngine
from modelyard.adapters.secret import BySchemes
from modelyard.adapters.secret.env import EnvSecrets
from modelyard.adapters.secret.file import FileSecrets
from modelyard.adapters.secret.stored import StoredSecrets
from modelyard.control import documents, prices
from modelyard.control.leases import Lease
from modelyard.control.providers import Providers
from modelyard.control.reconcile import Reconciler
from modelyard.control.services import STATUS_KIND, Services
from modelyard.control.snapshots import Snapshots
from modelyard.control.status import CanaryStatus, Status
from modelyard.control.upstreams import Upstreams
from modelyard.domain.documents import kinds
from modelyard.domain.snapshot import Endpoint, Service
from modelyard.errors import Invalid, NotFound
from modelyard.ports.engine import ResolvedModel
from modelyard.ports.meta import DEFAULT_TENANT as T
from modelyard.ports.meta import Key
from modelyard.testing.control import MemoryTarget
from modelyard.testing.stores import MemoryMetaStore


def nothing(tenant: str, reference: str) -> ResolvedModel:
    raise NotFound(f"no version {reference!r}")


class Yard:
    """A reconciler and what it looks at; a step is taken when a test says so."""

    def __init__(self, folder: Path) -> None:
        self.meta = MemoryMetaStore()
        self.environment = {"A_KEY": "sk-a", "B_KEY": "sk-b"}
        self.folder = folder
        store = StoredSecrets(folder / "data" / "store")
        secrets = BySchemes({
            "env": EnvSecrets(self.environment), "file": FileSecrets(folder / "data"),
            "store": store,
        })  # fmt: skip
        self.providers = Providers(self.meta, secrets, store)
        self.services = Services(self.meta)
        self.said: dict[str, str] = {}
        self.everything_asked = True
        lease = Lease(self.meta, "reconciler", "reconciler")
        assert lease.acquire()
        self.reconciler = Reconciler(
            self.meta, MemoryTarget(), resolve=nothing, engine=lambda _: ProviderEngine(),
            probe=lambda _: {}, upstreams=Upstreams(secrets), ask=self._ask, secret=b"s",
            lease=lease,
        )  # fmt: skip
        self._seen = 0

    def _ask(self, endpoints: Sequence[Endpoint]) -> Mapping[str, str]:
        ids = [one.id for one in endpoints]
        known = ids if self.everything_asked else [one for one in ids if one in self.said]
        return {one: self.said.get(one, "") for one in known}

    def provider(self, name: str, given: Mapping[str, str] | None = None, **spec: Any) -> None:
        data = {"apiVersion": "modelyard/v1", "kind": "Provider", "name": name, "spec": spec}
        self.providers.apply(T, data, "ada", keys=given, now_us=5)

    def service(self, name: str = "bot", canary: Any = None, **engine: Any) -> None:
        spec: dict[str, Any] = {"engine": {"name": "provider", **engine}}
        if canary:
            spec["canary"] = {"weight": 0.5, "engine": {"name": "provider", **canary}}
        data = {"apiVersion": "modelyard/v1", "kind": "Service", "name": name, "spec": spec}
        self.services.apply(T, data, "ada")

    def step(self, name: str = "bot") -> Status:
        commits = self.meta.watch(self._seen, 0.0)
        self._seen = commits[-1].generation if commits else self._seen
        self.reconciler.see(commits)
        self.reconciler.step()
        found = self.meta.get(Key(T, STATUS_KIND, name))
        assert found is not None
        return msgspec.convert(found.body, Status)

    def served(self, name: str = "bot") -> Service:
        return next(one for one in Snapshots(self.meta).compile(0).services if one.name == name)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def openai(**more: Any) -> dict[str, Any]:
    return {"kind": "openai", "keys": ["env:A_KEY"], **more}


def keys_of(status: Status | CanaryStatus) -> dict[str, str]:
    return {one.id: one.api_key for one in status.endpoints}


def weights(status: Status) -> list[float]:
    return [one.weight for one in status.endpoints]


def canary_of(status: Status) -> CanaryStatus:
    assert status.canary is not None
    return status.canary


def test_an_endpoint_for_each_upstream_and_key(yard: Yard) -> None:
    yard.provider("a", **openai(keys=["env:A_KEY", {"secret": "env:B_KEY", "weight": 3}]))
    yard.provider("b", kind="ollama")
    yard.service(
        upstreams=[{"provider": "a", "model": "x", "weight": 2}, {"provider": "b", "model": "y"},
                   {"provider": "a", "model": "z"}]
    )  # fmt: skip
    status = yard.step()
    assert status.phase == "ready"
    assert keys_of(status) == {
        "bot/a/0": "sk-a", "bot/a/1": "sk-b", "bot/b/0": "", "bot/a:2/0": "sk-a",
        "bot/a:2/1": "sk-b",
    }  # fmt: skip
    assert weights(status) == [0.5, 1.5, 1.0, 0.25, 0.75]
    assert [one.upstream_model for one in status.endpoints] == ["x", "x", "y", "z", "z"]
    assert yard.served().revision.endpoints == status.endpoints
    assert status.model == "", "there are several"


def test_what_it_costs_is_the_providers_own_price_else_its_list_price(yard: Yard) -> None:
    own = {"gpt-5-mini": {"input_usd_per_million": 0.1, "output_usd_per_million": 0.5}}
    yard.provider("a", **openai(prices=own))
    yard.provider("b", **openai())
    yard.provider("c", kind="ollama")
    models = ("gpt-5-mini", "gpt-4.1-mini", "nobody-knows-it")
    pairs = [{"provider": name, "model": model} for name in "abc" for model in models]
    yard.service(upstreams=pairs)
    found = {(one.provider, one.upstream_model): one.price for one in yard.step().endpoints}
    listed = prices.find("openai", "gpt-5-mini", prices.today())
    other = prices.find("openai", "gpt-4.1-mini", prices.today())
    assert listed is not None
    assert other is not None
    changed = found["a", "gpt-5-mini"]
    assert changed is not None
    assert (changed.input, changed.output) == (10**8, 5 * 10**8)
    assert found["b", "gpt-5-mini"] == listed.price
    assert found["a", "gpt-4.1-mini"] == found["b", "gpt-4.1-mini"] == other.price
    unknown = {place for place, price in found.items() if price is None}
    assert unknown == {
        ("a", "nobody-knows-it"),
        ("b", "nobody-knows-it"),
        *(("c", m) for m in models),
    }
    assert yard.served().revision.price is None, "each endpoint has its own"


def test_replicas_of_a_provider_cost_nothing_by_the_hour(yard: Yard) -> None:
    with pytest.raises(Invalid, match="m: replica_usd_per_hour is for replicas of our own"):
        yard.provider("a", **openai(prices={"m": {"replica_usd_per_hour": 1}}))


def test_equal_keys_leave_the_choice_to_the_routing_rule(yard: Yard) -> None:
    yard.provider("a", **openai(keys=["env:A_KEY", "env:B_KEY"]))
    yard.service(provider="a", model="x")
    status = yard.step()
    assert len(set(weights(status))) == 1
    assert status.model == "x"


def test_a_changed_key_is_in_use_at_the_next_step_and_changes_nothing_else(yard: Yard) -> None:
    file = yard.folder / "key"
    file.write_text("sk-1\n")
    yard.provider("a", **openai(keys=[f"file:{file}"]))
    yard.provider("b", {"b": "sk-old"}, **openai(keys=["store:b"]))
    yard.service(upstreams=[{"provider": "a", "model": "x"}, {"provider": "b", "model": "x"}])
    before = yard.step()
    assert keys_of(before) == {"bot/a/0": "sk-1", "bot/b/0": "sk-old"}
    file.write_text("sk-2\n")
    yard.provider("b", {"b": "sk-new"}, **openai(keys=["store:b"]))
    after = yard.step()
    assert keys_of(after) == {"bot/a/0": "sk-2", "bot/b/0": "sk-new"}
    assert after.revision == before.revision, "a key is no new revision"


def test_another_address_is_another_revision(yard: Yard) -> None:
    yard.provider("a", kind="vllm", url="http://one:8000")
    yard.service(provider="a", model="x")
    first = yard.step()
    yard.provider("a", kind="vllm", url="http://two:8000")
    second = yard.step()
    assert second.revision != first.revision
    assert second.endpoints[0].url == "http://two:8000/v1"


def test_what_is_missing_is_said_and_the_rest_goes_on(yard: Yard) -> None:
    yard.provider("a", **openai(keys=["env:A_KEY", "env:B_KEY"]))
    yard.provider("b", kind="ollama")
    yard.service(upstreams=[{"provider": "a", "model": "x"}, {"provider": "b", "model": "x"}])
    assert yard.step().phase == "ready"
    del yard.environment["B_KEY"]
    status = yard.step()
    assert status.phase == "degraded"
    assert "provider a, key env:B_KEY: the environment variable B_KEY is not set" in status.message
    assert "start it again" in status.message
    assert set(keys_of(status)) == {"bot/a/0", "bot/b/0"}
    assert weights(status) == [1.0, 1.0], "the other key has its share"
    yard.providers.delete(T, "b", "ada", force=True)
    status = yard.step()
    assert "no provider 'b': add it with `modelyard providers add b" in status.message
    assert set(keys_of(status)) == {"bot/a/0"}
    del yard.environment["A_KEY"]
    status = yard.step()
    assert (status.phase, status.endpoints) == ("invalid", ())
    assert yard.served().revision.endpoints == ()
    yard.environment.update(A_KEY="sk-again")
    assert yard.step().endpoints[0].api_key == "sk-again"


def test_a_model_that_is_no_longer_allowed_is_said(yard: Yard) -> None:
    yard.provider("a", kind="ollama", models=["x"])
    yard.service(provider="a", model="x")
    assert yard.step().phase == "ready"
    yard.provider("a", kind="ollama", models=["y"])
    status = yard.step()
    assert (status.phase, status.message) == ("invalid", "provider a allows y, not 'x'")


def test_a_stored_key_is_not_sent_to_another_place_whoever_wrote_the_document(yard: Yard) -> None:
    """Also when a document came by another way than `apply`, which would have refused it."""
    yard.provider("a", {"a": "sk-bound"}, **openai(keys=["store:a"]))
    yard.service(provider="a", model="x")
    assert keys_of(yard.step()) == {"bot/a/0": "sk-bound"}
    moved = {"apiVersion": "modelyard/v1", "kind": "Provider", "name": "a",
             "spec": openai(url="https://evil.test", keys=["store:a"])}  # fmt: skip
    documents.apply(yard.meta, T, [kinds.parse(moved)], "mallory")
    status = yard.step()
    assert (status.phase, status.endpoints) == ("invalid", ())
    assert "is for https://api.openai.com and is not sent to https://evil.test" in status.message
    assert "sk-bound" not in str(status)


def test_what_a_probe_found_is_in_the_status(yard: Yard) -> None:
    yard.provider("a", **openai(keys=["env:A_KEY", "env:B_KEY"]))
    yard.service(provider="a", model="x")
    yard.everything_asked = False
    status = yard.step()
    assert (status.phase, status.message) == ("starting", "asks the provider")
    assert len(yard.served().revision.endpoints) == 2, "requests need not wait for it"
    yard.said = {"bot/a/1": "the provider refuses the key (401)"}
    status = yard.step()
    assert (status.phase, status.message) == (
        "degraded", "bot/a/1: the provider refuses the key (401)",
    )  # fmt: skip
    yard.said = dict.fromkeys(("bot/a/0", "bot/a/1"), "it is down")
    assert yard.step().phase == "failed"
    assert len(yard.served().revision.endpoints) == 2, "the breaker finds out when it is back"
    yard.said = dict.fromkeys(("bot/a/0", "bot/a/1"), "")
    assert yard.step().phase == "ready"


def test_a_canary_at_a_provider_answers_with_what_works(yard: Yard) -> None:
    yard.provider("a", **openai())
    yard.provider("b", **openai(keys=["env:A_KEY", "env:B_KEY"]))
    yard.service(provider="a", model="x", canary={"provider": "b", "model": "y"})
    yard.said = {"bot/canary/b/1": "the provider refuses the key (401)"}
    status = yard.step()
    assert (status.phase, canary_of(status).phase) == ("ready", "degraded")
    assert keys_of(canary_of(status)) == {"bot/canary/b/0": "sk-a"}
    served = yard.served()
    assert served.canary is not None
    yard.service(provider="a", model="x", canary={"provider": "a", "model": "x"})
    assert canary_of(yard.step()).phase == "same"


def test_a_document_may_say_what_its_endpoints_speak(yard: Yard) -> None:
    yard.provider("a", **openai())
    yard.service(provider="a", model="x")
    assert yard.step().endpoints[0].dialects == ("chat", "responses")
    yard.service(provider="a", model="x", dialects=["messages"])
    assert yard.step().endpoints[0].dialects == ("messages",)


def test_keys_are_shown_by_no_answer(yard: Yard) -> None:
    yard.provider("a", {"a": "sk-secret"}, **openai(keys=["store:a", "env:A_KEY"]))
    yard.service(provider="a", model="x")
    yard.step()
    shown = str(yard.services.get(T, "bot")) + str(yard.providers.list(T))
    commits = yard.meta.watch(0, 0.0)
    assert "sk-secret" not in shown + str(commits)
    assert "sk-a" not in shown + str(commits)


# --- what is refused when documents are applied ------------------------------------------------


def document(of: str, name: str, **spec: Any) -> kinds.Written:
    return kinds.parse({"apiVersion": "modelyard/v1", "kind": of, "name": name, "spec": spec})


def refused(yard: Yard, *written: kinds.Written) -> Invalid:
    with pytest.raises(Invalid) as raised:
        documents.apply(yard.meta, T, written, "ada")
    return raised.value


def test_a_service_names_a_provider_that_is_there_or_comes_with_it(yard: Yard) -> None:
    bot = document("Service", "bot", engine={"name": "provider", "provider": "a", "model": "x"})
    error = refused(yard, bot)
    assert error.message == "spec.engine.provider: no provider 'a'"
    assert error.hint == "add it: modelyard providers add a --kind KIND"
    applied = documents.apply(yard.meta, T, [bot, document("Provider", "a", kind="ollama")], "ada")
    assert [one.kind for one in applied] == ["Service", "Provider"]
    typo = document("Service", "web", engine={"name": "provider", "provider": "b", "model": "x"})
    assert "there are: a" in refused(yard, typo).hint
    both = document(
        "Service", "web", engine={"name": "provider", "provider": "b", "model": "x"},
        fallback=["nobody"],
    )  # fmt: skip
    message = refused(yard, both).message
    assert "spec.fallback: no service 'nobody'" in message
    assert "spec.engine.provider: no provider 'b'" in message


def test_a_model_that_the_provider_does_not_allow_is_refused(yard: Yard) -> None:
    yard.provider("a", kind="ollama", models=["x"])
    bot = document("Service", "bot", engine={"name": "provider", "provider": "a", "model": "y"})
    assert "spec.engine.model: provider a allows x, not 'y'" in refused(yard, bot).message
