"""Counters and histograms in the shared file, and their text for Prometheus.

A row of values belongs to one (tenant, service, revision) and one process; `render` adds the rows
of all processes, so any of them answers `/metrics` for the machine.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from modelyard.domain.records import Outcome, RequestRecord
from modelyard.gateway.shared import METRIC_LABEL_BYTES, METRIC_ROWS, METRIC_VALUES, Region

OUTCOMES = tuple(Outcome)
BUCKETS_S = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
_BOUNDS_US = tuple(int(bound * 1_000_000) for bound in BUCKETS_S)

_TOKENS_INPUT = len(OUTCOMES)
_TOKENS_OUTPUT = _TOKENS_INPUT + 1
_TOKENS_CACHED = _TOKENS_INPUT + 2
_COST = _TOKENS_INPUT + 3
_ATTEMPTS = _TOKENS_INPUT + 4
_DURATION = _TOKENS_INPUT + 5  # buckets, one for the rest, then the sum in microseconds
_TTFT = _DURATION + len(BUCKETS_S) + 2
_USED = _TTFT + len(BUCKETS_S) + 2

_OTHER = ("", "(other)", "(other)")


class Metrics:
    """The writing side: this process's rows."""

    def __init__(self, region: Region) -> None:
        assert _USED <= METRIC_VALUES
        self._region = region
        self._rows: dict[tuple[str, str, str], memoryview] = {}
        self._free = 0
        for row in range(METRIC_ROWS):
            labels = region.metric_labels(row)
            if not labels:
                continue
            tenant, service, revision = labels.decode().split("\t")
            self._rows[tenant, service, revision] = region.metric_values(row)
            if row < METRIC_ROWS - 1:
                self._free = row + 1

    def count(self, record: RequestRecord) -> None:
        """Add one ended request."""
        # A name that did not resolve is the client's invention: it must not make a series.
        key = (record.tenant, record.service if record.revision else "", record.revision)
        values = self._rows.get(key)
        if values is None:
            values = self._claim(key)
        values[OUTCOMES.index(record.outcome)] += 1
        values[_TOKENS_INPUT] += record.tokens_input or 0
        values[_TOKENS_OUTPUT] += record.tokens_output or 0
        values[_TOKENS_CACHED] += record.tokens_cached or 0
        values[_COST] += record.cost_nano_usd or 0
        values[_ATTEMPTS] += record.attempts
        _observe(values, _DURATION, record.duration_us)
        if record.ttft_us is not None:
            _observe(values, _TTFT, record.ttft_us)

    def _claim(self, key: tuple[str, str, str]) -> memoryview:
        labels = "\t".join(key).encode()
        if self._free >= METRIC_ROWS - 1 or len(labels) > METRIC_LABEL_BYTES:
            # Bounded on purpose: past the last row all further series are counted as one.
            return self._rows.get(_OTHER) or self._take(METRIC_ROWS - 1, _OTHER)
        self._free += 1
        return self._take(self._free - 1, key)

    def _take(self, row: int, key: tuple[str, str, str]) -> memoryview:
        self._region.claim_metric_row(row, "\t".join(key).encode())
        values = self._rows[key] = self._region.metric_values(row)
        return values


def _observe(values: memoryview, at: int, duration_us: int) -> None:
    values[at + bisect_left(_BOUNDS_US, duration_us)] += 1
    values[at + len(BUCKETS_S) + 1] += duration_us


def collect(regions: Iterable[Region]) -> dict[tuple[str, str, str], list[int]]:
    """The sums over all processes by (tenant, service, revision)."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    for region in regions:
        for row in range(METRIC_ROWS):
            labels = region.metric_labels(row)
            if not labels:
                continue
            tenant, service, revision = labels.decode().split("\t")
            total = sums.setdefault((tenant, service, revision), [0] * METRIC_VALUES)
            for index, value in enumerate(region.metric_values(row)):
                total[index] += value
    return sums


def render(
    regions: Sequence[Region], in_flight: dict[str, int], gauges: dict[str, tuple[str, float]]
) -> bytes:
    """Prometheus text format 0.0.4. `gauges` maps a name to its help text and value."""
    sums = sorted(collect(regions).items())
    lines: list[str] = []
    _counters(lines, sums)
    _histogram(
        lines, sums, "request_duration_seconds", "From first byte in to last byte out", _DURATION
    )
    _histogram(
        lines, sums, "time_to_first_token_seconds", "From first byte in to first token out", _TTFT
    )
    _head(lines, "in_flight", "gauge", "Requests being served, by endpoint")
    lines += [
        f'modelyard_gateway_in_flight{{endpoint="{_escape(name)}"}} {count}'
        for name, count in sorted(in_flight.items())
    ]
    for name, (text, value) in gauges.items():
        _head(lines, name, "gauge", text)
        lines.append(f"modelyard_gateway_{name} {value:.10g}")
    return ("\n".join(lines) + "\n").encode()


def _counters(lines: list[str], sums: list[tuple[tuple[str, str, str], list[int]]]) -> None:
    _head(lines, "requests_total", "counter", "Requests that ended, by outcome")
    for key, values in sums:
        lines += [
            f'modelyard_gateway_requests_total{{{_labels(key)},outcome="{outcome.value}"}} {value}'
            for outcome, value in zip(OUTCOMES, values, strict=False)
            if value
        ]
    _head(lines, "tokens_total", "counter", "Tokens, as the engines counted them")
    for key, values in sums:
        for kind, at in (
            ("input", _TOKENS_INPUT),
            ("output", _TOKENS_OUTPUT),
            ("cached", _TOKENS_CACHED),
        ):
            lines.append(
                f'modelyard_gateway_tokens_total{{{_labels(key)},type="{kind}"}} {values[at]}'
            )
    for name, at, text in (
        ("cost_nano_usd_total", _COST, "Cost in nano US dollars"),
        ("attempts_total", _ATTEMPTS, "Tries at endpoints"),
    ):
        _head(lines, name, "counter", text)
        lines += [
            f"modelyard_gateway_{name}{{{_labels(key)}}} {values[at]}" for key, values in sums
        ]


def _histogram(
    lines: list[str],
    sums: list[tuple[tuple[str, str, str], list[int]]],
    name: str,
    text: str,
    at: int,
) -> None:
    _head(lines, name, "histogram", text)
    for key, values in sums:
        count = 0
        for bound, value in zip((*BUCKETS_S, "+Inf"), values[at:], strict=False):
            count += value
            lines.append(f'modelyard_gateway_{name}_bucket{{{_labels(key)},le="{bound}"}} {count}')
        total_us = values[at + len(BUCKETS_S) + 1]
        lines.append(f"modelyard_gateway_{name}_sum{{{_labels(key)}}} {total_us / 1_000_000}")
        lines.append(f"modelyard_gateway_{name}_count{{{_labels(key)}}} {count}")


def _head(lines: list[str], name: str, kind: str, text: str) -> None:
    lines.append(f"# HELP modelyard_gateway_{name} {text}.")
    lines.append(f"# TYPE modelyard_gateway_{name} {kind}")


def _labels(key: tuple[str, str, str]) -> str:
    tenant, service, revision = map(_escape, key)
    return f'tenant="{tenant}",service="{service}",revision="{revision}"'


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
