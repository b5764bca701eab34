"""What a command writes: tables for people, one JSON or YAML value for programs.

Results go to standard output; progress and remarks go to standard error and are left out when a
program reads, so that both streams stay parseable.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from modelyard.entry.cli.formats import one_line, printable
from modelyard.lib.clock import monotonic_s

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_PROGRESS_S = 2.0
FORMATS = ("table", "json", "yaml")
GOOD = {"ready", "completed", "cached", "ok", "admin", "active"}
BAD = {"failed", "invalid", "gateway_lost", "revoked", "expired"}
UNSURE = {"starting", "degraded", "pending", "draining", "rejected", "cancelled", "blocked"}


class Output:
    """One command's way to write. `form` is one of FORMATS."""

    def __init__(self, form: str = "table") -> None:
        self.form = form

    @property
    def structured(self) -> bool:
        """Whether a program reads."""
        return self.form != "table"

    @property
    def fancy(self) -> bool:
        """Whether colour, boxes and moving lines are wanted on standard output."""
        return not self.structured and is_fancy(sys.stdout)

    def value(self, value: Any) -> None:
        """The one value of a structured answer."""
        if self.form == "yaml":
            import yaml

            text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
        else:
            text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
        sys.stdout.write(text)
        sys.stdout.flush()

    def answer(self, value: Any, readable: Callable[[], None]) -> None:
        """`value` for programs, else whatever `readable` prints."""
        if self.structured:
            self.value(value)
        else:
            readable()

    def line(self, text: str = "", style: str = "") -> None:
        """A line for people on standard output."""
        if self.structured:
            return
        if style and self.fancy:
            console().print(_text(printable(text), style), soft_wrap=True)
        else:
            sys.stdout.write(printable(text) + "\n")
            sys.stdout.flush()

    def piece(self, text: str) -> None:
        """Part of a line, shown at once: streamed answers."""
        if not self.structured:
            sys.stdout.write(printable(text))
            sys.stdout.flush()

    def pairs(self, rows: Sequence[tuple[str, str]], indent: int = 0) -> None:
        """`name  value` lines, the values aligned; rows without a value are left out."""
        shown = [(name, value) for name, value in rows if value]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            self.line(f"{' ' * indent}{name:<{width}}  {value}")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str = "") -> None:
        """Columns whose name starts with `>` are numbers, set to the right. `empty` is what to
        say, and do, when there are no rows."""
        if not rows:
            self.line(empty or "nothing here yet")
        elif self.fancy:
            _rich_table(columns, rows)
        else:
            _plain_table(columns, rows)

    def note(self, text: str) -> None:
        """A remark for people on standard error."""
        if not self.structured:
            sys.stderr.write(printable(text) + "\n")
            sys.stderr.flush()

    @contextlib.contextmanager
    def status(self, text: str) -> Iterator[Callable[[str], None]]:
        """A moving line while something takes long; yields a function that changes its text.
        Where nothing can move, each new text is a line."""
        if self.structured:
            yield lambda _text: None
        elif not is_fancy(sys.stderr):
            self.note(f"{text} …")
            yield _once_each(text, self.note)
        else:
            with console(sys.stderr).status(_text(text)) as live:
                yield lambda changed: live.update(_text(printable(changed)))

    @contextlib.contextmanager
    def transfer(self) -> Iterator[Callable[[str, int, int], None]]:
        """Progress bars for files; yields `on_progress(file, done, total)`."""
        if self.structured:
            yield lambda _file, _done, _total: None
        elif not is_fancy(sys.stderr):
            yield _plain_transfer(self.note)
        else:
            with _bars() as on_progress:
                yield on_progress


def is_fancy(stream: IO[str]) -> bool:
    """A terminal that is not told to be plain (no-color.org, TERM=dumb)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


def console(stream: IO[str] | None = None) -> "Console":
    """A rich console that changes nothing in what it is given."""
    from rich.console import Console

    return Console(file=stream or sys.stdout, highlight=False, markup=False, emoji=False)


def style_of(word: str) -> str:
    """The colour of a state's word; the word itself is always there too."""
    if word in GOOD:
        return "green"
    if word in BAD:
        return "red"
    return "yellow" if word in UNSURE else ""


def _text(text: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(text, style=style)


def _once_each(first: str, write: Callable[[str], None]) -> Callable[[str], None]:
    last = first

    def update(text: str) -> None:
        nonlocal last
        if text != last:
            last = text
            write(text)

    return update


def _plain_transfer(write: Callable[[str], None]) -> Callable[[str, int, int], None]:
    """A line every few seconds: short transfers stay silent."""
    shown_s = monotonic_s()

    def on_progress(file: str, done: int, total: int) -> None:
        nonlocal shown_s
        if monotonic_s() - shown_s >= PLAIN_PROGRESS_S:
            shown_s = monotonic_s()
            write(f"{file} {100 * done // max(total, 1)} %")

    return on_progress


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def on_progress(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = progress.add_task(one_line(file, 60), total=total)
            progress.update(tasks[file], completed=done, total=total)

        yield on_progress


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column.removeprefix(">"),
            justify="right" if column.startswith(">") else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_text(one_line(cell), style_of(cell)) for cell in row))
    console().print(table)


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    names = [column.removeprefix(">").upper() for column in columns]
    cells = [names, *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        parts = [
            cell.rjust(width) if column.startswith(">") else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        ]
        sys.stdout.write("  ".join(parts).rstrip() + "\n")
    sys.stdout.flush()
