"""Traces: what is read, what is refused, what made traffic looks like."""

from random import Random
from typing import Any

import pytest

from modelyard.domain.simulation.traces import (
    PROMPT_BLOCK_BYTES,
    conversations,
    faster,
    from_rows,
    in_bursts,
    shares_prefixes,
    without_sharing,
)
from modelyard.errors import Invalid

PUBLISHED = [
    {"timestamp": 2000, "input_length": 700, "output_length": 9, "hash_ids": [7, 9]},
    {"timestamp": 500, "input_length": 600, "output_length": 5, "hash_ids": [7, 8]},
]


def read(*rows: Any) -> list[Any]:
    return from_rows(enumerate(rows, start=1), "trace.jsonl")


def test_published_rows_come_by_time_from_zero() -> None:
    first, second = read(*PUBLISHED)
    assert (first.at_s, second.at_s) == (0, 1.5)
    assert (first.tokens_input, first.tokens_output, first.blocks) == (600, 5, (7, 8))
    assert first.prompt[:PROMPT_BLOCK_BYTES] == second.prompt[:PROMPT_BLOCK_BYTES]
    assert first.prompt[PROMPT_BLOCK_BYTES:] != second.prompt[PROMPT_BLOCK_BYTES:]
    assert shares_prefixes([first, second])


def test_blocks_are_made_to_fit_the_tokens() -> None:
    short, long = read(
        {"timestamp": 0, "input_length": 1500, "output_length": 1, "hash_ids": [1]},
        {"timestamp": 1, "input_length": 500, "output_length": 1, "hash_ids": [1, 2, 3]},
    )
    assert len(short.blocks) == 3
    assert short.blocks[0] == 1
    assert long.blocks == (1,)


def test_records_of_requests_are_a_trace_without_prefixes() -> None:
    record = {"started_at_us": 3_000_000, "tokens_input": 900, "tokens_output": None}
    never_reached_an_engine = {"started_at_us": 1_000_000, "tokens_input": None}
    found = read(record, record | {"started_at_us": 5_500_000, "session": "s"},
                 never_reached_an_engine)  # fmt: skip
    assert [one.at_s for one in found] == [0, 2.5]
    assert [one.session for one in found] == ["", "s"]
    assert not shares_prefixes(found)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (7, "row 1 is no object"),
        ({"a": 1}, "row 1 has neither `timestamp`"),
        ({"timestamp": 1}, "row 1: no 'input_length' is given"),
        ({"timestamp": 1, "input_length": 0}, "input_length is 0, not a positive number"),
        ({"timestamp": 1, "input_length": -4}, "input_length is -4"),
        ({"timestamp": "x", "input_length": 4}, "could not convert"),
        ({"timestamp": 1, "input_length": 4, "hash_ids": ["x"]}, "invalid literal"),
        ({"timestamp": float("nan"), "input_length": 4}, "timestamp is nan"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(row: Any, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(row)
    assert said in caught.value.message
    assert caught.value.message.startswith("trace.jsonl: ")


def test_an_empty_trace_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        read({"started_at_us": 1, "tokens_input": None})
    assert "requests list" in caught.value.hint


def test_traffic_can_be_changed() -> None:
    trace = conversations(Random(1).random, 200, 0.5)
    assert shares_prefixes(trace)
    assert not shares_prefixes(without_sharing(trace))
    assert [one.at_s for one in faster(trace, 2)] == [one.at_s / 2 for one in trace]
    bursts = in_bursts(trace, every_s=10, lasting_s=2)
    assert all(one.at_s % 10 <= 2 for one in bursts)
    assert bursts == sorted(bursts, key=lambda one: one.at_s)


def test_a_made_trace_is_the_same_every_time() -> None:
    assert conversations(Random(1).random, 50, 1.0) == conversations(Random(1).random, 50, 1.0)
