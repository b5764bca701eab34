"""The rules that choose an endpoint, behind one Protocol. Pure: equal input, equal choice.

`turn` is a number that grows with every decision of a service. It only breaks ties, which take
turns: the search begins at `turn` modulo the number of candidates and keeps the first best. Python
counts negative positions from the end, so `range(start - n, start)` visits all, beginning there.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Protocol

from modelyard.domain.routing.candidates import Candidate, seed_of
from modelyard.errors import Invalid

_MASK = (1 << 64) - 1


class Request:
    """What a rule knows of a request."""

    __slots__ = ("matched", "now_s", "session", "size_bytes", "tokens_per_byte")

    def __init__(
        self,
        size_bytes: int,
        matched: list[int],
        tokens_per_byte: float,
        now_s: float = 0.0,
        session: bytes = b"",
    ) -> None:
        self.now_s = now_s
        self.size_bytes = size_bytes
        self.matched = matched
        """Bytes of its prefix that each candidate holds, by `Candidate.number`."""
        self.tokens_per_byte = tokens_per_byte
        self.session = session


class Choice:
    """Which candidate, and why: for the record of the request."""

    __slots__ = ("index", "scores", "why")

    def __init__(self, index: int, scores: list[float], why: str) -> None:
        self.index = index
        """In the candidates that were given."""
        self.scores = scores
        """By candidate, in the rule's own unit; empty when the rule has none."""
        self.why = why

    @property
    def reason(self) -> str:
        """One line for people."""
        if not self.scores:
            return self.why
        others = sorted(self.scores[: self.index] + self.scores[self.index + 1 :])
        own = f"{self.why}: {self.scores[self.index]:.4g}"
        return f"{own}, the others {others[0]:.4g} to {others[-1]:.4g}" if others else own


class Rule(Protocol):
    """A way to choose. `uses_prefixes` says whether matches have to be looked up for it."""

    uses_prefixes: bool

    def choose(self, candidates: Sequence[Candidate], request: Request, turn: int) -> Choice:
        """One of the candidates, of which there is at least one."""


class RoundRobin:
    """One after the other."""

    uses_prefixes = False

    def choose(self, candidates: Sequence[Candidate], request: Request, turn: int) -> Choice:
        """See Rule."""
        return Choice(turn % len(candidates), [], "its turn")


class LeastLoad:
    """The fewest requests in flight per slot."""

    uses_prefixes = False

    def choose(self, candidates: Sequence[Candidate], request: Request, turn: int) -> Choice:
        """See Rule."""
        return _least(candidates, turn, "in flight per slot")


class Session:
    """Every session has an order of its own over the candidates (rendezvous hashing, Thaler and
    Ravishankar 1998); it goes to the first that is not loaded beyond `bound` times the mean
    (consistent hashing with bounded loads, Mirrokni et al. 2018). Without a session: least load.
    """

    uses_prefixes = False

    def __init__(self, bound: float = 1.25) -> None:
        self.bound = bound

    def choose(self, candidates: Sequence[Candidate], request: Request, turn: int) -> Choice:
        """See Rule."""
        loads = [load_of(one) for one in candidates]
        if not request.session:
            return _first_least(loads, turn, "no session; in flight per slot")
        key = seed_of(request.session)
        limit = self.bound * (sum(loads) + 1 / slots_of(candidates)) / len(loads)
        order = sorted(
            range(len(candidates)), key=lambda at: mixed(key, candidates[at].seed), reverse=True
        )
        for place, index in enumerate(order):
            if loads[index] + 1 / max(1, candidates[index].slots) <= limit or not loads[index]:
                why = "its session's own" if not place else f"its session's choice {place + 1}"
                return Choice(index, loads, f"{why}; in flight per slot")
        return _first_least(loads, turn, "all of its session's are full; in flight per slot")


class Prefix:
    """`matched/prompt - beta * (load - mean) / max(1, mean)`, the greatest; as vLLM's
    production-stack weighs them in its load-aware prefix routing."""

    uses_prefixes = True

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def choose(self, candidates: Sequence[Candidate], request: Request, turn: int) -> Choice:
        """See Rule."""
        mean = sum([one.in_flight for one in candidates]) / len(candidates)
        weight = self.beta / max(1.0, mean)
        size, matched = max(1, request.size_bytes), request.matched
        scores = [
            weight * (one.in_flight - mean) - matched[one.number] / size for one in candidates
        ]
        return _first_least(scores, turn, "load beyond the mean less share of the prefix")


class CacheAware:
    """The published rule of SMG (formerly sglang's router), for comparison: more than half of the
    prompt matched: the least loaded of those that hold it, unless that is loaded above 1.1 times
    the mean and above the mean + 32; else the least loaded of all."""

    uses_prefixes = True
    share = 0.5
    relative = 1.1
    absolute = 32

    def choose(self, candidates: Sequence[Candidate], request: Request, turn: int) -> Choice:
        """See Rule."""
        loads = [float(one.in_flight) for one in candidates]
        held = [request.matched[one.number] for one in candidates]
        longest = max(held)
        if longest <= self.share * request.size_bytes:
            return _first_least(loads, turn, "no holder; in flight")
        mean = sum(loads) / len(loads)
        among = [at for at, length in enumerate(held) if length == longest]
        best = min(among, key=lambda at: (loads[at], (at - turn) % len(loads)))
        if loads[best] > self.relative * mean and loads[best] > mean + self.absolute:
            return _first_least(loads, turn, "its holders are overloaded; in flight")
        return Choice(best, loads, "holds the prefix; in flight")


class FirstToken:
    """The least predicted time to the first token, in seconds: what is queued there and what of
    the request is not cached there, over the learnt rate, and the wait for a slot where all are
    taken.

    `foresight` counts the request's uncached work so many times more, at the usual rate: others
    will wait for it too, and it drives out what is cached. `decode_tokens` is the work that each
    request in flight stands for, because decoding slows prefill down; it decides where prefill is
    short.
    """

    uses_prefixes = True
    same = 0.2
    """Rates that differ less from the usual one are taken for it: noise is no faster engine."""
    trust = 0.5
    """Of a larger difference so much is believed. A rate that is wrong by a factor of two then does
    little harm, and where it is right, the queues tell the rest."""

    def __init__(self, foresight: float = 2.0, decode_tokens: float = 16.0) -> None:
        self.unknowing = Prefix()
        """Decides as long as no rate is known: least load, where nothing matches either."""
        self.foresight = foresight
        self.decode_tokens = decode_tokens

    def choose(self, candidates: Sequence[Candidate], request: Request, turn: int) -> Choice:
        """See Rule."""
        rates = [one.rate for one in candidates if one.rate]
        if not rates:
            return self.unknowing.choose(candidates, request, turn)
        usual = sum(rates) / len(rates)
        low, high = usual * (1 - self.same), usual * (1 + self.same)
        again, decode_tokens, trust = self.foresight / usual, self.decode_tokens, self.trust
        size, per_byte = request.size_bytes, request.tokens_per_byte
        matched, now_s = request.matched, request.now_s
        scores = []
        for one in candidates:
            rate = one.rate
            rate = usual if not rate or low < rate < high else usual + trust * (rate - usual)
            own = (size - matched[one.number]) * per_byte
            in_flight = one.in_flight
            work = one.queued + own + decode_tokens * in_flight
            if head := one.head:
                # The oldest is under way; never more than that, so that an engine which stands
                # still does not look idle.
                done = (now_s - one.head_s) * rate
                work -= done if done < head else head
            score = work / rate + own * again
            if 0 < one.slots <= in_flight:
                score += (in_flight + 1 - one.slots) * one.hold_s / one.slots
            scores.append(score)
        return _first_least(scores, turn, "seconds to the first token")


def load_of(candidate: Candidate) -> float:
    """Requests in flight per slot."""
    return candidate.in_flight / (candidate.slots or 1)


def slots_of(candidates: Sequence[Candidate]) -> float:
    """Slots of one candidate, on average."""
    return sum(one.slots or 1 for one in candidates) / len(candidates)


def mixed(session: int, seed: int) -> int:
    """The weight of a candidate for a session: 64 bits, well spread (the finaliser of
    SplitMix64, Steele et al. 2014)."""
    value = session ^ seed
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _least(candidates: Sequence[Candidate], turn: int, why: str) -> Choice:
    return _first_least([load_of(one) for one in candidates], turn, why)


def _first_least(scores: list[float], turn: int, why: str) -> Choice:
    count = len(scores)
    start = turn % count
    least = min(scores)
    if scores[start] != least:
        start = next(at for at in range(start - count, start) if scores[at] == least) % count
    return Choice(start, scores, why)


RULES: dict[str, Callable[[], Rule]] = {
    "first_token": FirstToken,
    "prefix": Prefix,
    "least_load": LeastLoad,
    "round_robin": RoundRobin,
    "session": Session,
    "cache_aware": CacheAware,
}


def rule_named(name: str, beta: float = 1.0) -> Rule:
    """The rule of that name; `beta` is for `prefix`. Raises Invalid with the nearest name."""
    if name == "prefix":
        return Prefix(beta)
    if name not in RULES:
        near = difflib.get_close_matches(name, RULES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(RULES)}"
        raise Invalid(f"unknown routing rule {name!r}", hint=hint)
    return RULES[name]()
