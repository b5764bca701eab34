"""One call for equal requests; every waiter hears exactly one end."""

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.caching.flights import Flights

KEY = b"key"


class Request:
    """Notes what it is told."""

    def __init__(self, flights: Flights[str], *, fails: bool = False) -> None:
        self.flights = flights
        self.fails = fails
        self.told: list[str] = []

    def flight_answered(self, answer: str) -> None:
        self.told.append(answer)

    def flight_lead(self) -> None:
        self.told.append("lead")
        if self.fails:
            self.flights.failed(KEY, self)

    def flight_deserted(self) -> None:
        self.told.append("deserted")


def crew(count: int, **options: bool) -> tuple[Flights[str], list[Request]]:
    flights: Flights[str] = Flights()
    requests = [Request(flights, **options) for _ in range(count)]
    assert [flights.join(KEY, one) for one in requests] == [True] + [False] * (count - 1)
    return flights, requests


def told(requests: list[Request]) -> list[list[str]]:
    return [one.told for one in requests]


def test_one_answer_for_all() -> None:
    flights, requests = crew(3)
    other = Request(flights)
    assert flights.join(b"other", other)
    flights.answered(KEY, requests[0], "42")
    assert told(requests) == [[], ["42"], ["42"]]
    assert other.told == []
    assert flights.join(KEY, requests[0]), "the next one begins anew"


def test_a_failure_makes_one_follower_the_leader() -> None:
    flights, requests = crew(3)
    flights.failed(KEY, requests[0])
    assert told(requests) == [[], ["lead"], []]
    flights.failed(KEY, requests[0])
    assert told(requests) == [[], ["lead"], []], "who leads no more has no say"
    flights.answered(KEY, requests[1], "42")
    assert told(requests) == [[], ["lead"], ["42"]]
    assert len(flights) == 0


def test_what_cannot_be_shared_sends_everybody_off() -> None:
    flights, requests = crew(3)
    flights.scatter(KEY, requests[0])
    assert told(requests) == [[], ["lead"], ["lead"]]
    assert len(flights) == 0
    flights.answered(KEY, requests[1], "42")
    assert requests[2].told == ["lead"]


def test_a_leader_whose_client_leaves_goes_on_for_the_others() -> None:
    flights, requests = crew(3)
    assert flights.leave(KEY, requests[0])
    assert not flights.leave(KEY, requests[1])
    flights.answered(KEY, requests[0], "42")
    assert told(requests) == [[], [], ["42"]]


def test_a_leader_that_nobody_needs_any_more_is_told_to_stop() -> None:
    flights, requests = crew(2)
    assert flights.leave(KEY, requests[0])
    assert not flights.leave(KEY, requests[1])
    assert told(requests) == [["deserted"], []]
    assert len(flights) == 0
    alone = Request(flights)
    assert flights.join(KEY, alone)
    assert not flights.leave(KEY, alone)
    assert (alone.told, len(flights)) == ([], 0)
    assert not flights.leave(KEY, alone), "twice does no harm"


def test_a_leader_that_left_and_failed_is_followed_by_the_next() -> None:
    flights, requests = crew(3)
    flights.leave(KEY, requests[0])
    flights.failed(KEY, requests[0])
    assert told(requests) == [[], ["lead"], []]
    assert not flights.leave(KEY, requests[2])
    assert requests[1].told == ["lead"], "its own client is still there"


def test_a_long_chain_of_failures_is_no_deep_one() -> None:
    flights, requests = crew(5000, fails=True)
    flights.failed(KEY, requests[0])
    assert all(one.told == ["lead"] for one in requests[1:])
    assert len(flights) == 0


@given(st.integers(1, 6), st.lists(st.tuples(st.sampled_from("afsl"), st.integers(0, 5))))
def test_every_waiter_hears_one_end(count: int, steps: list[tuple[str, int]]) -> None:
    flights, requests = crew(count)
    gone: set[int] = set()
    for step, number in steps:
        if number >= count:
            continue
        one = requests[number]
        if step == "a":
            flights.answered(KEY, one, "42")
        elif step == "f":
            flights.failed(KEY, one)
        elif step == "s":
            flights.scatter(KEY, one)
        elif number not in gone:
            gone.add(number)
            flights.leave(KEY, one)
    assert all(len(one.told) <= 2 for one in requests)
    assert all(one.told.count("42") <= 1 and one.told.count("lead") <= 1 for one in requests)
    if not flights.waiting(KEY):  # nobody waits: each has led, was answered, or is gone
        for number, one in enumerate(requests[1:], 1):
            assert one.told or number in gone
