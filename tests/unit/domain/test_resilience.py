"""After a failure: pauses, trials, budgets, and which kind of failure it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard import errors
from modelyard.domain.resilience import Breaker, RetryBudget, backoff_s, class_of


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.Upstream("x", code="context_length_exceeded"), 400, "context_length"),
        (errors.TimedOut("x"), 0, "timeout"),
        (errors.Upstream("x", code="connect_timeout"), 0, "timeout"),
        (errors.Upstream("x"), 504, "timeout"),
        (errors.Upstream("x"), 429, "rate_limited"),
        (errors.Unavailable("x"), 0, "unavailable"),
        (errors.Upstream("x"), 503, "unavailable"),
        (errors.Upstream("x", code="connect_failed"), 0, "unavailable"),
        (errors.Upstream("x"), 500, "error"),
        (errors.Invalid("x"), 0, ""),
    ],
)
def test_the_class_of_a_failure(error: errors.ModelyardError, status: int, kind: str) -> None:
    assert class_of(error, status) == kind


@given(st.integers(1, 50), st.floats(0, 1))
def test_a_pause_is_bounded_and_grows(retry: int, draw: float) -> None:
    assert 0 <= backoff_s(0.025, retry, draw) <= min(0.025 * 2 ** (retry - 1), 2.0) + 1e-9
    assert backoff_s(0.025, retry + 1, draw) >= backoff_s(0.025, retry, draw)


def test_retries_are_a_share_of_the_requests_once_the_first_few_are_spent() -> None:
    budget = RetryBudget(0.2)
    while budget.take(100.0):
        continue
    taken = 0
    for _ in range(1000):
        budget.request()
        taken += budget.take(100.0)
    assert 195 <= taken <= 200
    assert not budget.take(100.0)
    assert budget.take(101.1), "one a second is always allowed"
    assert not budget.take(101.1)
    assert not budget.take(90.0), "a clock that goes back gives nothing"


def test_a_breaker_doubles_its_pause_up_to_a_bound_and_closes_at_once() -> None:
    breaker, pauses = Breaker(), []
    for _ in range(9):
        breaker.failed(0.0)
        pauses.append(breaker.open_until_s)
    assert pauses == [0.5, 1, 2, 4, 8, 10, 10, 10, 10]
    assert breaker.shut(9.9)
    assert not breaker.shut(10.1)
    breaker.succeeded()
    assert not breaker.shut(0.0)


def test_an_endpoint_is_left_alone_as_long_as_it_asked() -> None:
    breaker = Breaker()
    breaker.failed(100.0, retry_after_s=30.0)
    assert breaker.shut(129.9)
    assert not breaker.shut(130.1)


def test_one_that_fails_every_second_time_is_ejected() -> None:
    breaker = Breaker()
    now_s = 0.0
    for _ in range(200):
        breaker.failed(now_s)
        breaker.failed(now_s)
        breaker.succeeded()
        now_s += 1.0
    assert breaker.shut(now_s), "though its last answer was good"
    for _ in range(20):
        breaker.succeeded()
    assert not breaker.shut(now_s)
