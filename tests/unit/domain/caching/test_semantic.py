"""Near questions are found, far ones never, and no tenant finds another's."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.caching.semantic import (
    ENTRIES_PER_PARTITION,
    SemanticIndex,
    Vector,
    distance,
    vector,
)

PLACE = ("acme", b"partition")


def random_vector(source: random.Random, dimensions: int = 384) -> list[float]:
    return [source.gauss(0, 1) for _ in range(dimensions)]


def add(index: SemanticIndex, asked: Vector, key: bytes, at_s: float = 0.0) -> None:
    index.add(*PLACE, asked, key, at_s, 60.0)


def find(index: SemanticIndex, asked: Vector, threshold: float = 0.05, at_s: float = 0.0) -> bytes:
    near = index.find(*PLACE, asked, threshold, at_s, 60.0)
    return near.answer_key if near is not None else b""


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.floats(0.0, 0.2))
def test_the_near_one_among_many_is_found(seed: int, noise: float) -> None:
    source = random.Random(seed)
    index = SemanticIndex(10**8)
    shared = random_vector(source)  # real embeddings all point somewhat the same way
    rows = [[a + b for a, b in zip(shared, random_vector(source), strict=True)] for _ in range(200)]
    for number, row in enumerate(rows):
        add(index, vector(row), b"%d" % number)
    asked = vector([value + source.gauss(0, noise) for value in rows[77]])
    assert distance(asked, vector(rows[77])) <= 0.05
    assert find(index, asked) == b"77"


@given(st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), max_size=15),
       st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.floats(0, 2))  # fmt: skip
def test_a_hit_is_the_nearest_and_within_the_threshold(
    rows: list[list[float]], asked: list[float], threshold: float
) -> None:
    def usable(row: list[float]) -> bool:
        return math.hypot(*row) > 1e-3

    if not usable(asked):
        return
    index, question = SemanticIndex(10**6), vector(asked)
    known = {b"%d" % n: vector(row) for n, row in enumerate(rows) if usable(row)}
    for key, one in known.items():
        add(index, one, key)
    near = index.find(*PLACE, question, threshold, 0.0, 60.0)
    least = min((distance(one, question) for one in known.values()), default=3.0)
    if least > threshold:
        assert near is None
    else:
        assert near is not None
        assert near.distance == least == distance(known[near.answer_key], question)


def test_partitions_and_tenants_are_apart() -> None:
    index, one = SemanticIndex(10**6), vector([1.0, 2.0])
    add(index, one, b"k")
    assert find(index, one) == b"k"
    assert index.find("other", PLACE[1], one, 2.0, 0.0, 60.0) is None
    assert index.find(PLACE[0], b"other", one, 2.0, 0.0, 60.0) is None


def test_time_other_dimensions_and_forgetting() -> None:
    index, one = SemanticIndex(10**6), vector([1.0, 2.0])
    add(index, one, b"old")
    add(index, vector([1.0, 2.0, 0.0]), b"wide", at_s=50.0)
    assert find(index, one, at_s=59.0) == b"old"
    assert find(index, one, at_s=60.0) == b""
    assert find(index, vector([1.0, 2.0, 0.1]), at_s=100.0) == b"wide"
    index.forget(*PLACE, b"wide", 100.0)
    index.forget(*PLACE, b"wide", 100.0)
    assert find(index, vector([1.0, 2.0, 0.1]), at_s=100.0) == b""


def test_a_partition_is_bounded_and_an_answer_is_in_it_once() -> None:
    index, source = SemanticIndex(10**8), random.Random(5)
    first = vector(random_vector(source, 8))
    add(index, first, b"first")
    size_bytes = index.size_bytes
    add(index, first, b"first")
    assert index.size_bytes == size_bytes
    for number in range(ENTRIES_PER_PARTITION):
        add(index, vector(random_vector(source, 8)), b"%d" % number)
    assert find(index, first, 1e-6) == b""


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [1e300] * 2])
def test_what_has_no_direction_is_no_embedding(values: list[float]) -> None:
    with pytest.raises(ValueError, match="embedding"):
        vector(values)
