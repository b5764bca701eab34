"""What a benchmark prints: where it ran, a table for people, flat JSON for machines."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

Cell = float | str | None


def machine() -> str:
    """One line: processor, cores, load, day."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    load = os.getloadavg()[0]
    day = datetime.now(UTC).date().isoformat()
    python = platform.python_version()
    return f"{model}, {os.cpu_count()} cores, load {load:.1f}, Python {python}, {day}"


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Aligned columns; what was not measured is a dash."""
    text = [list(head), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in text) for at in range(len(head))]
    lines = []
    for row in text:
        first, *others = row
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:,.1f}" if cell % 1 else f"{cell:,.0f}"


def flat(figures: Mapping[str, float | None]) -> str:
    """One JSON object; what was not measured is left out."""
    found = {name: round(value, 4) for name, value in figures.items() if value is not None}
    return json.dumps(found)


def publish(figures: Mapping[str, float | None], path: Path | None) -> None:
    """The figures as the last line printed, and in a file when one is named."""
    text = flat(figures)
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
