"""One revision of a service: the endpoints that answer for it, and the router that chooses."""

from collections.abc import Iterable
from typing import NamedTuple

from modelyard.domain import snapshot as snapshots
from modelyard.domain.routing import Candidate, Choice, Router, rule_named
from modelyard.gateway.endpoints import Endpoint

_MOST_TOLD = 8
"""Candidates whose scores a record tells."""


class Pick(NamedTuple):
    """The endpoint for a request; where there was something to choose, why this one."""

    endpoint: Endpoint
    candidate: Candidate | None = None
    choice: Choice | None = None
    among: tuple[Candidate, ...] | list[Candidate] = ()


class Variant:
    """See the module."""

    __slots__ = ("candidates", "endpoints", "price", "revision", "router", "rule", "slots")

    def __init__(
        self, revision: snapshots.Revision, endpoints: list[Endpoint], router: Router, rule: str
    ) -> None:
        self.revision = revision
        self.price = revision.price
        self.endpoints = endpoints
        self.slots = min((endpoint.slots for endpoint in endpoints), default=1)
        """Of one endpoint."""
        self.router = router
        self.rule = rule
        self.candidates: list[Candidate] = []
        """In the order of the endpoints."""

    @classmethod
    def of(
        cls,
        revision: snapshots.Revision,
        endpoints: list[Endpoint],
        routing: snapshots.Routing,
        before: "Variant | None",
        *,
        process: int,
        processes: int,
    ) -> "Variant":
        """The variant of a revision. What was learnt of its endpoints `before` is kept; a replica
        that was started anew begins with an empty cache."""
        rule = rule_named(routing.rule, routing.beta)
        if before is None:
            router = Router(rule, process=process, processes=processes)
        else:
            router = before.router
            router.rule = rule
        variant = cls(revision, endpoints, router, routing.rule)
        known = dict(zip(before.endpoints, before.candidates, strict=True)) if before else {}
        by_id = {endpoint.id: candidate for endpoint, candidate in known.items()}
        for endpoint in endpoints:
            candidate = known.get(endpoint)
            if candidate is None and endpoint.id in by_id:
                candidate = by_id[endpoint.id]
                router.restarted(candidate)
            variant.candidates.append(candidate or router.add(endpoint.id, endpoint.slots))
        for candidate in by_id.values():
            if candidate not in variant.candidates:
                router.remove(candidate)
        return variant

    def pick(
        self, prompt: bytes, session: bytes, now_s: float, tried: Iterable[Endpoint] = ()
    ) -> Pick | None:
        """Choose among the endpoints that work and were not tried by this request.

        Endpoints that are left alone after a failure are used when there is no other (it fails
        open), and then a single request tries each out. None: all were tried, or there is none.
        """
        endpoints = self.endpoints
        usable = [
            at
            for at, endpoint in enumerate(endpoints)
            if not endpoint.breaker.shut(now_s) and endpoint not in tried
        ]
        if len(usable) == len(endpoints) > 1:
            among = self.candidates
            choice = self.router.choose(prompt, now_s, session)
            return Pick(endpoints[choice.index], among[choice.index], choice, among)
        usable = usable or [at for at, endpoint in enumerate(endpoints) if endpoint not in tried]
        if not usable:
            return None
        if len(endpoints) == 1:
            return Pick(endpoints[0])
        among = [self.candidates[at] for at in usable]
        choice = self.router.choose(prompt, now_s, session, among)
        at = usable[choice.index]
        return Pick(endpoints[at], self.candidates[at], choice, among)

    def has_other(self, tried: list[Endpoint]) -> bool:
        """Whether there is an endpoint that this request did not try."""
        return any(endpoint not in tried for endpoint in self.endpoints)

    def see_others(self) -> None:
        """Take over what the other gateway processes have at the endpoints."""
        for endpoint, candidate in zip(self.endpoints, self.candidates, strict=True):
            load = endpoint.load
            candidate.see(load.others, float(load.others_waiting_tokens))

    def explain(self, pick: Pick) -> str:
        """For the record: the rule, what its scores mean, and the scores, the chosen one first."""
        choice = pick.choice
        if choice is None:
            return "the only endpoint"
        scores = choice.scores
        if not scores:
            return f"{self.rule}: {choice.why}"
        chosen = choice.index
        others = sorted((score, at) for at, score in enumerate(scores) if at != chosen)
        told = [(scores[chosen], chosen), *others[: _MOST_TOLD - 1]]
        shown = ", ".join([f"{pick.among[at].id} {score:.4g}" for score, at in told])
        return f"{self.rule}: {choice.why}: {shown}"
