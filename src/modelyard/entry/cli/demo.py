"""`modelyard demo`: the whole platform at work, with nothing but what the package brings."""

import sys
from pathlib import Path

import click

from modelyard.entry.cli.commands import output_option, permission


@click.command(short_help="Everything at work, with the shipped model.")
@permission("local")
@click.option("--exit", "leave", is_flag=True, help="End after the last step: 0 if all went well.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Keep everything in this folder. Without it: a temporary one, removed at the end.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Port of the gateway. Without it: 8080 if free, else the system chooses.",
)
@click.option(
    "--control-port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Port of pages and API. Without it: 8081 if free, else the system chooses.",
)
@output_option
def demo(
    leave: bool, data: Path | None, port: int | None, control_port: int | None, output: str
) -> None:
    """Start everything, serve the shipped model, ask it, kill a replica, check every record.

    \b
    Example:
      modelyard demo
      modelyard demo --exit
    """
    from modelyard.entry.cli import demo_steps
    from modelyard.entry.cli.output import Output

    out = Output(output)
    wish = demo_steps.Wish(leave=leave, data=data, port=port, control_port=control_port)
    if not demo_steps.run(wish, out):
        sys.exit(1)
