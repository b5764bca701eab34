"""Stop strings, however a text is cut into pieces."""

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.domain.guarantees import StopCutter

LETTERS = st.text("ab ", max_size=30)
STOPS = st.lists(st.text("ab ", min_size=1, max_size=4), max_size=3)


def cut(pieces: list[str], stops: list[str]) -> tuple[str, str]:
    """What was shown, and the stop string."""
    cutter = StopCutter(stops)
    shown = "".join([cutter.feed(piece) for piece in pieces])
    return shown + cutter.rest(), cutter.matched


def first_complete(text: str, stops: list[str]) -> tuple[str, str]:
    """Character by character, without any cleverness."""
    for end in range(1, len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            longest = max(met, key=len)
            return text[: end - len(longest)], longest
    return text, ""


@given(LETTERS, STOPS, st.lists(st.integers(0, 30), max_size=6))
@example("aab", ["ab", "aab"], [1, 2])
@example("abab", ["abab", "ba"], [])
def test_pieces_make_no_difference(text: str, stops: list[str], cuts: list[int]) -> None:
    places = sorted({0, len(text), *(min(at, len(text)) for at in cuts)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    assert cut(pieces, stops) == first_complete(text, stops)
    assert cut(list(text), stops) == first_complete(text, stops)


@given(LETTERS, STOPS)
def test_nothing_that_belongs_to_a_stop_string_is_shown_early(text: str, stops: list[str]) -> None:
    cutter, shown = StopCutter(stops), ""
    for letter in text:
        shown += cutter.feed(letter)
        assert text.startswith(shown)
    assert first_complete(text, stops)[0].startswith(shown)


def test_an_empty_stop_string_stops_nothing() -> None:
    assert cut(["a", "b"], [""]) == ("ab", "")
    assert cut([], ["x"]) == ("", "")
