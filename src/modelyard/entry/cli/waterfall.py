"""One request as bars over time, in text."""

from typing import Any

from modelyard.entry.cli.formats import duration, one_line

WIDTH = 48
_WAITING, _STREAMING = "░", "█"


def draw(request: dict[str, Any], attempts: list[dict[str, Any]]) -> list[str]:
    """Lines: the whole request, its admission, every attempt (░ waiting for the first byte,
    █ answering), and the first token."""
    total = max(int(request["duration_us"]), 1)
    rows = [("request", _bar(0, total, total), duration(request["duration_us"]))]
    if request.get("admission_us") is not None:
        bar = _bar(0, request["admission_us"], total)
        rows.append(("admission", bar, duration(request["admission_us"])))
    rows += [_attempt(attempt, total) for attempt in attempts]
    if request.get("ttft_us") is not None:
        mark = " " * _column(request["ttft_us"], total) + "▲"
        rows.append(("first token", mark, f"at {duration(request['ttft_us'])}"))
    names = max(len(name) for name, _, _ in rows)
    return [f"  {name:<{names}} │{bar:<{WIDTH}}│ {note}".rstrip() for name, bar, note in rows]


def _attempt(attempt: dict[str, Any], total: int) -> tuple[str, str, str]:
    start, length = attempt["offset_us"], attempt["duration_us"]
    first = attempt.get("first_byte_us")
    waited = length if first is None else min(first, length)
    waiting = _bar(start, waited, total, _WAITING)
    whole = _bar(start, length, total, _STREAMING)
    bar = waiting + whole[len(waiting) :] if first is not None else waiting
    note = f"{duration(length)} {attempt['outcome']} {one_line(attempt['endpoint'], 60)}"
    if attempt.get("error_message"):
        note += f": {one_line(attempt['error_message'], 80)}"
    return (f"attempt {attempt['number']}", bar, note)


def _column(at_us: int, total: int) -> int:
    return min(max(at_us * WIDTH // total, 0), WIDTH - 1)


def _bar(start_us: int, length_us: int, total: int, block: str = _STREAMING) -> str:
    """At least one block wide, so that nothing that happened is invisible."""
    first = _column(start_us, total)
    last = max(min(round((start_us + length_us) * WIDTH / total), WIDTH), first + 1)
    return " " * first + block * (last - first)
