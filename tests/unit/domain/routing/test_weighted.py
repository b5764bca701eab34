"""Drawing by weight: everybody's share, over any stretch of turns, without those that failed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.routing import RULES, Candidate, Request, Weighted, differ

ASKED = Request(100, [0] * 8, 0.25)


def candidates(*weights: float) -> list[Candidate]:
    made = [Candidate(f"e{number}", number=number) for number in range(len(weights))]
    for one, weight in zip(made, weights, strict=True):
        one.weight = weight
    return made


def drawn(weights: tuple[float, ...], turns: int, begin: int = 0) -> Counter[int]:
    among = candidates(*weights)
    rule = Weighted()
    return Counter(rule.choose(among, ASKED, begin + turn).index for turn in range(turns))


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=8).map(tuple),
    begin=st.integers(0, 10**9),
)
def test_everybody_gets_a_share_of_any_stretch_of_turns(
    weights: tuple[float, ...], begin: int
) -> None:
    turns = 1000
    counts = drawn(weights, turns, begin)
    for at, weight in enumerate(weights):
        assert abs(counts[at] - turns * weight / sum(weights)) < 12, (at, counts)


def test_three_of_four_go_where_the_weight_is_three() -> None:
    assert abs(drawn((3.0, 1.0), 40)[0] - 30) <= 1


def test_who_is_left_alone_leaves_its_share_to_the_others_by_their_weights() -> None:
    whole = candidates(2.0, 1.0, 1.0)
    rule = Weighted()
    counts = Counter(rule.choose(whole[1:], ASKED, turn).index for turn in range(100))
    assert abs(counts[0] - counts[1]) <= 2


@given(
    weights=st.lists(st.floats(0, 1e300), min_size=1, max_size=6),
    turn=st.integers(0, 2**63),
)
def test_no_weights_and_no_turn_lead_out_of_the_candidates(weights: list[float], turn: int) -> None:
    choice = Weighted().choose(candidates(*weights), ASKED, turn)
    assert 0 <= choice.index < len(weights)
    assert weights[choice.index] > 0 or not any(weights)
    assert choice.scores == weights


def test_a_choice_says_why() -> None:
    assert Weighted().choose(candidates(3, 1), ASKED, 0).reason == "by weight: 3, the others 1 to 1"


def test_nobody_names_it_in_a_document() -> None:
    assert "weighted" not in RULES


@pytest.mark.parametrize(
    ("weights", "answer"), [((), False), ((1.0,), False), ((0.5, 0.5), False), ((1.0, 2.0), True)]
)
def test_it_holds_only_where_weights_differ(weights: tuple[float, ...], answer: bool) -> None:
    assert differ(weights) is answer
