"""docs/reference/cli.md out of the commands themselves.

    python -m modelyard.entry.cli.reference > docs/reference/cli.md

A test compares the file with what this prints.
"""

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import click

HEAD = """\
# Command line

Made from the commands by `python -m modelyard.entry.cli.reference`; do not edit.

`modelyard NOUN VERB`; the singular of a noun is the same word (`service list` = `services list`).

Exit codes: 0 yes · 1 the answer is no · 2 error, usage included · 3 inconclusive · 130 interrupted.

With `-o json` standard output is exactly one JSON value (`requests tail`: one a line; `up`: its
first line), and an error is `{"error": {"code", "message", "hint"}}` on standard error.
`NO_COLOR=1` makes terminal output plain, as it is in a pipe. `MODELYARD_DEBUG=1` shows where an
error comes from.

The platform that is asked: `--url`, else the one that runs on the data folder. The key:
`--api-key`, else the admin key in the data folder, which is never sent to another platform.
"""


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its whole name."""
    for name, command in sorted(group.commands.items()):
        whole = f"{path} {name}"
        if isinstance(command, click.Group):
            yield from commands(command, whole)
        else:
            yield whole, command


def render(root: click.Group) -> str:
    """The whole page."""
    return HEAD + "".join(_command(path, command) for path, command in commands(root, "modelyard"))


def _command(path: str, command: click.Command) -> str:
    arguments = [_argument(part) for part in command.params if isinstance(part, click.Argument)]
    text, _, example = inspect.cleandoc(command.help or "").partition("\b\n")
    lines = [f"\n## {' '.join([path, *arguments])}\n", text.strip() + "\n"]
    lines.append(f"Permission: `{getattr(command.callback, 'permission', '')}`\n")
    body = "\n".join(line.removeprefix("  ") for line in example.splitlines()[1:])
    lines.append(f"```sh\n{body}\n```\n")
    lines.append("| option | default | |\n|---|---|---|")
    lines += [_option(part) for part in command.params if isinstance(part, click.Option)]
    return "\n".join(lines) + "\n"


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    text = option.help or ""
    if isinstance(option.envvar, str):
        text += f" Environment: `{option.envvar}`."
    if isinstance(option.type, click.Choice):
        text += f" One of {', '.join(option.type.choices)}."
    if option.required:
        text += " Required."
    return f"| {names} | {_default(option)} | {text} |"


def _default(option: click.Option) -> str:
    value: Any = option.default
    shown = option.show_default and value not in (None, "", (), False) and not option.is_flag
    return f"`{value}`" if shown else ""


if __name__ == "__main__":
    from modelyard.entry.cli.main import cli

    sys.stdout.write(render(cli))
