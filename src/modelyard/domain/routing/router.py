"""All that one gateway process knows for routing one service, and the work it has under way."""

from collections.abc import Sequence

from modelyard.domain.routing.candidates import Candidate
from modelyard.domain.routing.prefixes import (
    BLOCK_BYTES,
    LIMIT_BYTES,
    NOTHING,
    Belief,
    PrefixIndex,
)
from modelyard.domain.routing.rules import Choice, Request, Rule

TOKENS_PER_BYTE = 0.25
"""Until the first usage is reported; English text has about four bytes a token."""
_RATIO_WEIGHT = 1 / 32
STALE_AFTER = 64
"""Observations of the others, per candidate, after which a learnt rate begins to drift."""
DRIFT = 0.1
GONE = -1
"""Number of a candidate that was removed."""
NO_MATCHES: list[int] = []
SHORT_BYTES = 1024
"""Shorter prompts, of about 256 tokens, are not looked up among the prefixes and not remembered:
what is cached of them saves an engine less than the wait for anything else."""


class Router:
    """One per service. `process`, the number of the gateway process, shifts its turns against those
    of the others, so that equal choices of all of them do not fall on one endpoint."""

    def __init__(
        self,
        rule: Rule,
        limit_bytes: int = LIMIT_BYTES,
        *,
        process: int = 0,
        block_bytes: int = BLOCK_BYTES,
        short_bytes: int = SHORT_BYTES,
    ) -> None:
        self.rule = rule
        self.short_bytes = short_bytes
        self.index = PrefixIndex(limit_bytes, block_bytes)
        self.candidates: list[Candidate] = []
        self.tokens_per_byte = TOKENS_PER_BYTE
        self._turn = process
        self._unmatched = NO_MATCHES
        """Zeros, for every number that a candidate has."""
        self._reports = 0
        self._visited = 0

    # --- endpoints -------------------------------------------------------------------------

    def add(self, endpoint_id: str, slots: int = 0) -> Candidate:
        """A candidate of which nothing is known. `slots` 0: unknown."""
        candidate = Candidate(endpoint_id, slots, self.index.add())
        self.candidates.append(candidate)
        self._unmatched = [0] * (candidate.number + 1 + len(self._unmatched))
        return candidate

    def remove(self, candidate: Candidate) -> None:
        """The endpoint is no longer the service's; its requests may still end."""
        self.candidates.remove(candidate)
        self.index.remove(candidate.number)
        candidate.number = GONE

    def restarted(self, candidate: Candidate) -> None:
        """The engine behind it began anew, with nothing cached."""
        self.index.forget(candidate.number)

    # --- requests --------------------------------------------------------------------------

    def choose(
        self,
        prompt: bytes,
        now_s: float,
        session: bytes = b"",
        candidates: Sequence[Candidate] | None = None,
    ) -> Choice:
        """Decide. `candidates`, at least one, are those that may be used; all if not given."""
        usable = self.candidates if candidates is None else candidates
        self._turn += 1
        if len(usable) == 1:
            return Choice(0, [], "the only one")
        matched = self.index.match(prompt) if self.looks_up(prompt) else self._unmatched
        request = Request(len(prompt), matched, self.tokens_per_byte, now_s, session)
        return self.rule.choose(usable, request, self._turn)

    def looks_up(self, prompt: bytes) -> bool:
        """Whether prefixes matter for this prompt."""
        return self.rule.uses_prefixes and len(prompt) >= self.short_bytes

    def dispatch(self, candidate: Candidate, prompt: bytes, now_s: float) -> "Work":
        """Count the request, just before it is sent to that candidate. Prefixes are remembered
        only where there is something to choose."""
        belief = NOTHING
        if self.looks_up(prompt) and len(self.candidates) > 1 and candidate.number != GONE:
            belief = self.index.insert(prompt, candidate.number)
        return Work(self, candidate, prompt, belief, now_s)

    # --- learning --------------------------------------------------------------------------

    def observed(self, candidate: Candidate, tokens: float, seconds: float) -> None:
        """Learn a candidate's rate, and let that of one other fade if nothing was heard of it for
        long: an endpoint that once looked slow gets another chance."""
        candidate.observe(tokens, seconds)
        candidate.stale = 0
        if not self.candidates:
            return
        self._visited = (self._visited + 1) % len(self.candidates)
        other = self.candidates[self._visited]
        other.stale += 1
        if other.stale > STALE_AFTER and other.rate and candidate.rate:
            other.drift(candidate.rate, DRIFT)

    def sized(self, prompt_bytes: int, tokens: int) -> None:
        """Learn tokens per byte of prompt."""
        if prompt_bytes and tokens:
            self._reports += 1
            weight = max(_RATIO_WEIGHT, 1 / self._reports)
            self.tokens_per_byte += (tokens / prompt_bytes - self.tokens_per_byte) * weight


class Work:
    """One request at one endpoint, from just before it is sent until it is over."""

    __slots__ = (
        "_belief",
        "_crowded",
        "_first_s",
        "_number",
        "_prompt",
        "_router",
        "_sent_s",
        "_tokens",
        "_took_s",
        "candidate",
    )

    def __init__(
        self, router: Router, candidate: Candidate, prompt: bytes, belief: Belief, now_s: float
    ) -> None:
        self._router = router
        self.candidate = candidate
        self._prompt = prompt
        self._belief = belief
        self._sent_s = now_s
        self._first_s = -1.0
        self._took_s = 0.0
        """In prefill, as far as one can tell: since it was sent, or since the first token before
        it. 0 when nothing is to be learnt from it: all slots were taken."""
        self._crowded = 0 < candidate.slots <= candidate.in_flight
        self._tokens = tokens = (len(prompt) - belief.held) * router.tokens_per_byte
        self._number = candidate.enter(tokens, now_s)

    def first_token(self, now_s: float) -> None:
        """The first token came; of answers that are not generated (embeddings), the answer.

        Do not call it for a generated answer that comes whole: its time says little of prefill,
        and nothing must be learnt from it.
        """
        if self._first_s >= 0:
            return
        self._first_s = now_s
        since_s = self.candidate.prefilled(self._number, now_s)
        self._took_s = 0.0 if self._crowded else now_s - max(since_s, self._sent_s)
        if not self._belief.held:
            self._router.observed(self.candidate, self._tokens, self._took_s)

    def finished(self, now_s: float, tokens: int = 0, cached: int | None = None) -> None:
        """It ended well. `tokens` and `cached` of the prompt as the engine reports them; 0 and
        None when it does not."""
        candidate = self.candidate
        if self._first_s < 0:
            candidate.prefilled(self._number, now_s)
        else:
            candidate.held(now_s - self._first_s)
        candidate.leave()
        if tokens:
            self._router.sized(len(self._prompt), tokens)
        if self._belief.remembered:
            self._compare(tokens, cached)

    def _compare(self, tokens: int, cached: int | None) -> None:
        """Belief and report. How long prefill took says something of the rate only with what was
        truly cached, so where anything was believed to be, this waits for the report."""
        candidate, router, work = self.candidate, self._router, self._tokens
        if tokens and cached is not None:
            work = float(tokens - cached)
            if candidate.number != GONE:
                found = int(cached / tokens * len(self._prompt))
                router.index.learn(candidate.number, self._belief, found)
        if self._belief.held:
            router.observed(candidate, work, self._took_s)

    def cancelled(self, now_s: float) -> None:
        """It failed, or nobody wants it any more. What had not been read is not cached."""
        candidate = self.candidate
        if self._first_s < 0:
            candidate.prefilled(self._number, now_s)
            if candidate.number != GONE and self._router.looks_up(self._prompt):
                held = self._belief.held
                self._router.index.withdraw(self._prompt, candidate.number, held)
        candidate.leave()
