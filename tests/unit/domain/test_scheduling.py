"""Fair turns: nobody starves, nobody is served twice, a flood waits for itself."""

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.scheduling import WEIGHTS, FairQueue

STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.floats(0.1, 1000)),
        st.just("pop"),
        st.integers(0, 50),
    ),
    max_size=120,
)


@given(STEPS)
def test_all_that_wait_get_one_turn_and_those_who_left_get_none(steps: list[object]) -> None:
    queue: FairQueue[int] = FairQueue()
    waiting, number = {}, 0
    for step in steps:
        if step == "pop":
            got = queue.pop()
            assert (got is None) is (not waiting)
            if got is not None:
                del waiting[got]
        elif isinstance(step, tuple):
            number += 1
            waiting[number] = queue.push(number, *step)
        elif step in waiting:
            queue.leave(waiting.pop(step))
        assert len(queue) == len(waiting)
    assert {queue.pop() for _ in range(len(waiting))} == set(waiting)
    assert queue.pop() is None


def test_a_flood_waits_for_itself() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.push(f"flood {number}", "a", 1, 10)
    queue.push("one", "b", 1, 10)
    assert "one" in [queue.pop() for _ in range(3)]


def test_flows_share_by_what_they_cost() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(200):
        queue.push("long", "a", 1, 30)
        queue.push("short", "b", 1, 10)
    first = [queue.pop() for _ in range(100)]
    assert 70 <= first.count("short") <= 80, "three short ones for a long one"


def test_classes_are_served_by_weight_and_the_lowest_is_not_starved() -> None:
    queue: FairQueue[int] = FairQueue()
    for _ in range(400):
        for priority in range(len(WEIGHTS)):
            queue.push(priority, "a", priority, 1)
    first = [queue.pop() for _ in range(210)]
    assert first.count(0) == 160
    assert first.count(1) == 40
    assert first.count(2) == 10


def test_a_class_that_slept_does_not_make_up_for_it() -> None:
    queue: FairQueue[int] = FairQueue()
    for _ in range(1000):
        queue.push(2, "a", 2, 1)
    for _ in range(500):
        queue.pop()
    for _ in range(32):
        queue.push(0, "b", 0, 1)
    first = [queue.pop() for _ in range(34)]
    assert first.count(2) >= 2
