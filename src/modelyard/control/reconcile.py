"""From service documents to running replicas, and back into each service's status.

The reconciler holds no truth: killed at any moment and started again, it finds documents in the
store and replicas at the target, and goes on.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from modelyard.control.documents import spec_of
from modelyard.control.leases import KIND as LEASE_KIND
from modelyard.control.leases import Lease
from modelyard.control.services import STATUS_KIND
from modelyard.control.status import (
    CanaryStatus,
    Plan,
    Planned,
    Status,
    canary_of,
    outside,
    provided,
    status_of,
)
from modelyard.control.upstreams import Served, Upstreams
from modelyard.domain import services
from modelyard.domain.documents import PROVIDER, SERVICE, references
from modelyard.domain.documents.references import Problem
from modelyard.domain.services import ServiceSpec, Variant
from modelyard.domain.snapshot import Endpoint
from modelyard.errors import Conflict, ModelyardError
from modelyard.ports.engine import Engine, LaunchSpec, ReplicaState, ResolvedModel, Target
from modelyard.ports.meta import ABSENT, Change, Commit, Document, Key, MetaStore, all_of

ACTOR = "reconciler"


class Asked(NamedTuple):
    """What a service document asks for, resolved."""

    stable: Planned
    canary: Planned | None = None
    spec: ServiceSpec | None = None
    """None where the document cannot be read any more."""

    @property
    def plans(self) -> Iterator[Plan]:
        """Those that can run."""
        return (plan for plan in (self.stable, self.canary) if isinstance(plan, Plan))


class Reconciler:
    """`step` compares and acts once. `resolve` finds a model version, `engine` an adapter;
    `probe` says what is wrong with outside URLs, `ask` what is wrong with endpoints of providers,
    which `upstreams` makes; `secret` makes the keys of our engines. All it writes is written under
    `lease`, so that one that was replaced writes nothing any more."""

    def __init__(
        self,
        meta: MetaStore,
        target: Target,
        *,
        resolve: Callable[[str, str], ResolvedModel],
        engine: Callable[[str], Engine],
        probe: Callable[[LaunchSpec], Mapping[str, str]],
        upstreams: Upstreams,
        ask: Callable[[Sequence[Endpoint]], Mapping[str, str]],
        secret: bytes,
        lease: Lease,
    ) -> None:
        self._meta = meta
        self._lease = lease
        self._target = target
        self._resolve = resolve
        self._engine = engine
        self._probe = probe
        self._upstreams = upstreams
        self._ask_all = ask
        self._secret = secret
        self._documents: list[Document] | None = None
        self._asked: dict[Key, Asked] = {}
        self._wrong: dict[Key, list[Problem]] = {}

    def see(self, commits: Sequence[Commit]) -> None:
        """Plan anew when somebody else has changed something."""
        ours = (STATUS_KIND, LEASE_KIND)
        if any(key.kind not in ours for commit in commits for key in commit.keys):
            self._documents = None

    def step(self) -> None:
        """Bring replicas and statuses one step nearer. Raises what the store or target raises."""
        self._upstreams.look()
        if self._documents is None:
            self._upstreams.see(all_of(self._meta, "*", PROVIDER))
            self._documents = all_of(self._meta, "*", SERVICE)
            self._asked = {document.key: self._ask(document) for document in self._documents}
            self._wrong = _wrong(self._documents)
        statuses = {one.key: one for one in all_of(self._meta, "*", STATUS_KIND)}
        self._apply_plans(statuses)
        states = self._target.replicas()
        wanted = {
            self._reconcile(document, statuses.pop(_status_key(document), None), states)
            for document in self._documents
        }
        self._remove(list(statuses.values()))
        wanted |= {plan.revision for asked in self._asked.values() for plan in asked.plans}
        for revision in {state.revision for state in states} - wanted:
            self._target.delete(revision)

    # --- planning --------------------------------------------------------------------------

    def _ask(self, document: Document) -> Asked:
        try:
            spec = services.parse(dict(document.body)).spec
        except ModelyardError as error:
            return Asked(error)
        stable = self._plan(document.key, spec.stable)
        canary = self._plan(document.key, spec.second) if spec.second else None
        return Asked(stable, canary, spec)

    def _plan(self, key: Key, variant: Variant) -> Planned:
        tenant, _, name = key
        engine = variant.engine
        try:
            model = self._resolve(tenant, variant.model) if variant.model else None
            launch = self._engine(engine.name).plan(model, engine.options)
        except ModelyardError as error:
            return error
        resolved: dict[str, Any] = {
            "tenant": tenant,
            "engine": engine.name,
            "options": engine.options,
            "model": f"{model.name}:{model.version}" if model else "",
            "digest": model.digest if model else "",
        }
        if launch.upstreams:
            resolved["upstreams"] = self._upstreams.identity(tenant, launch.upstreams)
        revision = services.revision_id(name, resolved)
        if launch.launches:
            launch = msgspec.structs.replace(launch, api_key=self._engine_key(revision))
        replaced = {"keeps": engine.keeps, "lacks": engine.lacks, "dialects": engine.dialects}
        said = {name: value for name, value in replaced.items() if value is not None}
        return Plan(revision, launch, variant.replicas, model, said)

    def _engine_key(self, revision: str) -> str:
        """The same for a revision whenever it is planned, and known to nobody outside."""
        return hmac.new(self._secret, revision.encode(), hashlib.sha256).hexdigest()

    def _apply_plans(self, statuses: Mapping[Key, Document]) -> None:
        """A canary that is the revision which answers now gets no number of its own: the stable
        one needs all of its replicas until another has taken over."""
        for key, asked in self._asked.items():
            status = statuses.get(key._replace(kind=STATUS_KIND))
            answers = {plan.revision for plan in (asked.stable,) if isinstance(plan, Plan)}
            answers |= {status.body["revision"]} if status else set()
            stable, canary = self._applied(asked.stable), asked.canary
            if isinstance(canary, Plan) and canary.revision not in answers:
                canary = self._applied(canary)
            self._asked[key] = asked._replace(stable=stable, canary=canary)

    def _applied(self, plan: Planned) -> Planned:
        if isinstance(plan, Plan) and plan.spec.launches:
            try:
                self._target.apply(plan.revision, plan.spec, plan.replicas)
            except Conflict as error:
                return error
        return plan

    # --- one service -----------------------------------------------------------------------

    def _reconcile(
        self, document: Document, stored: Document | None, states: Sequence[ReplicaState]
    ) -> str:
        """Write the status if it changed; the revision that answers."""
        before = msgspec.convert(stored.body, Status) if stored else Status(generation=0, phase="")
        asked = self._asked[document.key]
        after = self._stable(document, asked.stable, before, states)
        after = msgspec.structs.replace(
            after,
            message="; ".join(filter(None, (after.message, *self._remarks(document.key)))),
            canary=self._canary(document.key, asked, after, states),
        )
        if after != before:
            reason = f"service {document.key.name} is {after.phase}"
            expected = stored.generation if stored else ABSENT
            change = Change(_status_key(document), msgspec.to_builtins(after), expected)
            self._lease.commit([change], ACTOR, reason)
        return after.revision

    def _stable(
        self, document: Document, plan: Planned, before: Status, states: Sequence[ReplicaState]
    ) -> Status:
        if isinstance(plan, ModelyardError) or plan.spec.launches:
            return status_of(document, plan, before, states)
        if plan.spec.upstreams:
            served = self._served(document.key, plan)
            return provided(document, plan, served, self._ask_all(served.endpoints))
        return outside(document, plan, self._probe(plan.spec))

    def _served(self, key: Key, plan: Plan, canary: str = "") -> Served:
        return self._upstreams.served(key.tenant, key.name + canary, plan.spec.upstreams)

    def _canary(
        self, key: Key, asked: Asked, stable: Status, states: Sequence[ReplicaState]
    ) -> CanaryStatus | None:
        plan, spec = asked.canary, asked.spec
        if plan is None or spec is None or spec.canary is None:
            return None
        problems: Mapping[str, str] = {}
        served = None
        if isinstance(plan, Plan) and plan.spec.upstreams:
            served = self._served(key, plan, "/canary")
            problems = self._ask_all(served.endpoints)
        elif isinstance(plan, Plan) and not plan.spec.launches:
            problems = self._probe(plan.spec)
        return canary_of(key.name, spec.canary, plan, stable, states, problems, served)

    def _remarks(self, key: Key) -> list[str]:
        return [f"{problem.text}, so it has no effect" for problem in self._wrong.get(key, ())]

    def _remove(self, statuses: Sequence[Document]) -> None:
        """Of services that are gone."""
        for status in statuses:
            change = Change(status.key, None, status.generation)
            self._lease.commit([change], ACTOR, f"service {status.key.name} was deleted")


def _status_key(document: Document) -> Key:
    return document.key._replace(kind=STATUS_KIND)


def _wrong(documents: Sequence[Document]) -> dict[Key, list[Problem]]:
    """References that cannot work, tenant by tenant."""
    specs: dict[str, dict[str, ServiceSpec | None]] = {}
    for document in documents:
        specs.setdefault(document.key.tenant, {})[document.key.name] = spec_of(document)
    return {
        Key(tenant, SERVICE, name): wrong
        for tenant, known in specs.items()
        for name, wrong in references.problems(known).items()
    }
