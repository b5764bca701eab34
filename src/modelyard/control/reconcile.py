"""From service documents to running replicas, and back into each service's status.

The reconciler holds no truth: killed at any moment and started again, it finds documents in the
store and replicas at the target, and goes on.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from modelyard.control.leases import KIND as LEASE_KIND
from modelyard.control.leases import Lease
from modelyard.control.services import KIND, STATUS_KIND
from modelyard.domain import services
from modelyard.domain.snapshot import Endpoint
from modelyard.errors import Conflict, ModelyardError
from modelyard.ports.engine import Engine, LaunchSpec, ReplicaState, ResolvedModel, Target
from modelyard.ports.meta import ABSENT, Change, Commit, Document, Key, MetaStore, all_of

ACTOR = "reconciler"


class Plan(NamedTuple):
    """What a service's document asks for, resolved."""

    revision: str
    spec: LaunchSpec
    replicas: int
    model: ResolvedModel | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The ServiceStatus document. `revision` is the one that answers, with its `endpoints`;
    `desired_revision` is what the document asks for, and takes over once it is ready."""

    generation: int
    phase: str
    message: str = ""
    revision: str = ""
    desired_revision: str = ""
    model: str = ""
    model_version: str = ""
    model_digest: str = ""
    engine: str = ""
    replicas: tuple[ReplicaState, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()


class Reconciler:
    """`step` compares and acts once. `resolve` finds a model version, `engine` an adapter;
    `probe` says what is wrong with outside URLs; `secret` makes the keys of our engines. All it
    writes is written under `lease`, so that one that was replaced writes nothing any more."""

    def __init__(
        self,
        meta: MetaStore,
        target: Target,
        *,
        resolve: Callable[[str, str], ResolvedModel],
        engine: Callable[[str], Engine],
        probe: Callable[[LaunchSpec], Mapping[str, str]],
        secret: bytes,
        lease: Lease,
    ) -> None:
        self._meta = meta
        self._lease = lease
        self._target = target
        self._resolve = resolve
        self._engine = engine
        self._probe = probe
        self._secret = secret
        self._documents: list[Document] | None = None
        self._plans: dict[Key, Plan | ModelyardError] = {}

    def see(self, commits: Sequence[Commit]) -> None:
        """Plan anew when somebody else has changed something."""
        ours = (STATUS_KIND, LEASE_KIND)
        if any(key.kind not in ours for commit in commits for key in commit.keys):
            self._documents = None

    def step(self) -> None:
        """Bring replicas and statuses one step nearer. Raises what the store or target raises."""
        if self._documents is None:
            self._documents = all_of(self._meta, "*", KIND)
            self._plans = {document.key: self._plan(document) for document in self._documents}
        self._apply_plans()
        states = self._target.replicas()
        kept = {self._reconcile(document, states) for document in self._documents}
        self._remove_statuses()
        wanted = kept | {plan.revision for plan in self._plans.values() if isinstance(plan, Plan)}
        for revision in {state.revision for state in states} - wanted:
            self._target.delete(revision)

    # --- planning --------------------------------------------------------------------------

    def _plan(self, document: Document) -> Plan | ModelyardError:
        tenant, _, name = document.key
        try:
            spec = services.parse(dict(document.body)).spec
            model = self._resolve(tenant, spec.model) if spec.model else None
            options = spec.engine.model_dump(exclude={"name"})
            launch = self._engine(spec.engine.name).plan(model, options)
        except ModelyardError as error:
            return error
        resolved = {
            "tenant": tenant,
            "engine": spec.engine.name,
            "options": options,
            "model": f"{model.name}:{model.version}" if model else "",
            "digest": model.digest if model else "",
        }
        revision = services.revision_id(name, resolved)
        if launch.launches:
            launch = msgspec.structs.replace(launch, api_key=self._engine_key(revision))
        return Plan(revision, launch, spec.replicas.min, model)

    def _engine_key(self, revision: str) -> str:
        """The same for a revision whenever it is planned, and known to nobody outside."""
        return hmac.new(self._secret, revision.encode(), hashlib.sha256).hexdigest()

    def _apply_plans(self) -> None:
        for key, plan in self._plans.items():
            if isinstance(plan, Plan) and plan.spec.launches:
                try:
                    self._target.apply(plan.revision, plan.spec, plan.replicas)
                except Conflict as error:
                    self._plans[key] = error

    # --- one service -----------------------------------------------------------------------

    def _reconcile(self, document: Document, states: Sequence[ReplicaState]) -> str:
        """Write the status if it changed; the revision that answers."""
        key = document.key._replace(kind=STATUS_KIND)
        stored = self._meta.get(key)
        before = msgspec.convert(stored.body, Status) if stored else Status(generation=0, phase="")
        plan = self._plans[document.key]
        if isinstance(plan, Plan) and not plan.spec.launches:
            after = outside(document, plan, self._probe(plan.spec))
        else:
            after = status_of(document, plan, before, states)
        if after != before:
            reason = f"service {document.key.name} is {after.phase}"
            expected = stored.generation if stored else ABSENT
            change = Change(key, msgspec.to_builtins(after), expected)
            self._lease.commit([change], ACTOR, reason)
        return after.revision

    def _remove_statuses(self) -> None:
        assert self._documents is not None
        alive = {document.key._replace(kind=STATUS_KIND) for document in self._documents}
        for status in all_of(self._meta, "*", STATUS_KIND):
            if status.key not in alive:
                change = Change(status.key, None, status.generation)
                self._lease.commit([change], ACTOR, f"service {status.key.name} was deleted")


def status_of(
    document: Document, plan: Plan | ModelyardError, before: Status, states: Sequence[ReplicaState]
) -> Status:
    """The status of a service whose replicas are ours.

    A new revision takes over when as many of its replicas are ready as it needs, or when the
    former one has none left to answer.
    """
    former = [state for state in states if state.revision == before.revision and before.revision]
    if isinstance(plan, ModelyardError):
        hint = f" ({plan.hint})" if plan.hint else ""
        return _keep(before, document, former, "invalid", plan.message + hint)
    wanted = [state for state in states if state.revision == plan.revision]
    ready = [state for state in wanted if state.phase == "ready"]
    phase, message = _phase(plan, wanted)
    takes_over = len(ready) >= plan.replicas or (ready and not _ready(former))
    if before.revision != plan.revision and _ready(former) and not takes_over:
        text = f"{before.revision} answers while {plan.revision} starts: {message}"
        phase = "failed" if phase == "failed" else "starting"
        kept = _keep(before, document, [*former, *wanted], phase, text)
        return msgspec.structs.replace(kept, desired_revision=plan.revision)
    return Status(
        generation=document.generation,
        phase=phase,
        message=message,
        revision=plan.revision,
        desired_revision=plan.revision,
        **_named(plan),
        replicas=_tidy(wanted),
        endpoints=tuple(_endpoint(state, plan.spec) for state in ready),
    )


def outside(document: Document, plan: Plan, problems: Mapping[str, str]) -> Status:
    """The status of a service whose endpoints are outside URLs; `problems` by URL."""
    urls = plan.spec.urls
    message = "; ".join(f"{url}: {problem}" for url, problem in problems.items())
    phase = "ready" if not problems else "degraded" if len(problems) < len(urls) else "failed"
    endpoints = tuple(
        Endpoint(
            id=f"{document.key.name}/{number}",
            url=url,
            api_key=plan.spec.api_key,
            upstream_model=plan.spec.upstream_model,
            cancels_without_stream=plan.spec.cancels_without_stream,
            slots=plan.spec.slots,
        )
        for number, url in enumerate(urls)
    )
    return Status(
        generation=document.generation,
        phase=phase,
        message=message,
        revision=plan.revision,
        desired_revision=plan.revision,
        **_named(plan),
        endpoints=endpoints,
    )


def _keep(
    before: Status, document: Document, states: Sequence[ReplicaState], phase: str, message: str
) -> Status:
    """The former revision goes on answering with what it has ready."""
    alive = {state.id: state.url for state in _ready(states)}
    return msgspec.structs.replace(
        before,
        generation=document.generation,
        phase=phase,
        message=message,
        replicas=_tidy(states),
        endpoints=tuple(end for end in before.endpoints if alive.get(end.id) == end.url),
    )


def _phase(plan: Plan, wanted: Sequence[ReplicaState]) -> tuple[str, str]:
    ready = len(_ready(wanted))
    reason = next((state.reason for state in wanted if state.reason and state.phase != "ready"), "")
    count = f"{ready} of {plan.replicas} replicas ready"
    message = f"{count}: {reason}" if reason else count
    if ready >= plan.replicas:
        return "ready", "" if plan.replicas else "scaled to zero"
    if ready:
        return "degraded", message
    if any(state.phase == "failed" for state in wanted):
        return "failed", message
    return "starting", message


def _named(plan: Plan) -> dict[str, Any]:
    model = plan.model
    return {
        "model": model.name if model else plan.spec.upstream_model,
        "model_version": f"{model.name}:{model.version}" if model else "",
        "model_digest": model.digest if model else "",
        "engine": plan.spec.engine,
    }


def _endpoint(state: ReplicaState, spec: LaunchSpec) -> Endpoint:
    return Endpoint(
        id=state.id,
        url=state.url,
        api_key=spec.api_key,
        upstream_model=spec.upstream_model,
        cancels_without_stream=spec.cancels_without_stream,
        slots=spec.slots,
    )


def _ready(states: Sequence[ReplicaState]) -> list[ReplicaState]:
    return [state for state in states if state.phase == "ready"]


def _tidy(states: Sequence[ReplicaState]) -> tuple[ReplicaState, ...]:
    """Without what changes all the time: a status is written only when something happened."""
    return tuple(msgspec.structs.replace(state, memory_bytes=0) for state in states)
