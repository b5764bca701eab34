"""Selecting and summing record rows: what the adapters share, without a database."""

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from modelyard.errors import Invalid
from modelyard.ports.records import Query

MEASURED = ("started_at_us", "outcome", "duration_us", "ttft_us")
SUMS = ("tokens_input", "tokens_output", "cost_nano_usd")
FAILED = ("failed", "gateway_lost")
MAX_INTEGER = 2**63 - 1


class Summary:
    """One group: counts, sums, and all durations for exact percentiles (8 bytes each)."""

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.sums = dict.fromkeys(SUMS, 0)
        self.durations_us = array("q")
        self.ttfts_us = array("q")

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one request."""
        self.requests += 1
        self.errors += row["outcome"] in FAILED
        for name in SUMS:
            self.sums[name] += row[name] or 0
        self.durations_us.append(row["duration_us"])
        if row["ttft_us"] is not None:
            self.ttfts_us.append(row["ttft_us"])

    def merge(self, other: "Summary") -> None:
        """Take in another part of the same group."""
        self.requests += other.requests
        self.errors += other.errors
        for name in SUMS:
            self.sums[name] += other.sums[name]
        self.durations_us.extend(other.durations_us)
        self.ttfts_us.extend(other.ttfts_us)

    def row(self, group: Any, bucket_us: int) -> dict[str, Any]:
        """As `RecordStore.aggregate` gives it."""
        durations, ttfts = sorted(self.durations_us), sorted(self.ttfts_us)
        return {
            "group": group,
            "bucket_us": bucket_us,
            "requests": self.requests,
            "errors": self.errors,
            **self.sums,
            "p50_us": percentile(durations, 0.50),
            "p95_us": percentile(durations, 0.95),
            "ttft_p50_us": percentile(ttfts, 0.50),
            "ttft_p95_us": percentile(ttfts, 0.95),
        }


def held(value: Any) -> Any:
    """An integer of more than 64 bits, which an upstream may claim, as the nearest that a column
    holds: refusing it would lose the record, and those beside it."""
    return max(-MAX_INTEGER, min(value, MAX_INTEGER)) if isinstance(value, int) else value


Groups = dict[tuple[Any, int], Summary]


def percentile(ordered_values: list[int], share: float) -> int | None:
    """The smallest value with at least `share` of all at or below it; None of nothing."""
    if not ordered_values:
        return None
    rank = max(1, -(-len(ordered_values) * round(share * 100) // 100))
    return ordered_values[rank - 1]


def summarised(rows: Iterable[Mapping[str, Any]], group_by: str, bucket_us: int) -> Groups:
    """Rows of kind request → groups."""
    groups: Groups = {}
    for row in rows:
        bucket = row["started_at_us"] // bucket_us * bucket_us if bucket_us else 0
        key = (row[group_by] if group_by else "", bucket)
        groups.setdefault(key, Summary()).add(row)
    return groups


def merged(parts: Iterable[Groups]) -> list[dict[str, Any]]:
    """All parts as one list of rows, by time bucket and group."""
    total: Groups = {}
    for part in parts:
        for key, summary in part.items():
            total.setdefault(key, Summary()).merge(summary)
    order = sorted(total, key=lambda key: (key[1], str(key[0])))
    return [total[key].row(*key) for key in order]


def condition(query: Query, columns: Mapping[str, type], before_us: int) -> tuple[str, list[Any]]:
    """The SQL condition of a query and its values. Raises Invalid for an unknown column.

    `before_us` is when the request `query.before_id` began.
    """
    parts = ["started_at_us >= ?", "started_at_us < ?"]
    values: list[Any] = [query.since_us, query.until_us]
    for name in (*query.where, *query.minimum):
        if name not in columns:
            raise Invalid(f"no column {name!r}", hint=f"columns: {', '.join(columns)}")
    for name, wanted in query.where.items():
        choices = wanted if isinstance(wanted, tuple) else (wanted,)
        parts.append(f"{name} IN ({', '.join('?' * len(choices))})")
        values += choices
    for name, least in query.minimum.items():
        parts.append(f"{name} >= ?")
        values.append(least)
    if query.before_id:
        parts.append("(started_at_us, request_id) < (?, ?)")
        values += (before_us, query.before_id)
    return " AND ".join(parts), values


def ordered(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Newest first; SQLite's 0 and 1 become booleans again."""
    if kind == "request":
        for row in rows:
            row["stream"] = bool(row["stream"])
    return sorted(rows, key=lambda row: (row["started_at_us"], row["request_id"]), reverse=True)
