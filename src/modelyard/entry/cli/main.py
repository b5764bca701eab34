"""`modelyard NOUN VERB`: every command, imported without what only some of them need."""

import click

from modelyard.entry.cli import (
    audit,
    chat,
    demo,
    keys,
    limits,
    models,
    nouns,
    platform,
    prices,
    providers,
    requests,
    services,
    traces,
)
from modelyard.entry.cli.commands import Nouns


@click.group(
    cls=Nouns,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def cli() -> None:
    """From a language model on disk to a governed production endpoint.

    \b
    Example:
      modelyard demo                  everything at work, in a folder that is removed again
      modelyard run MODEL.gguf        serve a file and talk to it
      modelyard up                    the platform, until Ctrl-C
    """


for _command in (
    platform.up,
    platform.open_,
    platform.run,
    platform.version,
    demo.demo,
    chat.chat,
    services.apply,
    nouns.get,
    nouns.delete,
    services.services,
    models.models,
    keys.keys,
    limits.limits,
    prices.prices,
    providers.providers,
    requests.requests,
    audit.audit,
    traces.traces,
):
    cli.add_command(_command)


def main() -> None:
    """The program `modelyard`."""
    cli(prog_name="modelyard")


if __name__ == "__main__":
    main()
