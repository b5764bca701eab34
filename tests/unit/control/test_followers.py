"""Which gateway processes are there, by what they asked for."""

from modelyard.control.followers import GONE_AFTER_S, Followers


def test_a_process_is_known_by_what_it_said_last() -> None:
    known = Followers()
    known.asks("1", "e", 3, 10.0)
    known.asks("0", "e", 4, 10.0)
    known.asks("1", "e", 5, 11.0)
    assert [(one.name, one.generation) for one in known.present(12.0)] == [("0", 4), ("1", 5)]


def test_one_that_no_longer_asks_is_gone() -> None:
    known = Followers()
    known.asks("0", "e", 4, 10.0)
    known.asks("1", "e", 4, 30.0)
    assert [one.name for one in known.present(10.5 + GONE_AFTER_S)] == ["1"]
