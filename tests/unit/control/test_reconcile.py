"""The reconciler: a canary beside the stable revision, which nothing of the canary's disturbs."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from modelyard.adapters.engine.openai import OpenAIEngine
from modelyard.adapters.secret.env import EnvSecrets
from modelyard.control.leases import Lease
from modelyard.control.reconcile import Reconciler
from modelyard.control.services import STATUS_KIND, Services
from modelyard.control.snapshots import Snapshots
from modelyard.control.status import CanaryStatus, Status, forgotten
from modelyard.control.upstreams import Upstreams
from modelyard.domain.snapshot import Service
from modelyard.errors import Conflict, Invalid, NotFound
from modelyard.ports.engine import Engine, LaunchSpec, ReplicaState, ResolvedModel
from modelyard.ports.meta import DEFAULT_TENANT as T
from modelyard.ports.meta import Key
from modelyard.testing.control import MemoryTarget
from modelyard.testing.echo import EchoEngine
from modelyard.testing.stores import MemoryMetaStore


class Yard:
    """Everything around the reconciler, in memory; a step is taken when a test says so."""

    def __init__(self) -> None:
        self.meta = MemoryMetaStore()
        self.target = MemoryTarget()
        self.services = Services(self.meta)
        self.versions = {"m:1": 1, "m@next": 2}
        self.problems: dict[str, str] = {}
        lease = Lease(self.meta, "reconciler", "reconciler")
        assert lease.acquire()
        self.reconciler = Reconciler(
            self.meta, self.target, resolve=self._resolve, engine=self._engine,
            probe=self._probe, upstreams=Upstreams(EnvSecrets({})),
            ask=lambda _: {}, secret=b"s", lease=lease,
        )  # fmt: skip
        self._seen = 0

    def _resolve(self, tenant: str, reference: str) -> ResolvedModel:
        version = self.versions.get(reference)
        if version is None:
            raise NotFound(f"no version {reference!r}", hint="push it")
        return ResolvedModel("m", version, f"sha256:{version:064}", "gguf", (), {})

    def _engine(self, name: str) -> Engine:
        if name not in ("echo", "openai"):
            raise Invalid(f"no {name!r} among the engines")
        return EchoEngine() if name == "echo" else OpenAIEngine({})

    def _probe(self, spec: LaunchSpec) -> Mapping[str, str]:
        return {url: self.problems[url] for url in spec.urls if url in self.problems}

    def apply(self, name: str = "bot", **spec: Any) -> None:
        whole = {"engine": {"name": "echo"}, **spec}
        data = {"apiVersion": "modelyard/v1", "kind": "Service", "name": name, "spec": whole}
        self.services.apply(T, data, "ada")

    def step(self, *ready: str) -> Status:
        """What the status says after `run`."""
        self.run(*ready)
        return self.status()

    def run(self, *ready: str) -> None:
        """Some steps with the replicas of these revisions ready, all others starting."""
        for _ in range(2):
            commits = self.meta.watch(self._seen, 0.0)
            self._seen = commits[-1].generation if commits else self._seen
            self.reconciler.see(commits)
            self.reconciler.step()
            self.target.states = [
                ReplicaState(
                    id=f"{revision}-{number}",
                    revision=revision,
                    phase="ready" if revision in ready or "all" in ready else "starting",
                    url=f"http://127.0.0.1:9/{revision}/v1",
                )
                for revision, (_, count) in self.target.applied.items()
                for number in range(count)
            ]
        self.reconciler.step()

    def status(self, name: str = "bot") -> Status:
        found = self.meta.get(Key(T, STATUS_KIND, name))
        assert found is not None
        return msgspec.convert(found.body, Status)

    def served(self, name: str = "bot") -> Service:
        """As gateways would have it."""
        snapshot = Snapshots(self.meta).compile(0)
        return next(one for one in snapshot.services if one.name == name)


@pytest.fixture
def yard() -> Yard:
    return Yard()


CANARY = {"engine": {"name": "echo", "tokens": 3}, "weight": 0.25, "replicas": 1}


def canary_of(status: Status) -> CanaryStatus:
    assert status.canary is not None
    return status.canary


def test_both_revisions_run_and_the_canary_is_served_once_it_is_ready(yard: Yard) -> None:
    yard.apply(replicas=2, canary={**CANARY, "sticky": "key"})
    stable = yard.step().desired_revision
    canary = canary_of(yard.status()).revision
    assert {name: count for name, (_, count) in yard.target.applied.items()} == {
        stable: 2, canary: 1,
    }  # fmt: skip
    status = yard.step(stable)
    assert (status.phase, canary_of(status).phase) == ("ready", "starting")
    assert canary_of(status).message == "0 of 1 replicas ready"
    assert yard.served().canary is None, "it answers nothing before it is ready"
    status = yard.step("all")
    assert (status.phase, canary_of(status).phase) == ("ready", "ready")
    served = yard.served()
    assert served.canary is not None
    assert (served.canary.weight, served.canary.sticky) == (0.25, "key")
    assert served.revision.id == stable
    assert served.canary.revision.id == canary
    ids = {one.id for one in served.revision.endpoints} | {
        one.id for one in served.canary.revision.endpoints
    }
    assert len(ids) == 3


def test_a_canary_that_cannot_run_says_why_and_leaves_the_rest_alone(yard: Yard) -> None:
    yard.apply(model="m:1", canary={"model": "m:9", "weight": 0.5})
    status = yard.step("all")
    assert status.phase == "ready"
    assert canary_of(status).phase == "invalid"
    assert canary_of(status).message == "no version 'm:9' (push it)"
    assert len(yard.target.applied) == 1
    assert yard.served().canary is None
    yard.apply(model="m:1", canary={"engine": {"name": "nothing"}, "weight": 0.5})
    assert canary_of(yard.step("all")).phase == "invalid"
    assert yard.status().phase == "ready"


def test_without_its_canary_a_service_drains_it(yard: Yard) -> None:
    yard.apply(canary=CANARY)
    stable = yard.step("all").revision
    yard.apply()
    status = yard.step("all")
    assert status.canary is None
    assert set(yard.target.applied) == {stable}
    assert yard.served().canary is None


def test_a_removed_canary_is_out_before_the_reconciler_saw_it(yard: Yard) -> None:
    yard.apply(canary=CANARY)
    yard.step("all")
    yard.apply(canary={**CANARY, "weight": 0.01})
    served = yard.served()
    assert served.canary is not None
    assert served.canary.weight == 0.01, "less is obeyed at once"
    yard.apply(canary={**CANARY, "weight": 0.9, "engine": {"name": "echo", "tokens": 9}})
    served = yard.served()
    assert served.canary is not None
    assert served.canary.weight == 0.25, "more is meant for what does not run yet"
    yard.apply()
    assert yard.served().canary is None


def test_a_changed_canary_answers_nothing_until_it_is_ready(yard: Yard) -> None:
    yard.apply(canary=CANARY)
    status = yard.step("all")
    first = canary_of(status).revision
    yard.apply(canary={**CANARY, "engine": {"name": "echo", "tokens": 9}})
    status = yard.step(status.revision, first)
    assert canary_of(status).revision != first
    assert canary_of(status).endpoints == ()
    assert first not in yard.target.applied
    assert status.phase == "ready"


def test_a_promoted_canary_goes_on_as_the_stable_revision(yard: Yard) -> None:
    yard.apply(model="m:1", canary={"model": "m@next", "weight": 0.1})
    status = yard.step("all")
    first, canary = status.revision, canary_of(status).revision
    yard.apply(model="m@next", canary={"model": "m@next", "weight": 0.1})
    status = yard.step("all")
    assert status.revision == canary, "its replicas are warm already"
    assert canary_of(status).phase == "same"
    assert first not in yard.target.applied
    assert yard.served().canary is None
    assert yard.target.applied[canary][1] == 1


def test_a_canary_that_answers_as_the_stable_one_keeps_its_replicas(yard: Yard) -> None:
    yard.apply(model="m:1", replicas=3)
    first = yard.step("all").revision
    yard.apply(model="m@next", replicas=3, canary={"model": "m:1", "weight": 0.1, "replicas": 1})
    status = yard.step(first)
    assert status.revision == first, "the new one is not ready"
    assert canary_of(status).phase == "same"
    assert yard.target.applied[first][1] == 3, "it still answers everything"
    status = yard.step("all")
    assert (status.revision != first, canary_of(status).revision) == (True, first)
    assert yard.target.applied[first][1] == 1


def test_outside_canaries(yard: Yard) -> None:
    urls = {"name": "openai", "urls": ["http://a/v1"]}
    second = {"name": "openai", "urls": ["http://b/v1", "http://c/v1"]}
    yard.apply(engine=urls, canary={"engine": second, "weight": 0.5})
    yard.problems = {"http://c/v1": "it answers 500"}
    status = yard.step()
    assert (status.phase, canary_of(status).phase) == ("ready", "degraded")
    assert [(one.id, one.url) for one in canary_of(status).endpoints] == [
        ("bot/canary/0", "http://b/v1")
    ]
    assert status.endpoints[0].id == "bot/0"
    yard.problems = {"http://b/v1": "it answers 500", "http://c/v1": "it answers 500"}
    status = yard.step()
    assert canary_of(status).phase == "failed"
    assert yard.served().canary is None


def test_a_launch_that_the_target_refuses_is_the_canarys_alone(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.apply(canary=CANARY)
    yard.step("all")
    accept = yard.target.apply

    def refuse(revision: str, spec: LaunchSpec, replicas: int) -> None:
        if revision == canary_of(yard.status()).revision:
            raise Conflict(f"revision {revision} runs with another launch spec")
        accept(revision, spec, replicas)

    monkeypatch.setattr(yard.target, "apply", refuse)
    status = yard.step("all")
    assert status.phase == "ready"
    assert canary_of(status).phase == "invalid"


def test_the_status_names_what_has_no_effect(yard: Yard) -> None:
    yard.apply("spare")
    yard.apply(fallback=["spare"])
    status = yard.step("all")
    assert (status.phase, status.message) == ("ready", "")
    yard.services.delete(T, "spare", "ada", force=True)
    status = yard.step("all")
    assert status.phase == "ready"
    assert status.message == "spec.fallback: no service 'spare', so it has no effect"
    assert yard.served().fallbacks == ()
    yard.apply("spare")
    assert yard.step("all").message == ""
    assert [one.service for one in yard.served().fallbacks] == ["spare"]


def test_statuses_go_with_their_services(yard: Yard) -> None:
    yard.apply(canary=CANARY)
    yard.step("all")
    yard.services.delete(T, "bot", "ada")
    yard.run("all")
    assert yard.meta.get(Key(T, STATUS_KIND, "bot")) is None
    assert yard.target.applied == {}


def test_secrets_of_a_canary_are_not_shown(yard: Yard) -> None:
    yard.apply(canary=CANARY)
    yard.step("all")
    shown = yard.services.get(T, "bot")["status"]
    assert shown["canary"]["endpoints"][0]["api_key"] == "(hidden)"
    assert shown["endpoints"][0]["api_key"] == "(hidden)"
    assert canary_of(yard.status()).endpoints[0].api_key not in str(shown)


def test_a_start_of_the_platform_forgets_replicas_of_both(yard: Yard) -> None:
    yard.apply(canary=CANARY)
    status = forgotten(yard.step("all"))
    assert (status.phase, status.endpoints, status.replicas) == ("starting", (), ())
    assert canary_of(status).endpoints == ()
    assert canary_of(status).weight == 0.25
    urls = {"name": "openai", "urls": ["http://a/v1"]}
    yard.apply("outside", engine=urls)
    yard.step("all")
    assert forgotten(yard.status("outside")) == yard.status("outside")
