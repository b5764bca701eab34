"""The contract suite of ledgers: subclass it in a test module and give it a `ledger` fixture.

Time is virtual. A ledger that answers `Pending` is asked again after the time it named.
"""

from modelyard.domain.limits import Counter, Denied
from modelyard.domain.snapshot import Bounds
from modelyard.ports.ledger import Lease, Ledger, Pending

NOW_US = 1_800_000_000_000_000
"""2027-01-15 08:00 UTC, a Friday."""
SECOND_US = 1_000_000
MINUTE_US = 60_500_000
"""After so long, nothing that was counted before still is."""
DAY_US = 86_400 * SECOND_US
USD = 1_000_000_000


def counter(name: str = "a", **bounds: object) -> Counter:
    """A counter of its own with these bounds."""
    return Counter(f"key:{name}", Bounds(**bounds), f"key {name}")  # type: ignore[arg-type]


def ask(
    ledger: Ledger, counters: tuple[Counter, ...], now_us: int, tokens: int = 0,
    money: int | None = 0,
) -> Lease | Denied:  # fmt: skip
    """The ledger's answer, waited for in virtual time."""
    for _ in range(100):
        answer = ledger.reserve(counters, tokens, money, now_us)
        if not isinstance(answer, Pending):
            return answer
        assert 0 < answer.retry_in_s <= 1
        now_us += int(answer.retry_in_s * SECOND_US) + 1
    raise AssertionError("the ledger stays undecided")


def admitted(
    ledger: Ledger, counters: tuple[Counter, ...], now_us: int, tokens: int = 0,
    money: int | None = 0,
) -> Lease:  # fmt: skip
    """A lease, or the test fails."""
    answer = ask(ledger, counters, now_us, tokens, money)
    assert isinstance(answer, Lease), answer
    return answer


def denied(
    ledger: Ledger, counters: tuple[Counter, ...], now_us: int, tokens: int = 0,
    money: int | None = 0,
) -> Denied:  # fmt: skip
    """A refusal, or the test fails."""
    answer = ask(ledger, counters, now_us, tokens, money)
    assert isinstance(answer, Denied), answer
    return answer


class LedgerContract:
    """What every ledger promises."""

    def test_what_nothing_counts_is_admitted(self, ledger: Ledger) -> None:
        """Without counters there is always a lease, and it holds nothing."""
        lease = admitted(ledger, (), NOW_US, 10**9, None)
        assert lease.pack() == b""
        ledger.settle(lease, 5, 5, NOW_US)
        assert ledger.standing((), NOW_US).limit_requests == 0

    def test_requests_of_a_minute(self, ledger: Ledger) -> None:
        """N are admitted, no more, until the minute is over; then N again."""
        one = (counter(requests_per_minute=10),)
        for number in range(10):
            lease = admitted(ledger, one, NOW_US + number * SECOND_US)
            ledger.settle(lease, 0, 0, NOW_US + number * SECOND_US)
        now_us = NOW_US + 30 * SECOND_US
        answer = denied(ledger, one, now_us)
        assert (answer.bound, answer.limit, answer.remaining) == ("requests", 10, 0)
        assert answer.counter is one[0]
        assert not answer.gone
        assert 29 <= answer.retry_after_s <= 33, "a share may be reported a little later"
        later_us = now_us + int(answer.retry_after_s * SECOND_US) + 1
        again = [ask(ledger, one, later_us) for _ in range(10)]
        assert 1 <= sum(isinstance(answer, Lease) for answer in again) <= 3
        for _ in range(10):
            admitted(ledger, one, later_us + 2 * MINUTE_US)

    def test_tokens_are_corrected_to_what_was_used(self, ledger: Ledger) -> None:
        """Fewer come back at once; more count against the following requests."""
        one = (counter(tokens_per_minute=1000),)
        lease = admitted(ledger, one, NOW_US, 900)
        answer = denied(ledger, one, NOW_US, 900)
        assert (answer.bound, answer.remaining, answer.asked) == ("tokens", 100, 900)
        assert not answer.gone
        ledger.settle(lease, 100, 0, NOW_US + SECOND_US)
        lease = admitted(ledger, one, NOW_US + SECOND_US, 900)
        ledger.settle(lease, 2000, 0, NOW_US + 2 * SECOND_US)
        assert denied(ledger, one, NOW_US + 3 * SECOND_US, 1).remaining == 0
        admitted(ledger, one, NOW_US + 3 * SECOND_US + MINUTE_US, 1000)

    def test_what_never_fits_is_told_so(self, ledger: Ledger) -> None:
        """One request with more tokens than a minute has."""
        one = (counter(tokens_per_minute=1000),)
        assert denied(ledger, one, NOW_US, 1001).gone
        admitted(ledger, one, NOW_US, 1000)

    def test_places(self, ledger: Ledger) -> None:
        """So many are open at once; settling twice frees one place."""
        one = (counter(concurrency=2),)
        first, _ = admitted(ledger, one, NOW_US), admitted(ledger, one, NOW_US)
        answer = denied(ledger, one, NOW_US)
        assert (answer.bound, answer.limit, answer.gone) == ("concurrency", 2, False)
        assert 0 < answer.retry_after_s <= 5
        ledger.settle(first, 0, 0, NOW_US)
        ledger.settle(first, 0, 0, NOW_US)
        admitted(ledger, one, NOW_US)
        denied(ledger, one, NOW_US)

    def test_a_budget_is_held_then_spent_then_renewed(self, ledger: Ledger) -> None:
        """Held money may come back; spent money does before the period ends not."""
        one = (counter(budget_nano_usd=USD, budget_per="day"),)
        lease = admitted(ledger, one, NOW_US, money=USD * 6 // 10)
        answer = denied(ledger, one, NOW_US, money=USD * 6 // 10)
        assert (answer.bound, answer.gone, answer.limit) == ("budget", False, USD)
        assert answer.remaining == USD * 4 // 10
        ledger.settle(lease, 0, USD * 5 // 10, NOW_US)
        answer = denied(ledger, one, NOW_US, money=USD * 6 // 10)
        assert answer.gone
        assert answer.remaining == USD * 5 // 10
        assert answer.retry_after_s <= 120
        assert answer.renews_at_us == NOW_US - NOW_US % DAY_US + DAY_US
        ledger.settle(admitted(ledger, one, NOW_US, money=USD * 5 // 10), 0, USD // 2, NOW_US)
        assert denied(ledger, one, NOW_US, money=1).remaining == 0
        admitted(ledger, one, answer.renews_at_us, money=USD)

    def test_a_total_budget_does_not_renew(self, ledger: Ledger) -> None:
        """Ten years later it is still spent."""
        one = (counter(budget_nano_usd=USD, budget_per="total"),)
        ledger.settle(admitted(ledger, one, NOW_US, money=USD), 0, USD, NOW_US)
        answer = denied(ledger, one, NOW_US + 3650 * DAY_US, money=1)
        assert (answer.gone, answer.renews_at_us) == (True, 0)

    def test_many_first_requests_on_an_empty_budget(self, ledger: Ledger) -> None:
        """All at once they hold no more than the budget."""
        one = (counter(budget_nano_usd=USD),)
        answers = [ask(ledger, one, NOW_US, money=USD * 3 // 10) for _ in range(64)]
        assert sum(isinstance(answer, Lease) for answer in answers) == 3

    def test_unknown_prices(self, ledger: Ledger) -> None:
        """Refused under a budget, unless the document allows them; fine without one."""
        refusing = (counter("r", budget_nano_usd=USD),)
        answer = denied(ledger, refusing, NOW_US, money=None)
        assert (answer.bound, answer.gone) == ("price", True)
        allowing = (counter("w", budget_nano_usd=USD, unknown_price="allow"),)
        ledger.settle(admitted(ledger, allowing, NOW_US, money=None), 7, 0, NOW_US)
        admitted(ledger, allowing, NOW_US, money=USD)
        admitted(ledger, (counter("f", requests_per_minute=1),), NOW_US, money=None)

    def test_all_counters_or_none(self, ledger: Ledger) -> None:
        """What one counter refuses, the others do not count."""
        wide, tight = counter("wide", requests_per_minute=5), counter("tight", concurrency=1)
        both, alone = (wide, tight), (wide,)
        admitted(ledger, both, NOW_US)
        for _ in range(10):
            assert denied(ledger, both, NOW_US).counter is tight
        for _ in range(4):
            admitted(ledger, alone, NOW_US)
        denied(ledger, alone, NOW_US)

    def test_standing_is_the_tightest(self, ledger: Ledger) -> None:
        """For headers: the least of what is left, by kind."""
        both = (counter("x", requests_per_minute=100, tokens_per_minute=500),
                counter("y", requests_per_minute=10))  # fmt: skip
        admitted(ledger, both, NOW_US, 100)
        said = ledger.standing(both, NOW_US)
        assert (said.limit_requests, said.remaining_requests) == (10, 9)
        assert (said.limit_tokens, said.remaining_tokens) == (500, 400)
        assert 119 <= said.reset_requests <= 121
        assert said.reset_tokens == said.reset_requests
        later = ledger.standing(both, NOW_US + 30 * SECOND_US)
        assert 59 <= later.reset_requests <= 61

    def test_bounds_of_another_snapshot(self, ledger: Ledger) -> None:
        """The same id goes on counting under new bounds; open leases are settled as usual."""
        before = (counter(requests_per_minute=10, concurrency=5),)
        leases = [admitted(ledger, before, NOW_US) for _ in range(5)]
        after = (counter(requests_per_minute=6, concurrency=7),)
        admitted(ledger, after, NOW_US)
        assert denied(ledger, after, NOW_US).bound == "requests"
        for lease in leases:
            ledger.settle(lease, 0, 0, NOW_US)
        now_us = NOW_US + MINUTE_US
        ledger.tick(now_us)
        for _ in range(6):
            admitted(ledger, after, now_us)
        assert denied(ledger, after, now_us).bound in ("requests", "concurrency")

    def test_a_clock_that_is_set_back(self, ledger: Ledger) -> None:
        """What was counted stays counted for a minute, and for no hour."""
        one = (counter(requests_per_minute=3),)
        for _ in range(3):
            admitted(ledger, one, NOW_US)
        back_us = NOW_US - 3600 * SECOND_US
        assert denied(ledger, one, back_us).retry_after_s <= 61
        assert denied(ledger, one, back_us + 30 * SECOND_US).retry_after_s <= 31
        for _ in range(3):
            admitted(ledger, one, back_us + MINUTE_US)

    def test_usage_that_is_nonsense_breaks_nothing(self, ledger: Ledger) -> None:
        """An upstream may report anything."""
        one = (counter(tokens_per_minute=10, budget_nano_usd=USD, budget_per="day"),)
        ledger.settle(admitted(ledger, one, NOW_US, 1, 1), -5, -5, NOW_US)
        ledger.settle(admitted(ledger, one, NOW_US, 10, USD), 10**30, 10**30, NOW_US)
        assert denied(ledger, one, NOW_US, 1, 1).gone
        admitted(ledger, one, NOW_US + 2 * DAY_US, 10, USD)
