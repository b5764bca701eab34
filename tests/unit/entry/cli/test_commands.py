"""The frame: every command keeps its promises, every failure is one readable line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import modelyard
from modelyard.domain.access import PERMISSIONS
from modelyard.entry.cli import reference
from modelyard.entry.cli.commands import Nouns, permission
from modelyard.entry.cli.main import cli
from modelyard.errors import Conflict

Run = Callable[..., Result]
ALL = dict(reference.commands(cli, "modelyard"))
REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "cli.md"


@pytest.mark.parametrize("path", ALL)
def test_every_command_names_a_permission_and_explains_itself(path: str) -> None:
    command = ALL[path]
    assert getattr(command.callback, "permission", None) in PERMISSIONS
    assert command.help
    text, _, example = command.help.partition("Example:")
    assert text.strip()
    assert path in example, "the example shows this command"
    for part in command.params:
        if isinstance(part, click.Option):
            assert part.help, f"{path} {part.name}"
            assert part.help.endswith((".", "]")), f"{path} {part.name}"


def test_the_reference_is_what_the_commands_say() -> None:
    made = reference.render(cli)
    command = "python -m modelyard.entry.cli.reference > docs/reference/cli.md"
    assert REFERENCE.read_text() == made, f"run: {command}"


def test_an_unknown_permission_is_a_mistake_of_ours() -> None:
    with pytest.raises(LookupError):
        permission("services.wirte")


def test_without_a_word_the_commands_are_shown(run: Run) -> None:
    for arguments in ((), ("services",)):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "Commands:" in result.stdout


def test_the_singular_is_the_same_word(run: Run) -> None:
    assert run("service", "list", "--help").stdout.count("All services") == 1


def test_an_unknown_word_is_answered_with_the_nearest(run: Run) -> None:
    result = run("servics")
    assert result.exit_code == 2
    assert "error: unknown command 'servics'" in result.stderr
    assert "did you mean `modelyard services`?" in result.stderr
    assert "known: alias" in run("models", "xyz").stderr


def test_usage_errors_point_to_the_help(run: Run) -> None:
    result = run("services", "show")
    assert result.exit_code == 2
    assert "see `modelyard services show --help`" in result.stderr


@pytest.mark.parametrize(
    "form", [("-o", "json"), ("-ojson",), ("--output", "json"), ("--output=json",)]
)
def test_with_json_an_error_is_one_object(run: Run, form: tuple[str, ...]) -> None:
    result = run("services", "show", *form)
    assert (result.exit_code, result.stdout) == (2, "")
    error = json.loads(result.stderr)["error"]
    assert error["code"] == "usage"
    assert "NAME" in error["message"]


def test_where_nothing_runs_the_hint_says_how_to_start(run: Run, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    result = run("services", "list", "--url", nowhere, "--data", str(tmp_path), "-o", "json")
    error = json.loads(result.stderr)["error"]
    assert error["code"] == "unavailable"
    assert "modelyard up" in error["hint"]


def _failing(error: BaseException) -> click.Group:
    group = Nouns("modelyard")

    @group.command()
    def fail() -> None:
        raise error

    return group


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Conflict("taken", hint="choose another"), 2, "error: taken\n  choose another\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (OSError(28, "No space left on device", "/x"), 2, "error: /x: No space left on device\n"),
    ],
)
def test_how_failures_end(error: BaseException, code: int, said: str) -> None:
    result = CliRunner().invoke(_failing(error), ["fail"])
    assert (result.exit_code, result.stderr) == (code, said)


def test_defects_say_so_and_show_their_place_only_when_asked() -> None:
    quiet = CliRunner(env={"MODELYARD_DEBUG": ""}).invoke(_failing(KeyError("x")), ["fail"])
    assert quiet.exit_code == 2
    assert "defect of modelyard: KeyError" in quiet.stderr
    assert "Traceback" not in quiet.stderr
    loud = CliRunner(env={"MODELYARD_DEBUG": "1"}).invoke(_failing(KeyError("x")), ["fail"])
    assert "Traceback" in loud.stderr


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    result = CliRunner().invoke(_failing(Conflict("evil \x1b[2J name")), ["fail"])
    assert "\x1b" not in result.stderr


def _python(code: str) -> "subprocess.CompletedProcess[str]":
    source = str(Path(modelyard.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_start_imports_nothing_heavy() -> None:
    heavy = "asyncio fastapi httpx msgspec openai pydantic rich sqlite3 uvicorn yaml"
    done = _python(
        "import sys; from modelyard.entry.cli import main;"
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    source = str(Path(modelyard.__file__).parents[1])
    program = [sys.executable, "-m", "modelyard.entry.cli.main", "requests", "list", "--help"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            program,
            env={**os.environ, "PYTHONPATH": source},
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == ""
