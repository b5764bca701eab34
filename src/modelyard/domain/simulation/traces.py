"""Traces: who asked when for how much. Published ones, recorded ones, made ones.

Prompts are lists of blocks; equal blocks at the start of two prompts are a shared prefix. That is
the form of the Mooncake traces (Qin et al., FAST 2025): one JSON object a line with `timestamp`
(ms), `input_length`, `output_length` and `hash_ids`, one id for each 512 tokens.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from modelyard.domain.routing.rules import mixed
from modelyard.errors import Invalid

BLOCK_TOKENS = 512
PROMPT_BLOCK_BYTES = 8
"""What stands for a block in the bytes of a prompt."""
_MASK = (1 << 64) - 1

Draw = Callable[[], float]
"""Where chance comes from: a number from 0 up to, not including, 1."""


class Arrival(NamedTuple):
    """One request of a trace."""

    at_s: float
    tokens_input: int
    tokens_output: int
    blocks: tuple[int, ...]
    """Ids of BLOCK_TOKENS tokens each; the last may be shorter."""
    session: str = ""

    @property
    def prompt(self) -> bytes:
        """Bytes that share prefixes as the blocks do, to feed the rules of the gateway with."""
        return b"".join([_block(number) for number in self.blocks])


def _block(number: int) -> bytes:
    """Eight bytes for each id, no two alike, and no two that begin alike more than by chance."""
    return mixed(number & _MASK, 0).to_bytes(PROMPT_BLOCK_BYTES, "big")


def from_rows(rows: Iterable[tuple[int, Any]], name: str) -> list[Arrival]:
    """Arrivals of numbered rows, by time, the first at 0 s: Mooncake's, or records of requests.

    Raises Invalid with the row's number when a row is neither, or when there is none.
    """
    fresh = _fresh_ids()
    found = [arrival for number, row in rows if (arrival := _arrival(row, number, name, fresh))]
    if not found:
        raise Invalid(
            f"{name}: no request with its number of input tokens is in this trace",
            hint="a trace is a Mooncake file, or `modelyard requests list -o json`",
        )
    found.sort(key=lambda arrival: arrival.at_s)
    start_s = found[0].at_s
    return [arrival._replace(at_s=arrival.at_s - start_s) for arrival in found]


def _fresh_ids() -> Iterator[int]:
    """Ids that no published trace uses, for prompts of which no prefix is known."""
    number = -1
    while True:
        yield number
        number -= 1


def _arrival(row: Any, number: int, name: str, fresh: Iterator[int]) -> Arrival | None:
    if not isinstance(row, Mapping):
        raise Invalid(f"{name}: row {number} is no object", hint="one JSON object a line")
    try:
        if "hash_ids" in row or "timestamp" in row:
            return _published(row, fresh)
        if "started_at_us" in row:
            return _recorded(row, fresh)
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid(f"{name}: row {number}: {_said(error)}") from error
    raise Invalid(
        f"{name}: row {number} has neither `timestamp` (Mooncake) nor `started_at_us` (a record)",
        hint="a trace is a Mooncake file, or `modelyard requests list -o json`",
    )


def _said(error: Exception) -> str:
    return f"no {error} is given" if isinstance(error, KeyError) else str(error)


def _published(row: Mapping[str, Any], fresh: Iterator[int]) -> Arrival:
    tokens = _count(row, "input_length")
    ids = row.get("hash_ids")
    blocks = _unshared(tokens, fresh) if ids is None else tuple(int(one) for one in ids)
    at_s = float(row["timestamp"]) / 1e3
    if not math.isfinite(at_s):
        raise ValueError(f"timestamp is {row['timestamp']!r}, not a number of milliseconds")
    return Arrival(at_s, tokens, _count(row, "output_length", 0), _fitted(blocks, tokens, fresh))


def _fitted(blocks: tuple[int, ...], tokens: int, fresh: Iterator[int]) -> tuple[int, ...]:
    """As many blocks as the tokens fill: published traces may have one more or less."""
    count = -(-tokens // BLOCK_TOKENS)
    return (blocks + tuple(next(fresh) for _ in range(count - len(blocks))))[:count]


def _recorded(row: Mapping[str, Any], fresh: Iterator[int]) -> Arrival | None:
    """None for requests of which the engine reported no tokens: they never reached one."""
    if not row.get("tokens_input"):
        return None
    tokens = _count(row, "tokens_input")
    return Arrival(
        int(row["started_at_us"]) / 1e6,
        tokens,
        _count(row, "tokens_output", 0),
        _unshared(tokens, fresh),
        str(row.get("session") or ""),
    )


def _count(row: Mapping[str, Any], field: str, default: int | None = None) -> int:
    value = row.get(field, default) if default is not None else row[field]
    count = int(value or 0)
    if count < 0 or (default is None and count == 0):
        raise ValueError(f"{field} is {value!r}, not a positive number")
    return count


def _unshared(tokens: int, fresh: Iterator[int]) -> tuple[int, ...]:
    return tuple(next(fresh) for _ in range(-(-tokens // BLOCK_TOKENS)))


def shares_prefixes(trace: Iterable[Arrival]) -> bool:
    """Whether any two prompts begin with the same block."""
    first = [arrival.blocks[0] for arrival in trace]
    return len(set(first)) < len(first)


# --- other traffic ----------------------------------------------------------------------------


def faster(trace: Iterable[Arrival], speed: float) -> list[Arrival]:
    """The same requests, `speed` times as many a second."""
    return [arrival._replace(at_s=arrival.at_s / speed) for arrival in trace]


def without_sharing(trace: Iterable[Arrival]) -> list[Arrival]:
    """The same requests, no two of which share a prefix."""
    fresh = _fresh_ids()
    return [one._replace(blocks=_unshared(one.tokens_input, fresh)) for one in trace]


def in_bursts(trace: Iterable[Arrival], every_s: float, lasting_s: float) -> list[Arrival]:
    """The same requests in the same order; those of `every_s` arrive within `lasting_s`."""
    squeezed = lasting_s / every_s

    def moved(at_s: float) -> float:
        return at_s - at_s % every_s * (1 - squeezed)

    return [one._replace(at_s=moved(one.at_s)) for one in trace]


def conversations(
    draw: Draw, requests: int, every_s: float, *, sessions: int = 20, turns: int = 15
) -> list[Arrival]:
    """A made trace: at any time so many sessions, whose prompts grow by a block or two each turn
    and end after `turns` on average; each begins with one of four system prompts of four blocks.
    Arrivals are spread evenly around `every_s`."""
    fresh = _fresh_ids()
    systems = [tuple(next(fresh) for _ in range(4)) for _ in range(4)]
    prompts = [systems[int(draw() * 4)] for _ in range(sessions)]
    trace, at_s = [], 0.0
    for _ in range(requests):
        at_s += 2 * every_s * draw()
        session = int(draw() * sessions)
        if draw() * turns < 1:
            prompts[session] = systems[int(draw() * 4)]
        blocks = prompts[session] + tuple(next(fresh) for _ in range(1 + int(draw() * 2)))
        prompts[session] = blocks
        tokens = len(blocks) * BLOCK_TOKENS - int(draw() * BLOCK_TOKENS)
        trace.append(Arrival(at_s, tokens, 1 + int(draw() * 400), blocks, f"session-{session}"))
    return trace
