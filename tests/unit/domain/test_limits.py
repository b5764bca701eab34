"""Windows, budgets, scopes, headers and refusals: the decisions, in virtual time."""

from collections import Counter as Tally
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.limits import (
    Amounts,
    Counter,
    Denied,
    Standing,
    budget,
    refusals,
    rows,
    said,
    window,
)
from modelyard.domain.limits.scopes import counters
from modelyard.domain.limits.window import BUCKET_US, RING
from modelyard.domain.snapshot import AccessKey, Bounds, Limit

NOW_US = 1_800_000_000_000_000
SECOND_US = 1_000_000


def memory() -> "memoryview[int]":
    return memoryview(bytearray(rows.ROW_WORDS * 8)).cast("Q")


def sums(words: "memoryview[int]") -> tuple[int, int]:
    """What the rings hold, added up: the totals must say the same."""
    requests, tokens = window.REQUESTS_RING, window.TOKENS_RING
    return sum(words[requests : requests + RING]), sum(words[tokens : tokens + RING])


# --- windows --------------------------------------------------------------------------------------


@given(
    bound=st.integers(1, 8),
    steps=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 3_000_000), st.integers(0, 70_000_000)),  # time passes
            st.one_of(st.just(0), st.integers(-3_600_000_000, 0)),  # the clock is set back
            st.integers(1, 10),  # requests that come then
        ),
        max_size=40,
    ),
)
def test_never_more_than_the_bound_in_any_minute_of_true_time(
    bound: int, steps: list[tuple[int, int, int]]
) -> None:
    words = memory()
    one = rows.row(Counter("a", Bounds(requests_per_minute=bound), "a"), 0, 0, 1)
    true_us, clock_us, admitted = 0, NOW_US, []
    for passed_us, set_back_us, asks in steps:
        true_us += passed_us
        clock_us += passed_us + set_back_us
        for _ in range(asks):
            if rows.admits(words, one, 0, 0, clock_us // BUCKET_US, clock_us):
                rows.take(words, one, 0, 0)
                admitted.append(true_us)
        assert sums(words) == (words[window.REQUESTS], 0)
    for begin_us in admitted:
        assert sum(begin_us <= at < begin_us + 60 * SECOND_US for at in admitted) <= bound
    clock_us += (RING + window.JITTER) * BUCKET_US
    for _ in range(bound):
        assert rows.admits(words, one, 0, 0, clock_us // BUCKET_US, clock_us), "and it is reached"
        rows.take(words, one, 0, 0)
    assert not rows.admits(words, one, 0, 0, clock_us // BUCKET_US, clock_us)


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 20_000_000), st.integers(0, 60), st.integers(0, 90), st.booleans()
        ),
        max_size=40,
    )
)
def test_tokens_of_a_minute_are_the_bound_and_what_was_used_beyond_the_reservation(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    words, bound = memory(), 100
    one = rows.row(Counter("a", Bounds(tokens_per_minute=bound), "a"), 0, 0, 1)
    now_us, open_leases, counted = NOW_US, [], []  # counted: [at, tokens], as they are known
    for passed_us, reserve, use, settle_first in steps:
        now_us += passed_us
        if settle_first and open_leases:
            entry, bucket, reserved = open_leases.pop()
            rows.correct(words, one, bucket, reserved, use, now_us)
            entry[1] = min(use, reserved)
        if rows.admits(words, one, reserve, 0, now_us // BUCKET_US, now_us):
            rows.take(words, one, reserve, 0)
            counted.append([now_us, reserve])
            open_leases.append((counted[-1], now_us // BUCKET_US, reserve))
        assert sums(words) == (0, words[window.TOKENS])
    for begin_us, _ in counted:
        in_window = [n for at, n in counted if begin_us <= at < begin_us + 60 * SECOND_US]
        assert sum(in_window) <= bound
    later_us = now_us + RING * BUCKET_US
    assert window.counted(words, 0, later_us // BUCKET_US) == (0, 0)


def test_reading_ahead_is_the_same_as_going_there() -> None:
    words = memory()
    window.advance(words, 0, 1000)
    for bucket in range(1000, 1100, 7):
        window.advance(words, 0, bucket)
        window.add(words, 0, 1, 10)
    for bucket in (1098, 1120, 1125, 1160, 1218, 1300):
        ahead = window.counted(words, 0, bucket)
        window.advance(words, 0, bucket)
        assert ahead == (words[window.REQUESTS], words[window.TOKENS]) == sums(words)
    assert window.drained(words, 0, 1300)


def test_totals_are_made_anew_after_a_kill_between_two_stores() -> None:
    words = memory()
    window.advance(words, 0, 5)
    window.add(words, 0, 2, 30)
    words[window.REQUESTS_RING + 5] += 1  # the ring was written, the total was not
    window.repair(words, 0)
    assert (words[window.REQUESTS], words[window.TOKENS]) == (3, 30)


def test_a_lease_from_before_the_clock_was_set_back_gives_nothing_back() -> None:
    words = memory()
    one = rows.row(Counter("a", Bounds(tokens_per_minute=100), "a"), 0, 0, 1)
    assert rows.admits(words, one, 100, 0, 10_000, 10_000 * BUCKET_US)
    rows.take(words, one, 100, 0)
    rows.admits(words, one, 1, 0, 5_000, 5_000 * BUCKET_US)
    rows.correct(words, one, 10_000, 100, 0, 5_000 * BUCKET_US)
    assert words[window.TOKENS] == 100


# --- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per", "now", "ends"),
    [
        ("day", (2027, 1, 15, 8), (2027, 1, 16)),
        ("day", (2024, 2, 29, 0), (2024, 3, 1)),
        ("week", (2027, 1, 15, 8), (2027, 1, 18)),
        ("week", (2027, 1, 18, 0), (2027, 1, 25)),
        ("week", (2027, 1, 17, 23), (2027, 1, 18)),
        ("month", (2027, 1, 31, 23), (2027, 2, 1)),
        ("month", (2027, 12, 1, 0), (2028, 1, 1)),
    ],
)
def test_periods_end_with_the_calendar(
    per: str, now: tuple[int, ...], ends: tuple[int, ...]
) -> None:
    def us(moment: tuple[int, ...]) -> int:
        return int(datetime(*moment, tzinfo=UTC).timestamp()) * SECOND_US  # type: ignore[misc,arg-type]

    assert budget.period_ends_us(per, us(now)) == us(ends)
    word = budget.period(per, us(now))
    assert (budget.ends_us(word), budget.per(word)) == (us(ends), per)


def test_a_period_rolls_forwards_only() -> None:
    january = budget.period("month", NOW_US)
    assert budget.rolled(0, "month", NOW_US) == (january, True)
    assert budget.rolled(january, "month", NOW_US + SECOND_US) == (january, False)
    february = NOW_US + 20 * budget.DAY_US
    word, anew = budget.rolled(january, "month", february)
    assert anew
    assert budget.rolled(word, "month", NOW_US) == (word, False), "the clock was set back"
    assert budget.rolled(january, "day", NOW_US) == (budget.period("day", NOW_US), False)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["reserve", "settle", "next day", "restart"]),
            st.integers(0, 40), st.integers(0, 2),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_budgets_over_processes(steps: list[tuple[str, int, int]]) -> None:
    """Spent and held never exceed the budget when reservations are honest, whatever dies."""
    words, bound = memory(), 100
    counter = Counter("a", Bounds(budget_nano_usd=bound, budget_per="day", concurrency=9), "a")
    columns = [rows.row(counter, 0, process, 3) for process in range(3)]
    now_us, spent, open_leases = NOW_US, 0, []
    for what, money, process in steps:
        if what == "reserve" and rows.admits(
            words, columns[process], 0, money, now_us // BUCKET_US, now_us
        ):
            rows.take(words, columns[process], 0, money)
            open_leases.append((process, money))
        elif what == "settle" and open_leases:
            owner, reserved = open_leases.pop(0)
            used = min(money, reserved)
            rows.release(words, columns[owner], reserved, used, now_us)
            spent += used
        elif what == "next day":
            now_us, spent = now_us + budget.DAY_US, 0
        elif what == "restart":
            for owner, reserved in open_leases:
                if owner == process:
                    rows.settle_for(
                        words, 0, owner, reserved, place=True, budget=True, now_us=now_us
                    )
                    spent += reserved
            open_leases = [lease for lease in open_leases if lease[0] != process]
            rows.forget(words, 0, process)
            columns[process] = rows.row(counter, 0, process, 3)
        assert spent + sum(money for _, money in open_leases) <= bound
        assert rows.spent_money(words, columns[0], now_us) == spent
        assert rows.open_requests(words, columns[0]) == len(open_leases) <= 9
    for owner, reserved in open_leases:
        rows.release(words, columns[owner], reserved, reserved, now_us)
    assert rows.open_requests(words, columns[0]) == 0
    assert rows.held_money(words, columns[0]) == 0


def test_what_processes_spent_that_exist_no_more_is_not_lost() -> None:
    words = memory()
    counter = Counter("a", Bounds(budget_nano_usd=100, concurrency=3), "a")
    columns = [rows.row(counter, 0, process, 3) for process in range(3)]
    for column in columns:
        assert rows.admits(words, column, 0, 20, NOW_US // BUCKET_US, NOW_US)
        rows.take(words, column, 0, 20)
    for column in columns[1:]:
        rows.release(words, column, 20, 10, NOW_US)
    rows.fold(words, 0, 0, 1, NOW_US)
    alone = rows.row(counter, 0, 0, 1)
    assert rows.spent_money(words, alone, NOW_US) == 20
    assert rows.open_requests(words, alone) == 1
    rows.fold(words, 0, 0, 1, NOW_US)
    assert rows.spent_money(words, alone, NOW_US) == 20


def test_a_row_can_go_when_nobody_misses_it() -> None:
    words = memory()
    bounds = Bounds(requests_per_minute=5, concurrency=1, budget_nano_usd=9, budget_per="day")
    one = rows.row(Counter("a", bounds, "a"), 0, 0, 1)
    assert rows.idle(words, 0, NOW_US)
    assert rows.admits(words, one, 0, 3, NOW_US // BUCKET_US, NOW_US)
    rows.take(words, one, 0, 3)
    tomorrow_us = NOW_US + budget.DAY_US
    assert not rows.idle(words, 0, tomorrow_us), "a request is open"
    rows.release(words, one, 3, 3, NOW_US)
    assert not rows.idle(words, 0, NOW_US + RING * BUCKET_US), "money was spent today"
    assert rows.idle(words, 0, tomorrow_us)


def test_a_refusal_counts_what_was_given_to_others() -> None:
    words = memory()
    one = rows.row(Counter("a", Bounds(requests_per_minute=5, tokens_per_minute=50), "a"), 0, 0, 1)
    assert refusals.refusal(words, one, 50, 0, NOW_US) is None
    denied = refusals.refusal(words, one, 50, 0, NOW_US, Amounts(requests=5))
    assert denied is not None
    assert (denied.bound, denied.remaining, denied.retry_after_s) == (
        "requests",
        0,
        refusals.SOON_S,
    )
    denied = refusals.refusal(words, one, 50, 0, NOW_US, Amounts(tokens=10))
    assert denied is not None
    assert (denied.bound, denied.remaining) == ("tokens", 40)


# --- which counters -------------------------------------------------------------------------------


def key(**fields: object) -> AccessKey:
    known = {"id": "k1", "digest": "", "tenant": "t", "role": "caller", "team": "blue"}
    return AccessKey(**{**known, **fields})  # type: ignore[arg-type]


def limit(name: str, **fields: object) -> Limit:
    known = {"tenant": "t", "bounds": Bounds(requests_per_minute=1)}
    return Limit(name=name, **{**known, **fields})  # type: ignore[arg-type]


def test_the_counters_of_a_request() -> None:
    limits = [
        limit("all"), limit("blue", team="blue"), limit("red", team="red"),
        limit("support", service="support"), limit("other", service="other"),
        limit("both", team="blue", service="support"), limit("not", team="blue", service="other"),
        limit("each-key", each="key"), limit("each-team", each="team"),
        limit("each-person", each="person"), limit("each-service", team="blue", each="service"),
        limit("elsewhere", tenant="u"), limit("empty", bounds=Bounds()),
    ]  # fmt: skip
    own = Bounds(concurrency=3)
    found = counters(limits, key(bounds=own), "support")
    assert [(one.id, one.what) for one in found] == [
        ("key:k1", "key k1"),
        ("limit:t/all", "limit all"),
        ("limit:t/blue", "limit blue"),
        ("limit:t/support", "limit support"),
        ("limit:t/both", "limit both"),
        ("limit:t/each-key:key=k1", "limit each-key of key k1"),
        ("limit:t/each-team:team=blue", "limit each-team of team blue"),
        ("limit:t/each-service:service=support", "limit each-service of service support"),
    ]
    assert found[0].bounds is own
    assert Tally(one.id for one in found).most_common(1)[0][1] == 1
    ada = counters([limit("each-person", each="person")], key(person="ada"), "support")
    assert [one.id for one in ada] == ["limit:t/each-person:person=ada"]
    assert counters([], key(bounds=Bounds()), "support") == ()


# --- what clients are told ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0s"), (1, "1ms"), (120_000, "120ms"), (999_000, "999ms"), (999_001, "1s"),
        (1_500_000, "1.5s"), (59_999_000, "59.999s"), (60_000_000, "1m0s"),
        (60_500_000, "1m0.5s"), (360_000_000, "6m0s"),
    ],
)  # fmt: skip
def test_durations_look_as_openai_writes_them(us: int, text: str) -> None:
    assert said.duration(us) == text


def test_headers_of_a_standing() -> None:
    assert said.headers(Standing()) == b""
    requests = said.headers(Standing(100, 99, 121))
    assert requests == (
        b"x-ratelimit-limit-requests: 100\r\nx-ratelimit-remaining-requests: 99\r\n"
        b"x-ratelimit-reset-requests: 1m0.5s\r\n"
    )
    tokens = said.headers(Standing(0, 0, 0, 1000, 0, 2))
    assert tokens == (
        b"x-ratelimit-limit-tokens: 1000\r\nx-ratelimit-remaining-tokens: 0\r\n"
        b"x-ratelimit-reset-tokens: 1s\r\n"
    )
    assert said.headers(Standing(100, 99, 121, 1000, 0, 2)) == requests + tokens


WHO = Counter("key:k1", Bounds(budget_per="day"), "key k1")


@pytest.mark.parametrize(
    ("denied", "code", "words"),
    [
        (Denied(WHO, "requests", 9, 0, 1, 2.0), "rate_limit_exceeded",
         "key k1: all 9 requests per minute are used; try again in 2s"),
        (Denied(WHO, "tokens", 100, 40, 50, 2.5), "rate_limit_exceeded",
         "key k1: the request may use 50 tokens, and 40 of 100 tokens per minute are left;"
         " try again in 2.5s, or set a lower max_tokens"),
        (Denied(WHO, "tokens", 100, 40, 500, 2.5, gone=True), "rate_limit_exceeded",
         "key k1: the request may use 500 tokens, and 40 of 100 tokens per minute are left;"
         " it never fits: set a lower max_tokens or send less"),
        (Denied(WHO, "concurrency", 4, 0, 1, 1.0), "rate_limit_exceeded",
         "key k1: all 4 requests that may be open at once are open;"
         " try again when one of them has ended"),
        (Denied(WHO, "budget", 10**10, 10**7, 10**8, 1.0), "insufficient_quota",
         "key k1: the request may cost $0.10, and $0.01 of the budget of $10.00 a day is left;"
         " open requests hold the rest: try again in a moment, or lower max_tokens"),
        (Denied(WHO, "budget", 10**10, 10**7, 10**8, 99.0, True, NOW_US), "insufficient_quota",
         "key k1: the request may cost $0.10, and $0.01 of the budget of $10.00 a day is left;"
         " lower max_tokens, or wait until the budget renews at 2027-01-15 08:00 UTC"),
        (Denied(WHO, "budget", 10**10, 0, 1234, 99.0, True), "insufficient_quota",
         "key k1: the request may cost $0.000001234, and $0.00 of the budget of $10.00 a day is"
         " left; raise the budget: it does not renew"),
        (Denied(WHO, "price", 10**10, 0, 0, 99.0, True), "price_unknown",
         "key k1: it has a budget, and what this service costs is not known;"
         " give the service a price (spec.price), or set `unknown_price: allow` in the limit"),
    ],
)  # fmt: skip
def test_refusals_say_who_what_and_what_to_do(denied: Denied, code: str, words: str) -> None:
    error = said.refusal(denied)
    assert (error.code, f"{error.message}; {error.hint}") == (code, words)
    assert error.retry_after_s == min(120.0, denied.retry_after_s)
    assert error.worth_retrying is not denied.gone
