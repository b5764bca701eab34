"""An endpoint as a routing rule sees it: what it has to do, and how fast it was seen to do it."""

import hashlib

FORGET = 31 / 32
"""How much of what was observed is kept at each new observation: the last thirty count most."""
SURE_AFTER = 4
"""Observations after which one that does not fit is taken for an outlier and cut."""
OUTLIER = 4.0
"""An observation may differ from what was expected by this factor, no more."""
HOLD_WEIGHT = 1 / 16


class Candidate:
    """One endpoint in one gateway process. Work is counted in tokens of prefill.

    `in_flight` and `queued` are over all gateway processes: `own_*` is what this process adds to
    them and publishes, the rest is what `see` last read of the others.
    """

    __slots__ = (
        "_last",
        "_products",
        "_squares",
        "_waiting",
        "head",
        "head_s",
        "hold_s",
        "id",
        "in_flight",
        "last_s",
        "number",
        "observations",
        "own_in_flight",
        "own_queued",
        "queued",
        "rate",
        "seed",
        "slots",
        "stale",
        "weight",
    )

    def __init__(self, endpoint_id: str, slots: int = 0, number: int = 0) -> None:
        self.id = endpoint_id
        self.slots = slots
        """Requests it works on at once; 0 when unknown."""
        self.number = number
        """Of this holder in the prefix index."""
        self.weight = 1.0
        """Share of the requests beside the others, for the rule that draws by it."""
        self.seed = seed_of(endpoint_id.encode())
        self.in_flight = 0
        self.own_in_flight = 0
        self.queued = 0.0
        """Tokens that were sent and whose first token has not come."""
        self.own_queued = 0.0
        self.rate = 0.0
        """Tokens of prefill a second, as learnt; 0 as long as nothing is known."""
        self.hold_s = 0.0
        """How long a request holds its slot after its first token, on average."""
        self.observations = 0
        self.stale = 0
        """Observations of other candidates since its own last one; kept by the router."""
        self.head = 0.0
        """Work of the oldest request of ours that waits for its first token: it is under way."""
        self.head_s = 0.0
        """Since when."""
        self.last_s = 0.0
        """Of the last first token."""
        self._waiting: dict[int, float] = {}
        self._last = 0
        self._squares = 0.0
        self._products = 0.0

    # --- work ------------------------------------------------------------------------------

    def enter(self, tokens: float, now_s: float) -> int:
        """Count a request before it is sent, with the prefill work it brings; answers a number
        for it."""
        waiting = self._waiting
        if not waiting:
            self.head, self.head_s = tokens, now_s
        self._last = number = self._last + 1
        waiting[number] = tokens
        self.in_flight += 1
        self.own_in_flight += 1
        self.queued += tokens
        self.own_queued += tokens
        return number

    def prefilled(self, number: int, now_s: float) -> float:
        """Its first token came, or it was given up: the work no longer waits. Answers when this
        was last called: before that the engine was at another request of ours."""
        since_s = self.last_s
        self.last_s = now_s
        waiting = self._waiting
        tokens = waiting.pop(number)
        left = self.queued - tokens
        self.queued = left if left > 0 else 0.0
        if waiting:
            self.own_queued -= tokens
            self.head = next(iter(waiting.values()))
        else:
            self.own_queued = self.head = 0.0
        self.head_s = now_s
        return since_s

    def leave(self) -> None:
        """The request is over."""
        self.own_in_flight -= 1
        self.in_flight -= 1

    def see(self, in_flight: int, queued: float) -> None:
        """What the other gateway processes have there, as they last published it."""
        self.in_flight = self.own_in_flight + in_flight
        self.queued = self.own_queued + queued

    # --- learning --------------------------------------------------------------------------

    def observe(self, tokens: float, seconds: float) -> None:
        """A prefill of `tokens` took `seconds`.

        The rate is the least-squares slope through the origin over the recent past, so that long
        prompts count most: of a short one's time little is prefill. An outlier is cut to `OUTLIER`
        times what was expected, which lets a true change through within a few observations.
        """
        if tokens <= 0 or seconds <= 0:
            return
        if self.observations >= SURE_AFTER:
            expected_s = tokens / self.rate
            seconds = min(max(seconds, expected_s / OUTLIER), expected_s * OUTLIER)
        self._squares = self._squares * FORGET + tokens * tokens
        self._products = self._products * FORGET + tokens * seconds
        self.rate = self._squares / self._products
        self.observations += 1

    def held(self, seconds: float) -> None:
        """A request ended that long after its first token."""
        weight = HOLD_WEIGHT if self.hold_s else 1.0
        self.hold_s += (seconds - self.hold_s) * weight

    def drift(self, rate: float, weight: float) -> None:
        """Move the learnt rate towards another: what was learnt long ago is worth less."""
        self._products *= (self.rate / rate) ** weight
        self.rate = self._squares / self._products


def seed_of(key: bytes) -> int:
    """64 bits of a key, the same in every process."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
