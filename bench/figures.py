"""The gateway benchmark's figures: computed from samples, named for the JSON, set in tables."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench import report
from bench.samples import Samples
from bench.scenarios import (
    BODY_100KB,
    BODY_300KB,
    FLOOD,
    RATE_200,
    RATE_1000,
    SATURATION,
    STREAMS,
)
from bench.targets import Target

Figures = dict[str, float | None]
RUST = ("vllm_router", "sglang_router")
"""Suffixes of the Rust routers."""


class Row(NamedTuple):
    """A line of the tables."""

    label: str
    figure: str
    more_is_better: bool = False


ROWS = (
    Row("requests/s at saturation", "rps", more_is_better=True),
    Row("requests/s a core", "rps_per_core", more_is_better=True),
    Row("CPU, µs a request", "cpu_us_per_request"),
    Row("  of 100 KB", "cpu_us_per_request_100kb"),
    Row("  of 300 KB", "cpu_us_per_request_300kb"),
    Row("added p50 at 1,000 rps, µs", "added_p50_us_1000rps"),
    Row("added p99 at 1,000 rps, µs", "added_p99_us_1000rps"),
    Row("added p50 at 200 rps, µs", "added_p50_us_200rps"),
    Row("added p99 at 200 rps, µs", "added_p99_us_200rps"),
    Row("CPU, µs a chunk at full rate", "cpu_us_per_chunk"),
    Row("CPU, µs a chunk at 10,000/s", "cpu_us_per_chunk_10k"),
    Row("chunks/s, 100 streams", "chunks_per_s", more_is_better=True),
    Row("first token added p50, 100 streams, µs", "added_ttft_p50_us_100_streams"),
    Row("first token added p99, 100 streams, µs", "added_ttft_p99_us_100_streams"),
    Row("resident at the end, MB", "rss_mb"),
    Row("requests until then", "requests", more_is_better=True),
    Row("failed answers", "errors"),
)


def of_target(samples: Samples, target: Target, rss_mb: float | None) -> Figures:
    """The figures of one target. Costs and additions are of what stands before the upstream; the
    upstream by itself has none."""
    name = target.name
    cpu_us = samples.cpu_us(name, SATURATION.name)
    return {
        "rps": samples.median(name, SATURATION.name, "rps"),
        "rps_per_core": 1e6 / cpu_us if cpu_us else None,
        "cpu_us_per_request": cpu_us,
        "cpu_us_per_request_100kb": samples.cpu_us(name, BODY_100KB.name),
        "cpu_us_per_request_300kb": samples.cpu_us(name, BODY_300KB.name),
        "rps_100kb": samples.median(name, BODY_100KB.name, "rps"),
        "rps_300kb": samples.median(name, BODY_300KB.name, "rps"),
        "added_p50_us_1000rps": samples.added(name, RATE_1000.name, "p50_us"),
        "added_p99_us_1000rps": samples.added(name, RATE_1000.name, "p99_us"),
        "added_p50_us_200rps": samples.added(name, RATE_200.name, "p50_us"),
        "added_p99_us_200rps": samples.added(name, RATE_200.name, "p99_us"),
        "cpu_us_per_chunk": samples.cpu_us(name, FLOOD.name, "tokens"),
        "cpu_us_per_chunk_10k": samples.cpu_us(name, STREAMS.name, "tokens"),
        "chunks_per_s": samples.median(name, FLOOD.name, "tokens_per_s"),
        "added_ttft_p50_us_100_streams": samples.added(name, STREAMS.name, "first_p50_us"),
        "added_ttft_p99_us_100_streams": samples.added(name, STREAMS.name, "first_p99_us"),
        "rss_mb": rss_mb,
        "requests": samples.total(name, "requests"),
        "errors": samples.total(name, "errors"),
    }


def ratios(samples: Samples, ours: Target, others: Sequence[Target]) -> Figures:
    """Our requests per processor second over those of each other, and of the best Rust router."""
    found = {
        target.suffix: samples.ratio(ours.name, target.name, SATURATION.name) for target in others
    }
    rust = [value for suffix in RUST if (value := found.get(suffix)) is not None]
    return {
        **{f"ratio_{suffix}": value for suffix, value in found.items()},
        "ratio_rust_router": min(rust, default=None),
    }


def flat(of: Mapping[str, Figures]) -> Figures:
    """One object: figures of ours (suffix "") by their names, of others with their suffix."""
    return {
        f"{name}_{suffix}" if suffix else name: value
        for suffix, figures in of.items()
        for name, value in figures.items()
    }


def values(found: Sequence[Target], of: Mapping[str, Figures]) -> str:
    """A table of all figures."""
    rows: list[list[report.Cell]] = [
        [row.label, *(of[target.suffix][row.figure] for target in found)] for row in ROWS
    ]
    return report.table(["", *(target.name for target in found)], rows)


def comparison(found: Sequence[Target], of: Mapping[str, Figures]) -> str:
    """How many times better the first target is than each other; below 1 it is worse."""
    ours, *others = found
    rows: list[list[report.Cell]] = []
    for row in ROWS[:-3]:
        cells = [better(of[""][row.figure], of[one.suffix][row.figure], row) for one in others]
        rows.append([row.label, *(f"{cell:.3g}×" if cell else None for cell in cells)])
    return report.table([f"{ours.name} better than", *(one.name for one in others)], rows)


def better(ours: float | None, other: float | None, row: Row) -> float | None:
    """The ratio that is above 1 where ours is better; None where either is not positive."""
    if ours is None or other is None or ours <= 0 or other <= 0:
        return None
    return ours / other if row.more_is_better else other / ours
