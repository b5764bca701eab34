"""What becomes of a service: pure functions from plans and replicas to the stored status.

A service has a stable revision and perhaps a canary beside it. Whatever happens to the canary
changes nothing about the stable one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from modelyard.control.upstreams import Served
from modelyard.domain.services import CanarySpec
from modelyard.domain.snapshot import Endpoint
from modelyard.errors import ModelyardError
from modelyard.ports.engine import LaunchSpec, ReplicaState, ResolvedModel
from modelyard.ports.meta import Document


class Plan(NamedTuple):
    """What one revision of a service is, resolved."""

    revision: str
    spec: LaunchSpec
    replicas: int
    model: ResolvedModel | None
    says: Mapping[str, Any] = {}
    """Fields of endpoints on which the document has the last word."""


Planned = Plan | ModelyardError
"""A plan, or why there is none."""


class CanaryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The canary as it is; it takes its share of the requests once it has `endpoints`."""

    weight: float
    sticky: str
    phase: str
    message: str = ""
    revision: str = ""
    model: str = ""
    model_version: str = ""
    model_digest: str = ""
    engine: str = ""
    replicas: tuple[ReplicaState, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()


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
    canary: CanaryStatus | None = None


def status_of(
    document: Document, plan: Planned, before: Status, states: Sequence[ReplicaState]
) -> Status:
    """The status of a service whose replicas are ours.

    A new revision takes over when as many of its replicas are ready as it needs, or when the
    former one has none left to answer.
    """
    former = [state for state in states if state.revision == before.revision and before.revision]
    if isinstance(plan, ModelyardError):
        return _keep(before, document, former, "invalid", _why(plan))
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
        endpoints=tuple(_endpoint(state.id, state.url, plan) for state in ready),
    )


def outside(document: Document, plan: Plan, problems: Mapping[str, str]) -> Status:
    """The status of a service whose endpoints are outside URLs; `problems` by URL."""
    phase, message = _phase_outside(plan, problems)
    return Status(
        generation=document.generation,
        phase=phase,
        message=message,
        revision=plan.revision,
        desired_revision=plan.revision,
        **_named(plan),
        endpoints=_outside_endpoints(document.key.name, plan),
    )


def provided(document: Document, plan: Plan, served: Served, said: Mapping[str, str]) -> Status:
    """The status of a service whose upstreams are models of providers. `said` is what was found
    wrong with an endpoint, by its id, and empty where it is well; one that was not asked yet is
    not in it."""
    phase, message = _phase_provided(served, said)
    return Status(
        generation=document.generation,
        phase=phase,
        message=message,
        revision=plan.revision,
        desired_revision=plan.revision,
        **_named(plan),
        endpoints=_said(plan, served.endpoints),
    )


def canary_of(
    name: str,
    spec: CanarySpec,
    plan: Planned,
    stable: Status,
    states: Sequence[ReplicaState],
    problems: Mapping[str, str],
    served: Served | None = None,
) -> CanaryStatus:
    """The status of the canary beside a stable revision; `problems` of outside URLs by URL, of
    what providers have `served` by endpoint id. Unlike the stable revision, which has nothing
    better, it answers with nothing that looks broken."""
    share: dict[str, Any] = {"weight": spec.weight, "sticky": spec.sticky}
    if isinstance(plan, ModelyardError):
        return CanaryStatus(**share, phase="invalid", message=_why(plan))
    named = {**share, **_named(plan), "revision": plan.revision}
    if plan.revision in (stable.revision, stable.desired_revision):
        return CanaryStatus(**named, phase="same", message="it is the stable revision itself")
    if served is not None:
        phase, message = _phase_provided(served, problems)
        sound = [one for one in served.endpoints if not problems.get(one.id)]
        endpoints = _said(plan, sound)
        return CanaryStatus(**named, phase=phase, message=message, endpoints=endpoints)
    if not plan.spec.launches:
        phase, message = _phase_outside(plan, problems)
        well = [
            endpoint
            for endpoint in _outside_endpoints(f"{name}/canary", plan)
            if endpoint.url not in problems
        ]
        return CanaryStatus(**named, phase=phase, message=message, endpoints=tuple(well))
    wanted = [state for state in states if state.revision == plan.revision]
    phase, message = _phase(plan, wanted)
    return CanaryStatus(
        **named,
        phase=phase,
        message=message,
        replicas=_tidy(wanted),
        endpoints=tuple(_endpoint(state.id, state.url, plan) for state in _ready(wanted)),
    )


def forgotten(status: Status) -> Status:
    """What is left of a status when the platform starts: replicas of ours ended with the former
    supervisor, outside URLs are as good as they were."""
    canary = status.canary
    if canary is not None and canary.replicas:
        canary = msgspec.structs.replace(canary, **_STARTED)
    own = _STARTED if status.replicas else {}
    return msgspec.structs.replace(status, canary=canary, **own)


_STARTED: dict[str, Any] = {
    "phase": "starting",
    "message": "the platform was started",
    "replicas": (),
    "endpoints": (),
}


def _why(error: ModelyardError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _phase_outside(plan: Plan, problems: Mapping[str, str]) -> tuple[str, str]:
    message = "; ".join(f"{url}: {problem}" for url, problem in problems.items())
    if not problems:
        return "ready", message
    return "degraded" if len(problems) < len(plan.spec.urls) else "failed", message


def _phase_provided(served: Served, said: Mapping[str, str]) -> tuple[str, str]:
    ids = [endpoint.id for endpoint in served.endpoints]
    sick = [f"{one}: {said[one]}" for one in ids if said.get(one)]
    message = "; ".join((*served.problems, *sick))
    if not ids:
        return "invalid", message
    if message:
        return ("failed" if len(sick) == len(ids) else "degraded"), message
    return ("ready", "") if any(one in said for one in ids) else ("starting", "asks the provider")


def _said(plan: Plan, endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """With what the service's document says of them, if it says anything."""
    if not plan.says:
        return tuple(endpoints)
    return tuple(msgspec.structs.replace(one, **plan.says) for one in endpoints)


def _outside_endpoints(prefix: str, plan: Plan) -> tuple[Endpoint, ...]:
    """`<prefix>/<n>` for each URL; the canary's ids are never those of the stable revision."""
    found = (
        _endpoint(f"{prefix}/{number}", url, plan) for number, url in enumerate(plan.spec.urls)
    )
    return _said(plan, found)


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


def _endpoint(identity: str, url: str, plan: Plan) -> Endpoint:
    spec = plan.spec
    found = Endpoint(
        id=identity,
        url=url,
        api_key=spec.api_key,
        upstream_model=spec.upstream_model,
        cancels_without_stream=spec.cancels_without_stream,
        tells_prompt=spec.tells_prompt,
        slots=spec.slots,
        dialects=spec.dialects,
        capabilities=spec.capabilities,
        keeps=spec.keeps,
        lacks=spec.lacks,
    )
    return _said(plan, (found,))[0]


def _ready(states: Sequence[ReplicaState]) -> list[ReplicaState]:
    return [state for state in states if state.phase == "ready"]


def _tidy(states: Sequence[ReplicaState]) -> tuple[ReplicaState, ...]:
    """Without what changes all the time: a status is written only when something happened."""
    return tuple(msgspec.structs.replace(state, memory_bytes=0) for state in states)
