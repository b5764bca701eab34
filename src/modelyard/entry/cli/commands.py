"""The frame that all commands share: nouns, errors, permissions, common options."""

import difflib
import functools
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import click

from modelyard.domain.access import PERMISSIONS
from modelyard.entry.cli.formats import printable
from modelyard.entry.cli.output import FORMATS, Output
from modelyard.entry.cli.session import Session
from modelyard.errors import ModelyardError

P = ParamSpec("P")
DEFAULT_DATA = Path("modelyard-data")


class UnknownCommand(click.UsageError):
    """With the nearest known one as its hint."""

    def __init__(self, name: str, known: list[str], ctx: click.Context) -> None:
        super().__init__(f"unknown command {name!r}", ctx)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        path = ctx.command_path
        self.hint = f"did you mean `{path} {near[0]}`?" if near else f"known: {', '.join(known)}"


class Nouns(click.Group):
    """A group that takes a singular noun for its plural, knows near misses, and turns every
    failure into one readable line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a word, say which there are."""
        return super().parse_args(ctx, args or ["--help"])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """`service` is `services`."""
        return super().get_command(ctx, name) or super().get_command(ctx, name + "s")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click; an unknown word is answered with the nearest known one."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            raise UnknownCommand(name, self.list_commands(ctx), ctx)
        return super().resolve_command(ctx, args)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Run and exit: 0 yes, 1 the answer is no, 2 error, 130 interrupted."""
        arguments = list(sys.argv[1:] if args is None else args)
        options["standalone_mode"] = False
        try:
            code = super().main(arguments, *rest, **options)
        except (KeyboardInterrupt, click.Abort):
            sys.exit(130)
        except BrokenPipeError:
            _leave_broken_pipe()
        except Exception as error:  # noqa: BLE001 - the last place that can say what happened
            _fail(error, _wants_json(arguments))
        sys.exit(code if isinstance(code, int) else 0)


def _fail(error: Exception, as_json: bool) -> NoReturn:
    if os.environ.get("MODELYARD_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    _show(*_explain(error), as_json)
    sys.exit(2)


def _explain(error: Exception) -> tuple[str, str, str]:
    """Code, message and hint."""
    if isinstance(error, ModelyardError):
        return error.code, error.message, error.hint
    if isinstance(error, UnknownCommand):
        return "usage", error.format_message(), error.hint
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "modelyard"
        return "usage", error.format_message(), f"see `{path} --help`"
    if isinstance(error, click.ClickException):
        return "usage", error.format_message(), ""
    if isinstance(error, OSError):
        return "os", f"{error.filename or 'system'}: {error.strerror or error}", ""
    text = f"this is a defect of modelyard: {type(error).__name__}: {error}"
    return "defect", text, "run it again with MODELYARD_DEBUG=1 for the place, and report it"


def _show(code: str, message: str, hint: str, as_json: bool) -> None:
    if as_json:
        body = {"error": {"code": code, "message": message, "hint": hint}}
        sys.stderr.write(json.dumps(body, ensure_ascii=False) + "\n")
        return
    sys.stderr.write(f"error: {printable(message)}\n")
    if hint:
        sys.stderr.write(f"  {printable(hint)}\n")


def _wants_json(arguments: list[str]) -> bool:
    """Read from the arguments themselves, because they may be what is wrong."""
    if "-ojson" in arguments or "--output=json" in arguments:
        return True
    pairs = itertools.pairwise(arguments)
    return any(name in ("-o", "--output") and value == "json" for name, value in pairs)


def _leave_broken_pipe() -> NoReturn:
    """Nobody reads any more: the interpreter must not try to flush at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def permission(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Name what the caller's key must hold; the platform checks it, a test reads it here."""
    if name not in PERMISSIONS:
        raise LookupError(f"no such permission: {name}")

    def mark(function: Callable[P, None]) -> Callable[P, None]:
        setattr(function, "permission", name)  # noqa: B010 - mypy refuses the plain assignment
        return function

    return mark


data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="MODELYARD_DATA",
    default=DEFAULT_DATA,
    show_default=True,
    show_envvar=True,
    help="The data folder of the platform.",
)
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How to print the result; json is exactly one value on standard output.",
)
url_option = click.option(
    "--url",
    default="",
    envvar="MODELYARD_URL",
    show_envvar=True,
    help="Control address; without it, that of the platform running on the data folder.",
)
api_key_option = click.option(
    "--api-key",
    default="",
    envvar="MODELYARD_API_KEY",
    show_envvar=True,
    help="Access key; without it, the admin key in the data folder.",
)


def connected(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which platform to ask, and pass a Session made of them first."""

    @data_option
    @url_option
    @api_key_option
    @output_option
    @functools.wraps(function)
    def run(data: Path, url: str, api_key: str, output: str, *args: Any, **options: Any) -> None:
        with Session(data, url, api_key, Output(output)) as session:
            function(session, *args, **options)

    return run
