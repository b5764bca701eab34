"""What goes where: results, progress, and nothing that breaks a parser."""

import io
import json

import pytest
import yaml

from modelyard.entry.cli import output
from modelyard.entry.cli.output import Output

ROWS = [("a", "1"), ("long name", "22")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def attach(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make both streams a terminal; in the test itself, as capturing begins after fixtures."""
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return stream


def test_plain_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("name", ">count"), ROWS)
    assert capsys.readouterr().out == "NAME       COUNT\na              1\nlong name     22\n"


def test_an_empty_table_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("name",), [], empty="no keys; `modelyard keys create`")
    assert capsys.readouterr().out == "no keys; `modelyard keys create`\n"


def test_a_terminal_gets_a_drawn_table(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = attach(monkeypatch)
    Output().table(("name", ">count"), [("[red]x", "ready")])
    text = terminal.getvalue()
    assert "[red]x" in text, "nothing in a value is taken for markup"
    assert "\x1b[" in text


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_it_plain(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    terminal = attach(monkeypatch)
    monkeypatch.setenv(name, value)
    Output().table(("name", ">count"), ROWS)
    Output().line("hello", "bold")
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_the_value_and_nothing_else(
    capsys: pytest.CaptureFixture[str], form: str, load: object
) -> None:
    out = Output(form)
    out.line("for people")
    out.note("for people")
    with out.status("long") as update, out.transfer() as on_progress:
        update("longer")
        on_progress("file", 1, 1)
    out.answer({"größe": [1]}, lambda: out.line("for people"))
    written = capsys.readouterr()
    assert load(written.out) == {"größe": [1]}  # type: ignore[operator]
    assert written.err == ""


def test_where_nothing_can_move_each_state_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().status("waiting") as update:
        for text in ("starting", "starting", "ready"):
            update(text)
    assert capsys.readouterr().err == "waiting …\nstarting\nready\n"


def test_a_terminal_gets_a_moving_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = attach(monkeypatch)
    with Output().status("waiting") as update:
        update("nearly [b]there")
    with Output().transfer() as on_progress:
        on_progress("hash model.gguf", 5, 10)
        on_progress("hash model.gguf", 10, 10)
    assert "nearly [b]there" in terminal.getvalue()
    assert "hash model.gguf" in terminal.getvalue()


def test_plain_transfers_are_told_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 0.5, 2.5, 2.5, 3.0])
    monkeypatch.setattr(output, "monotonic_s", lambda: next(times))
    with Output().transfer() as on_progress:
        for done in (10, 50, 60):
            on_progress("send model.gguf", done, 100)
    assert capsys.readouterr().err == "send model.gguf 50 %\n"


def test_pairs_leave_out_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    Output().pairs([("model", "bot:1"), ("none", ""), ("x", "y")], indent=1)
    assert capsys.readouterr().out == " model  bot:1\n x      y\n"
