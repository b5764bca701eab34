"""How values look on a page: pure functions, most of them template filters."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.entry import wording
from modelyard.entry.ui import traffic
from modelyard.lib import clock

MINUTE_US = 60_000_000
CHART_MINUTES = 60


def duration(us: int | None) -> str:
    """`1234` → `1.23 ms`."""
    if us is None:
        return "–"
    if us < 1000:
        return f"{us} µs"
    if us < 1_000_000:
        return f"{us / 1000:.3g} ms" if us < 999_500 else "1 s"
    return f"{us / 1_000_000:.2f} s" if us < 60_000_000 else f"{us / 60_000_000:.1f} min"


def number(value: int | float | None) -> str:
    """With thousands apart; a dash for what is not known."""
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u202f")


def size(size_bytes: int | None) -> str:
    """`3816192` → `3.82 MB`."""
    if not size_bytes:
        return "–"
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.3g} {unit}"
    return f"{size_bytes} B"


def dollars(nano: int | None) -> str:
    """`1500000` → `$0.0015`."""
    if nano is None:
        return "–"
    return f"${nano / 1e9:.2f}" if nano >= 10**10 or nano == 0 else f"${nano / 1e9:.3g}"


def iso(at_us: int) -> str:
    """For the `datetime` attribute; the page shows it in the reader's zone."""
    return clock.to_iso(at_us)


def shape(phase: str) -> str:
    """A sign beside the word, for those who do not see its colour."""
    return {
        "ready": "●", "completed": "●", "ok": "●", "cached": "●",
        "starting": "◐", "pending": "◌", "draining": "◑", "cancelled": "◑",
        "degraded": "◒", "rejected": "▲", "same": "○",
    }.get(phase, "✕")  # fmt: skip


def tone(phase: str) -> str:
    """The class that colours a state."""
    if phase in ("ready", "completed", "ok", "cached"):
        return "good"
    if phase in ("starting", "pending", "draining", "cancelled", "degraded", "rejected", "same"):
        return "warn"
    return "bad"


def minute_bars(rows: Sequence[Mapping[str, Any]], now_us: int) -> list[dict[str, Any]]:
    """The last hour as bars: requests and errors per minute, heights as shares of the most."""
    last = now_us // MINUTE_US
    by_minute = {row["bucket_us"] // MINUTE_US: row for row in rows}
    most = max((row["requests"] for row in rows), default=0) or 1
    bars = []
    for place in range(CHART_MINUTES):
        minute = last - CHART_MINUTES + 1 + place
        row = by_minute.get(minute, {"requests": 0, "errors": 0, "p95_us": None})
        total = round(row["requests"] / most * 60, 1)
        bad = round(row["errors"] / most * 60, 1)
        begin_us = minute * MINUTE_US
        bars.append(
            {
                "x": place * 10,
                "height": total,
                "bad": bad,
                "requests": row["requests"],
                "errors": row["errors"],
                "p95_us": row["p95_us"],
                "link": f"/requests?since_us={begin_us}&until_us={begin_us + MINUTE_US}",
                "at_us": begin_us,
            }
        )
    return bars


def waterfall(
    record: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Bars of one request: begin and width as shares of its duration, in percent."""
    whole = max(1, record["duration_us"])

    def bar(label: str, begin_us: int, us: int, kind: str, note: str = "") -> dict[str, Any]:
        begin = min(100.0, 100 * begin_us / whole)
        width = max(0.4, min(100 - begin, 100 * us / whole))
        return {"label": label, "x": round(begin, 2), "width": round(width, 2), "kind": kind,
                "text": duration(us), "note": note}  # fmt: skip

    bars = [bar("request", 0, whole, "whole", record["outcome"])]
    if record["admission_us"] is not None:
        bars.append(bar("admission", 0, record["admission_us"], "wait"))
    if record.get("queue_us"):
        end_us = record["admission_us"] or whole
        bars.append(bar("  in the queue", end_us - record["queue_us"], record["queue_us"], "wait"))
    for attempt in attempts:
        begin, first = attempt["offset_us"], attempt["first_byte_us"]
        note = f"{attempt['endpoint']} {attempt['outcome']}"
        label = f"attempt {attempt['number']}"
        kind = "work" if attempt["outcome"] == "ok" else "failed"
        bars.append(bar(label, begin, attempt["duration_us"], kind, note))
        if first is not None:
            bars.append(bar("  to first byte", begin, first, "wait"))
    if record["ttft_us"] is not None:
        rest = whole - record["ttft_us"]
        bars.append(bar("tokens", record["ttft_us"], rest, "tokens", record["finish_reason"]))
    return bars


def provider(found: Mapping[str, Any]) -> dict[str, Any]:
    """With whether somebody should have a look at it."""
    missing = any(key["problem"] for key in found["keys"])
    failed = bool(found["test"]) and not found["test"]["ok"]
    return {**found, "sick": bool(found["problem"]) or missing or failed}


FILTERS = {
    "duration": duration,
    "number": number,
    "size": size,
    "dollars": dollars,
    "iso": iso,
    "shape": shape,
    "tone": tone,
    "share": traffic.share,
    "bounds": wording.bounds,
    "budget": wording.budget,
    "whom": wording.whom,
}
