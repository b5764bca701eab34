"""One revision of a service: the endpoints that answer for it, and the router that chooses."""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from modelyard.domain import snapshot as snapshots
from modelyard.domain.routing import Candidate, Choice, Router, Weighted, differ, rule_named
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

    __slots__ = (
        "_templates",
        "candidates",
        "endpoints",
        "prices",
        "revision",
        "router",
        "rule",
        "slots",
    )

    def __init__(
        self, revision: snapshots.Revision, endpoints: list[Endpoint], router: Router, rule: str
    ) -> None:
        self.revision = revision
        self.endpoints = endpoints
        self.prices = self._prices()
        """Of all that may answer; none when one of them is not known."""
        self.slots = min((endpoint.slots for endpoint in endpoints), default=1)
        """Of one endpoint."""
        self.router = router
        self.rule = rule
        self.candidates: list[Candidate] = []
        """In the order of the endpoints."""
        self._templates: dict[tuple[int, str], str] = {}

    def price_at(self, endpoint: Endpoint | None) -> snapshots.Price | None:
        """What an answer of that endpoint costs; None when nobody knows."""
        if self.revision.price is not None or endpoint is None:
            return self.revision.price
        return endpoint.spec.price

    def _prices(self) -> tuple[snapshots.Price, ...]:
        if self.revision.price is not None:
            return (self.revision.price,)
        known = [one.spec.price for one in self.endpoints if one.spec.price is not None]
        return tuple(known) if len(known) == len(self.endpoints) else ()

    @classmethod
    def of(
        cls,
        revision: snapshots.Revision,
        endpoints: list[Endpoint],
        routing: snapshots.Routing,
        before: "Variant | None",
        *,
        process: int,
    ) -> "Variant":
        """The variant of a revision. What was learnt of its endpoints `before` is kept; a replica
        that was started anew begins with an empty cache. Endpoints whose weights differ are drawn
        by them, whatever the rule is."""
        rule, name = rule_named(routing.rule, routing.beta), routing.rule
        if differ([endpoint.spec.weight for endpoint in endpoints]):
            rule, name = Weighted(), "weighted"
        if before is None:
            router = Router(rule, process=process)
        else:
            router = before.router
            router.rule = rule
        variant = cls(revision, endpoints, router, name)
        known = dict(zip(before.endpoints, before.candidates, strict=True)) if before else {}
        by_id = {endpoint.id: candidate for endpoint, candidate in known.items()}
        for endpoint in endpoints:
            candidate = known.get(endpoint)
            if candidate is None and endpoint.id in by_id:
                candidate = by_id[endpoint.id]
                router.restarted(candidate)
            candidate = candidate or router.add(endpoint.id, endpoint.spec.slots)
            candidate.weight = endpoint.spec.weight
            variant.candidates.append(candidate)
        for candidate in by_id.values():
            if candidate not in variant.candidates:
                router.remove(candidate)
        return variant

    def pick(
        self,
        prompt: bytes,
        session: bytes,
        now_s: float,
        tried: Sequence[Endpoint] = (),
    ) -> Pick | None:
        """Choose among the endpoints that work and were not tried by this request.

        Endpoints that are left alone after a failure are used when there is no other (it fails
        open), and then a single request tries each out. None: all were tried, or there is none.
        """
        endpoints = self.endpoints
        if not tried and not any(map(_watched, endpoints)):
            if len(endpoints) > 1:
                choice = self.router.choose(prompt, now_s, session, self.candidates)
                at = choice.index
                return Pick(endpoints[at], self.candidates[at], choice, self.candidates)
            return Pick(endpoints[0]) if endpoints else None
        return self._pick_of_some(prompt, session, now_s, tried)

    def _pick_of_some(
        self,
        prompt: bytes,
        session: bytes,
        now_s: float,
        tried: Sequence[Endpoint],
    ) -> Pick | None:
        untried = [at for at, endpoint in enumerate(self.endpoints) if endpoint not in tried]
        usable = [at for at in untried if not self.endpoints[at].breaker.shut(now_s)]
        usable = usable or self._least_failed(untried)
        if not usable:
            return None
        if len(self.endpoints) == 1:
            return Pick(self.endpoints[0])
        among = [self.candidates[at] for at in usable]
        choice = self.router.choose(prompt, now_s, session, among)
        at = usable[choice.index]
        return Pick(self.endpoints[at], self.candidates[at], choice, among)

    def _least_failed(self, untried: list[int]) -> list[int]:
        """Of endpoints that are all left alone: one that failed just once may be well, and one
        that is dead would cost every request a try, which the retry budget does not have."""
        failures = [self.endpoints[at].breaker.failures for at in untried]
        return [at for at, failed in zip(untried, failures, strict=True) if failed == min(failures)]

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
        if pick.among is not self.candidates or len(scores) > _MOST_TOLD:
            return self._template(choice, pick.among) % tuple(_chosen_first(choice))
        template = self._templates.get((choice.index, choice.why))
        if template is None:
            template = self._template(choice, self.candidates)
            self._templates[choice.index, choice.why] = template
        return template % tuple(_chosen_first(choice))

    def _template(self, choice: Choice, among: Sequence[Candidate]) -> str:
        ids = [candidate.id.replace("%", "%%") for candidate in among]
        at = choice.index
        ordered = [ids[at], *ids[:at], *ids[at + 1 :]][:_MOST_TOLD]
        return f"{self.rule}: {choice.why}: " + ", ".join([f"{one} %.4g" for one in ordered])


_watched = attrgetter("breaker.watched")


def _chosen_first(choice: Choice) -> list[float]:
    at, scores = choice.index, choice.scores
    return [scores[at], *scores[:at], *scores[at + 1 :]][:_MOST_TOLD]
