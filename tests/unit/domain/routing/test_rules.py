"""The rules: what each prefers, and what holds for all of them."""

from collections import Counter
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modelyard.domain.routing import RULES, Candidate, Choice, Request, rule_named
from modelyard.domain.routing.rules import CacheAware, FirstToken, LeastLoad, Prefix, Session
from modelyard.errors import Invalid


def candidate(number: int, **fields: float) -> Candidate:
    made = Candidate(f"endpoint-{number}", number=number)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def request(*matched: int, size: int = 1000, session: bytes = b"", now_s: float = 0.0) -> Request:
    return Request(size, list(matched), 0.25, now_s, session)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Candidate], Request]:
    count = draw(st.integers(1, 6))
    size = draw(st.integers(1, 100_000))
    candidates = [
        candidate(
            number,
            in_flight=draw(st.integers(0, 80)),
            queued=draw(st.floats(0, 1e6)),
            rate=draw(st.just(0.0) | st.floats(10, 1e5)),
            slots=draw(st.integers(0, 8)),
            hold_s=draw(st.floats(0, 10)),
            head=draw(st.floats(0, 1000)),
        )
        for number in range(count)
    ]
    matched = [draw(st.integers(0, size)) for _ in range(count)]
    session = draw(st.binary(max_size=8))
    return candidates, request(*matched, size=size, session=session, now_s=draw(st.floats(0, 9)))


@pytest.mark.parametrize("name", RULES)
@given(situation=situations(), turn=st.integers(0, 1000))
def test_every_rule_chooses_one_of_those_it_is_given(
    name: str, situation: tuple[list[Candidate], Request], turn: int
) -> None:
    candidates, asked = situation
    choice = rule_named(name).choose(candidates, asked, turn)
    assert 0 <= choice.index < len(candidates)
    assert len(choice.scores) in (0, len(candidates))
    assert choice.reason
    assert "\n" not in choice.reason


@pytest.mark.parametrize("name", [name for name in RULES if name != "round_robin"])
@given(situation=situations(), turn=st.integers(0, 1000), chance=st.randoms())
def test_the_order_of_the_candidates_does_not_matter(
    name: str, situation: tuple[list[Candidate], Request], turn: int, chance: Random
) -> None:
    candidates, asked = situation
    rule = rule_named(name)
    choice = rule.choose(candidates, asked, turn)
    assume(len(set(choice.scores)) == len(candidates))  # ties take turns by place
    shuffled = chance.sample(candidates, len(candidates))
    again = rule.choose(shuffled, asked, turn)
    near = sorted(choice.scores)
    assume(len(near) < 2 or near[1] - near[0] > 1e-9 * (1 + abs(near[0])))  # sums differ by order
    assert shuffled[again.index] is candidates[choice.index]


@pytest.mark.parametrize("name", [name for name in RULES if name != "session"])
def test_equals_take_turns(name: str) -> None:
    candidates = [candidate(number, rate=100.0) for number in range(3)]
    rule = rule_named(name)
    chosen = [rule.choose(candidates, request(0, 0, 0), turn).index for turn in range(6)]
    assert chosen == [0, 1, 2, 0, 1, 2]


def test_least_load_counts_per_slot() -> None:
    candidates = [candidate(0, in_flight=3, slots=2), candidate(1, in_flight=4, slots=4)]
    choice = LeastLoad().choose(candidates, request(), 0)
    assert choice.index == 1
    assert choice.reason == "in flight per slot: 1, the others 1.5 to 1.5"


def test_a_session_stays_and_moves_only_when_its_endpoint_is_gone() -> None:
    candidates = [candidate(number) for number in range(5)]
    rule = Session()

    def homes(among: list[Candidate]) -> dict[bytes, str]:
        keys = [b"session-%d" % number for number in range(500)]
        return {
            key: among[rule.choose(among, request(session=key), turn).index].id
            for turn, key in enumerate(keys)
        }

    before = homes(candidates)
    assert before == homes(candidates[::-1])
    assert all(70 < count < 130 for count in Counter(before.values()).values())
    after = homes(candidates[1:])
    assert all(after[key] == home for key, home in before.items() if home != "endpoint-0")


def test_a_hot_session_spills_to_its_next_endpoint_and_no_further_than_it_must() -> None:
    candidates = [candidate(number) for number in range(4)]
    rule = Session()
    for _ in range(40):
        chosen = rule.choose(candidates, request(session=b"hot"), 0)
        candidates[chosen.index].in_flight += 1
    assert max(one.in_flight for one in candidates) <= 1.25 * 41 / 4
    assert "choice" in rule.choose(candidates, request(session=b"hot"), 0).reason


def test_without_a_session_it_is_least_load() -> None:
    candidates = [candidate(0, in_flight=1), candidate(1)]
    assert Session().choose(candidates, request(), 0).index == 1


def test_prefix_weighs_what_matches_against_load() -> None:
    candidates = [candidate(0, in_flight=4), candidate(1, in_flight=2)]
    assert Prefix().choose(candidates, request(900, 0), 0).index == 0
    assert Prefix(beta=3).choose(candidates, request(900, 0), 0).index == 1


def test_cache_aware_is_the_published_rule() -> None:
    rule = CacheAware()
    mild = [candidate(0, in_flight=30), candidate(1, in_flight=5), candidate(2)]
    assert rule.choose(mild, request(600, 600, 0), 0).index == 1, "least loaded of the holders"
    assert rule.choose(mild, request(500, 0, 0), 0).index == 2, "half is not more than half"
    heavy = [candidate(0, in_flight=90), candidate(1), candidate(2, in_flight=3)]
    assert rule.choose(heavy, request(1000, 0, 0), 0).index == 1, "spills"


def first(*candidates: Candidate, asked: Request | None = None) -> Choice:
    return FirstToken().choose(candidates, asked or request(*[0] * len(candidates)), 0)


def test_first_token_goes_where_it_comes_first() -> None:
    busy, idle = candidate(0, rate=1000.0, queued=1000.0), candidate(1, rate=1000.0)
    assert first(busy, idle).index == 1
    assert first(busy, idle, asked=request(100_000, 0, size=100_000)).index == 0, "all cached"
    assert first(candidate(0, rate=1000.0), candidate(1, rate=3000.0)).index == 1, "faster"
    assert first(candidate(0, rate=1000.0), candidate(1, rate=1100.0)).index == 0, "only noise"


def test_first_token_forgives_what_must_be_done_of_the_oldest_and_no_more() -> None:
    under_way = candidate(0, rate=1000.0, queued=4000.0, head=3000.0)
    fresh = candidate(1, rate=1000.0, queued=2000.0)
    assert first(under_way, fresh, asked=request(0, 0, now_s=1.0)).index == 1
    assert first(under_way, fresh, asked=request(0, 0, now_s=2.5)).index == 0
    assert first(under_way, candidate(1, rate=1e3), asked=request(0, 0, now_s=1e6)).index == 1


def test_first_token_waits_for_no_slot_if_it_need_not() -> None:
    full = candidate(0, rate=1000.0, slots=2, in_flight=2, hold_s=5.0)
    assert first(full, candidate(1, rate=1000.0, queued=1000.0)).index == 1


def test_decoding_decides_where_prefill_does_not() -> None:
    assert (
        first(candidate(0, rate=1e3, in_flight=5), candidate(1, rate=1e3, in_flight=1)).index == 1
    )


def test_an_unknown_endpoint_counts_as_usual_and_nothing_known_as_least_load() -> None:
    known = candidate(0, rate=1000.0, queued=100.0)
    assert first(known, candidate(1)).index == 1
    unknown = [candidate(0, in_flight=2), candidate(1, in_flight=1)]
    assert first(*unknown).index == 1
    assert first(*unknown, asked=request(900, 0)).index == 0, "a prefix counts all the same"


def test_an_unknown_rule_is_answered_with_the_nearest() -> None:
    with pytest.raises(Invalid) as caught:
        rule_named("frist_token")
    assert caught.value.hint == "did you mean first_token?"
    assert isinstance(rule_named("prefix", beta=2.0), Prefix)
