"""What a gateway process counts and learns over the life of requests."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.routing import Candidate, Router, rule_named
from modelyard.domain.routing.router import STALE_AFTER


def router(endpoints: int = 2, rule: str = "first_token") -> Router:
    made = Router(rule_named(rule), short_bytes=0)
    for number in range(endpoints):
        made.add(f"endpoint-{number}")
    return made


def prompt(number: int, size: int = 640) -> bytes:
    return Random(number).randbytes(size)


def test_a_request_is_counted_from_before_it_is_sent_until_its_end() -> None:
    routing = router()
    one, _ = routing.candidates
    work = routing.dispatch(one, prompt(1), 0.0)
    assert (one.in_flight, one.own_in_flight) == (1, 1)
    assert one.queued == one.own_queued == 160
    work.first_token(0.5)
    assert (one.in_flight, one.queued) == (1, 0)
    assert one.rate == pytest.approx(320)
    work.first_token(9.0)
    work.finished(2.5)
    assert (one.in_flight, one.own_in_flight, one.own_queued) == (0, 0, 0)
    assert one.hold_s == 2
    assert one.rate == pytest.approx(320), "a second first token changes nothing"


def test_a_prefill_began_when_the_one_before_it_ended() -> None:
    routing = router()
    one, _ = routing.candidates
    works = [routing.dispatch(one, prompt(number), 0.0) for number in range(3)]
    for place, work in enumerate(works, start=1):
        work.first_token(0.5 * place)
    assert one.rate == pytest.approx(320)


def test_what_was_truly_cached_tells_the_rate() -> None:
    routing = router()
    one, _ = routing.candidates
    routing.dispatch(one, prompt(1), 0.0)
    for reported, rate in ((40, 480), (None, 0)):
        one._squares = one._products = one.rate = 0.0
        one.observations = 0
        work = routing.dispatch(one, prompt(1), 1.0)
        work.first_token(1.25)
        assert one.rate == 0, "it waits for the report"
        work.finished(2.0, tokens=160, cached=reported)
        assert one.rate == pytest.approx(rate)


def test_waiting_for_a_slot_says_nothing_of_the_rate() -> None:
    routing = Router(rule_named("first_token"))
    one = routing.add("endpoint-0", slots=1)
    routing.dispatch(one, prompt(1), 0.0)
    routing.dispatch(one, prompt(2), 0.0).first_token(60.0)
    assert one.rate == 0


def test_an_answer_that_came_whole_teaches_no_rate() -> None:
    routing = router()
    work = routing.dispatch(routing.candidates[0], prompt(1), 0.0)
    work.finished(30.0, tokens=160)
    assert routing.candidates[0].rate == 0
    assert routing.candidates[0].queued == 0


def test_what_failed_before_its_first_token_is_not_believed_cached() -> None:
    routing = router()
    one, _ = routing.candidates
    routing.dispatch(one, prompt(1), 0.0).cancelled(0.1)
    assert routing.index.match(prompt(1)) == [0, 0]
    work = routing.dispatch(one, prompt(1), 0.2)
    work.first_token(0.3)
    work.cancelled(0.4)
    assert routing.index.match(prompt(1)) == [640, 0]
    assert (one.in_flight, one.queued) == (0, 0)


def test_equal_prompts_go_where_the_first_is_still_read() -> None:
    routing = router()
    for one in routing.candidates:
        one.observe(1000, 1.0)
    choice = routing.choose(prompt(1), 0.0)
    routing.dispatch(routing.candidates[choice.index], prompt(1), 0.0)
    assert all(routing.choose(prompt(1), 0.0).index == choice.index for _ in range(4))


@given(st.lists(st.tuples(st.sampled_from(["send", "first", "end", "cancel", "see"]),
                          st.integers(0, 9)), max_size=60))  # fmt: skip
def test_counts_add_up_whatever_happens(events: list[tuple[str, int]]) -> None:
    routing = router()
    live, now_s = [], 0.0
    for kind, number in events:
        now_s += 0.1
        one = routing.candidates[number % 2]
        if kind == "send":
            live.append(routing.dispatch(one, prompt(number), now_s))
        elif kind == "see":
            one.see(number, 10.0 * number)
        elif live:
            work = live.pop(number % len(live))
            if kind == "first":
                work.first_token(now_s)
                live.append(work)
            elif kind == "end":
                work.finished(now_s, 160, 0)
            else:
                work.cancelled(now_s)
        assert sum(one.own_in_flight for one in routing.candidates) == len(live)
    for work in live:
        work.cancelled(now_s)
    for one in routing.candidates:
        one.see(0, 0.0)
        assert (one.in_flight, one.queued, one.head) == (0, 0, 0)


def test_others_are_added_to_ones_own() -> None:
    routing = router()
    one, _ = routing.candidates
    work = routing.dispatch(one, prompt(1), 0.0)
    one.see(in_flight=3, queued=500.0)
    assert (one.in_flight, one.queued) == (4, 660)
    one.see(in_flight=0, queued=0.0)
    assert (one.in_flight, one.queued) == (1, 160)
    work.cancelled(0.1)
    assert (one.in_flight, one.queued) == (0, 0)


def test_only_given_candidates_are_chosen() -> None:
    routing = router(3)
    first, _, third = routing.candidates
    chosen = {routing.choose(prompt(n), 0.0, candidates=[first, third]).index for n in range(9)}
    assert chosen == {0, 1}
    assert routing.choose(prompt(1), 0.0, candidates=[third]).reason == "the only one"


def test_a_removed_endpoint_may_still_end_its_requests() -> None:
    routing = router(2)
    gone = routing.candidates[0]
    works = [routing.dispatch(gone, prompt(number), 0.0) for number in range(2)]
    routing.remove(gone)
    new = routing.add("endpoint-new")
    works[0].first_token(0.1)
    works[0].finished(0.2, 160, 0)
    works[1].cancelled(0.3)
    assert gone.in_flight == 0
    assert (new.number, routing.index.match(prompt(0))) == (0, [0, 0])


def test_an_engine_that_began_anew_holds_nothing() -> None:
    routing = router()
    routing.dispatch(routing.candidates[1], prompt(1), 0.0)
    assert routing.index.match(prompt(1)) == [0, 640]
    routing.restarted(routing.candidates[1])
    assert routing.index.match(prompt(1)) == [0, 0]


def test_a_single_endpoint_needs_no_index() -> None:
    routing = router(1)
    routing.dispatch(routing.candidates[0], prompt(1), 0.0)
    assert routing.index.size_bytes == 0


def test_bytes_per_token_are_learnt() -> None:
    routing = router()
    for number in range(200):
        routing.dispatch(routing.candidates[0], prompt(number), 0.0).finished(1.0, tokens=64)
    assert routing.tokens_per_byte == pytest.approx(0.1)


# --- rates ------------------------------------------------------------------------------------


def observed(rate: float, count: int, draw: Random, known: Candidate | None = None) -> Candidate:
    """Noise of about a quarter, a fixed 20 ms, and one in twenty off by a factor of thirty."""
    one = known or Candidate("endpoint")
    for _ in range(count):
        tokens = draw.uniform(50, 30_000)
        seconds = tokens / rate * draw.lognormvariate(0, 0.25) + 0.02
        one.observe(tokens, seconds * (30 if draw.random() < 0.05 else 1))
    return one


@pytest.mark.parametrize("seed", range(8))
def test_the_rate_converges_through_noise_and_outliers(seed: int) -> None:
    assert observed(16_000, 300, Random(seed)).rate == pytest.approx(16_000, rel=0.35)


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_true_change_is_followed(factor: float) -> None:
    draw = Random(5)
    one = observed(16_000, 300, draw)
    observed(16_000 * factor, 150, draw, one)
    assert one.rate == pytest.approx(16_000 * factor, rel=0.4)


def test_nonsense_is_not_learnt_from() -> None:
    one = Candidate("endpoint")
    one.observe(0, 1.0)
    one.observe(100, 0.0)
    assert (one.rate, one.observations) == (0, 0)


def test_an_endpoint_that_once_looked_slow_gets_another_chance() -> None:
    routing = router(2)
    slow, fast = routing.candidates
    slow.observe(100, 10.0)
    fast.observe(100, 0.1)
    sent, now_s = {slow: 0, fast: 0}, 0.0
    for number in range(6 * STALE_AFTER):
        chosen = routing.candidates[routing.choose(prompt(number), now_s).index]
        sent[chosen] += 1
        work = routing.dispatch(chosen, prompt(number), now_s)
        now_s += 0.16
        work.first_token(now_s)
        work.finished(now_s)
    assert sent[slow] > STALE_AFTER
    assert slow.rate == pytest.approx(fast.rate, rel=0.5)
