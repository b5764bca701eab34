"""What happens after a failure: who is left alone and for how long, what is tried again, where."""

from modelyard import errors

UNAVAILABLE = "unavailable"
TIMEOUT = "timeout"
ERROR = "error"
RATE_LIMITED = "rate_limited"
CONTEXT_LENGTH = "context_length"
CLASSES = (UNAVAILABLE, TIMEOUT, ERROR, RATE_LIMITED, CONTEXT_LENGTH)
"""The classes of failures by which fallbacks are chosen."""


def class_of(error: errors.ModelyardError, status: int = 0) -> str:
    """The class of a failure; empty for what is the client's own mistake. `status` is that of the
    upstream's answer, 0 when there was none."""
    if error.code == "context_length_exceeded":
        return CONTEXT_LENGTH
    if isinstance(error, errors.TimedOut) or status in (408, 504) or error.code in _TIMEOUTS:
        return TIMEOUT
    if status == 429:
        return RATE_LIMITED
    if isinstance(error, errors.Unavailable) or status == 503 or error.code in _UNREACHED:
        return UNAVAILABLE
    return ERROR if isinstance(error, errors.Upstream) else ""


_TIMEOUTS = frozenset({"connect_timeout"})
_UNREACHED = frozenset({"connect_failed", "upstream_closed"})


def backoff_s(base_s: float, retry: int, draw: float) -> float:
    """The pause before retry number `retry` (from 1): evenly drawn up to a bound that doubles, so
    that those who failed together do not come back together ("full jitter", AWS Architecture Blog
    2015). `draw` is a random number from 0 to 1."""
    return min(base_s * float(1 << min(retry - 1, 6)), 2.0) * draw


class RetryBudget:
    """Retries as a share of the requests: when everything fails, retries must not multiply the
    load (Google SRE Book, ch. 21). `share` of each request is saved up, at most for `cap` retries;
    one retry a second is always allowed."""

    __slots__ = ("_last_s", "_saved", "share")
    CAP = 20.0
    FLOOR_PER_S = 1.0

    def __init__(self, share: float) -> None:
        self.share = share
        self._saved = self.CAP / 2
        self._last_s = 0.0

    def request(self) -> None:
        """A new request came."""
        saved = self._saved + self.share
        self._saved = saved if saved < self.CAP else self.CAP

    def take(self, now_s: float) -> bool:
        """Whether one more retry may be made now; it is counted."""
        if self._last_s:
            gained = (now_s - self._last_s) * self.FLOOR_PER_S
            self._saved = min(self.CAP, self._saved + max(0.0, gained))
        self._last_s = now_s
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


class Breaker:
    """Keeps requests away from an endpoint that fails, and lets one try it out (half open).

    Each failure in a row doubles the pause. An endpoint that fails often but not always is
    ejected as well: by the share of failures among its latest answers. Nothing here says that
    no endpoint is left: the caller fails open.
    """

    __slots__ = (
        "_disproved_s",
        "_others_open_s",
        "_others_until_s",
        "failures",
        "open_until_s",
        "probing",
        "share",
        "watched",
    )
    PAUSE_S = 0.5
    MAX_PAUSE_S = 10.0
    MEMORY = 0.05
    """Weight of one answer in the share of failures: about the last 20 count."""
    OUTLIER_SHARE = 0.5

    def __init__(self) -> None:
        self.failures = 0
        """In a row."""
        self.share = 0.0
        self.open_until_s = 0.0
        self._others_until_s = 0.0
        self._others_open_s = 0.0
        self._disproved_s = 0.0
        """What others said up to this was disproved by an answer."""
        self.watched = False
        """Whether `shut` may say yes: as long as nothing failed, nobody need ask."""
        self.probing = False
        """Whether one request tries out, after a failure, if it works again."""

    def failed(self, now_s: float, retry_after_s: float = 0.0) -> None:
        """It did not answer as it should; `retry_after_s` is how long it asked to be left alone."""
        self.watched = True
        self.failures += 1
        self.share += (1.0 - self.share) * self.MEMORY
        doubled = self.PAUSE_S * float(1 << min(self.failures - 1, 10))
        pause_s = min(doubled, self.MAX_PAUSE_S)
        if self.share >= self.OUTLIER_SHARE:
            pause_s = self.MAX_PAUSE_S
        self.open_until_s = now_s + max(pause_s, retry_after_s)

    def succeeded(self) -> None:
        """It works: one good answer closes it, unless it fails about every second time."""
        self.share -= self.share * self.MEMORY
        self.failures = 0
        self._disproved_s, self._others_until_s = self._others_open_s, 0.0
        if self.share < self.OUTLIER_SHARE:
            self.open_until_s = 0.0
            self.watched = self.probing

    def others_say(self, open_until_s: float, until_s: float) -> None:
        """Until when the breakers of other gateway processes of the machine are open, 0 when none
        is; and until when this process is to leave it alone for that."""
        self._others_open_s = open_until_s
        self._others_until_s = until_s if open_until_s > self._disproved_s else 0.0
        self.watched = self.watched or self._others_until_s > 0

    @property
    def doubted(self) -> bool:
        """Whether the next request tries out if it works: it failed here, or for others."""
        return self.failures > 0 or self._others_until_s > 0

    def shut(self, now_s: float) -> bool:
        """Whether it should get no request now."""
        return self.open_until_s > now_s or self._others_until_s > now_s or self.probing
