"""The index of prefixes against a naive model, and its bounds."""

import tracemalloc
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.routing.prefixes import NODE_BYTES, PrefixIndex, _Node

BLOCK = 2
HOLDERS = 3
prompts = st.text("ab", max_size=14).map(str.encode)
inserts = st.tuples(st.just("insert"), prompts, st.integers(0, HOLDERS - 1))
forgets = st.tuples(st.just("forget"), st.just(b""), st.integers(0, HOLDERS - 1))


def small(
    limit_bytes: int = 2**20, block_bytes: int = BLOCK, holders: int = HOLDERS
) -> PrefixIndex:
    index = PrefixIndex(limit_bytes, block_bytes)
    assert [index.add() for _ in range(holders)] == list(range(holders))
    return index


def common(one: bytes, other: bytes) -> int:
    """Whole blocks both begin with, in bytes, byte by byte."""
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length - length % BLOCK


def nodes(index: PrefixIndex) -> Iterator[_Node]:
    todo = [index._root]
    while todo:
        node = todo.pop()
        todo += node.children.values()
        if node.parent is not None:
            yield node


def sound(index: PrefixIndex) -> None:
    """What must hold after every operation."""
    found = list(nodes(index))
    assert index.size_bytes == sum(len(node.label) + NODE_BYTES for node in found)
    assert set(index._used) == set(found)
    order = {node: place for place, node in enumerate(index._used)}
    for node in found:
        assert node.label
        assert len(node.label) % index.block_bytes == 0
        assert node.parent is not None
        assert node.parent.children[node.label[: index.block_bytes]] is node
        if node.parent.parent is not None:
            assert order[node.parent] > order[node], "an ancestor was used no earlier"


@given(st.lists(inserts | forgets, max_size=30), prompts)
def test_matches_are_the_longest_common_prefixes(
    operations: list[tuple[str, bytes, int]], asked: bytes
) -> None:
    index = small()
    held: dict[int, list[bytes]] = {holder: [] for holder in range(HOLDERS)}
    for kind, prompt, holder in operations:
        before = max((common(prompt, other) for other in held[holder]), default=0)
        if kind == "forget":
            index.forget(holder)
            held[holder] = []
        else:
            assert index.insert(prompt, holder).held == before
            held[holder].append(prompt)
        sound(index)
    expected = [
        max((common(asked, other) for other in held[holder]), default=0)
        for holder in range(HOLDERS)
    ]
    assert index.match(asked) == expected


@given(st.lists(inserts, max_size=40), st.integers(0, 6 * NODE_BYTES))
def test_it_never_grows_beyond_its_limit(
    operations: list[tuple[str, bytes, int]], limit: int
) -> None:
    index = small(limit_bytes=limit)
    for _, prompt, holder in operations:
        index.insert(prompt, holder)
        assert index.size_bytes <= limit
        sound(index)


def test_what_was_not_used_for_longest_goes_first() -> None:
    index = small(limit_bytes=3 * (NODE_BYTES + 100), block_bytes=4, holders=1)
    for prompt in (b"a" * 100, b"b" * 100, b"a" * 100, b"c" * 100, b"d" * 100):
        index.insert(prompt, 0)
    assert index.match(b"b" * 100) == [0]
    assert [index.match(bytes([letter]) * 100) for letter in b"acd"] == [[100]] * 3


def test_memory_stays_within_the_limit_over_many_distinct_prompts() -> None:
    limit = 2**20
    index = small(limit_bytes=limit, block_bytes=64)
    draw = Random(1)
    tracemalloc.start()
    try:
        for number in range(12_000):
            index.insert(b"You are a helpful assistant. " * 5 + draw.randbytes(450), number % 3)
            if number == 6_000:
                halfway, _ = tracemalloc.get_traced_memory()
        end, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert end < 1.25 * limit
    assert abs(end - halfway) < 0.05 * limit


def test_one_prompt_may_not_take_it_all() -> None:
    index = small(limit_bytes=400_000, block_bytes=64, holders=1)
    index.insert(b"b" * 1000, 0)
    prompt = Random(1).randbytes(300_000)
    index.insert(prompt, 0)
    (matched,) = index.match(prompt)
    assert 99_000 < matched <= 100_000
    assert index.match(b"b" * 1000) == [960]


def test_a_long_prompt_that_forks_late_is_matched_to_the_block() -> None:
    index = small(limit_bytes=2**22, block_bytes=64, holders=2)
    prompt = Random(2).randbytes(300_032)
    index.insert(prompt, 0)
    forked = prompt[:200_003] + b"?" + prompt[200_004:]
    assert index.match(forked) == [200_000, 0]
    index.insert(forked, 1)
    assert index.match(prompt) == [300_032, 200_000]
    sound(index)


def test_a_number_is_given_away_again_without_what_was_held() -> None:
    index = small(holders=2)
    index.insert(b"aabb", 0)
    index.remove(0)
    assert index.add() == 0
    assert index.match(b"aabb") == [0, 0]


def test_a_prompt_that_did_not_arrive_is_taken_back() -> None:
    index = small(holders=2)
    index.insert(b"aabb", 0)
    belief = index.insert(b"aabbccdd", 0)
    index.insert(b"aabbccdd", 1)
    index.withdraw(b"aabbccdd", 0, belief.held)
    assert index.match(b"aabbccdd") == [4, 8]
    index.withdraw(b"xxyy", 0, 0)
    sound(index)


class Engine:
    """Keeps the prompts it saw last, `most` of them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: list[bytes] = []

    def ask(self, prompt: bytes) -> int:
        found = len(prompt) if prompt in self.kept else 0
        if found:
            self.kept.remove(prompt)
        self.kept = [*self.kept, prompt][-self.most :]
        return found


@pytest.mark.parametrize("most", [20, 60])
def test_it_learns_how_much_an_engine_keeps(most: int) -> None:
    """Of a hundred prompts, some of them asked more often; a guess of always or never would be
    wrong in a third of the cases and more."""
    index, engine, draw = small(block_bytes=64, holders=1), Engine(most), Random(3)
    known = [draw.randbytes(640) for _ in range(100)]
    wrong = 0
    assert index.capacity(0) is None
    for turn in range(4_000):
        prompt = known[int(draw.random() ** 2 * len(known))]
        (believed,) = index.match(prompt)
        belief = index.insert(prompt, 0)
        cached = engine.ask(prompt)
        index.learn(0, belief, cached)
        wrong += turn >= 1_000 and (believed > 0) != (cached > 0)
    capacity = index.capacity(0)
    assert capacity is not None
    assert most * 640 * 0.3 < capacity < most * 640 * 1.5
    assert wrong / 3_000 < 0.05


def test_an_engine_without_a_cache_is_soon_believed_to_hold_nothing() -> None:
    index = small(block_bytes=64, holders=1)
    prompt, others = bytes(640), Random(4)
    for _ in range(80):
        belief = index.insert(prompt, 0)
        index.learn(0, belief, 0)
        index.insert(others.randbytes(640), 0)
    assert index.match(prompt) == [0]
