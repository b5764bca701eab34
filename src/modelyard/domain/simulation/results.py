"""What a run came to, in the figures that rules are compared by."""

from collections.abc import Sequence
from typing import NamedTuple

from modelyard.domain.simulation.simulator import Outcome

CURVE_POINTS = 100


class Summary(NamedTuple):
    """Figures of one run. Times are seconds from arrival to first token."""

    requests: int
    answered: int
    hit_rate: float
    """Share of all prompt tokens that were found in a prefix cache."""
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    balance: float
    """Time in prefill of the busiest replica over the mean; 1 is even."""
    utilisation: float
    """Share of the time that the replicas spent in prefill."""
    retried: int
    """Requests that were sent again because a replica failed."""
    curve_s: tuple[float, ...]
    """First-token times at CURVE_POINTS even quantiles, for a picture."""
    work: tuple[float, ...]
    """Share of the time in prefill, by replica."""


def summary(outcome: Outcome) -> Summary:
    """The figures of a run in which at least one request was answered."""
    answered = [job for job in outcome.jobs if job.first_token_s >= 0]
    times = sorted(job.first_token_s for job in answered)
    tokens = sum(job.arrival.tokens_input for job in answered)
    busy = [replica.busy_s for replica in outcome.replicas]
    return Summary(
        requests=len(outcome.jobs),
        answered=len(answered),
        hit_rate=sum(job.cached for job in answered) / tokens,
        mean_s=sum(times) / len(times),
        p50_s=quantile(times, 0.5),
        p90_s=quantile(times, 0.9),
        p99_s=quantile(times, 0.99),
        balance=max(busy) * len(busy) / sum(busy),
        utilisation=sum(busy) / len(busy) / outcome.span_s,
        retried=sum(1 for job in answered if job.tries > 1),
        curve_s=tuple(quantile(times, at / CURVE_POINTS) for at in range(CURVE_POINTS)),
        work=tuple(one / outcome.span_s for one in busy),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which that share of them lies; no interpolation."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
