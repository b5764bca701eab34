"""List prices: what the shipped table knows of models, and what a usage would cost."""

import sys
from collections.abc import Callable

import click

from modelyard.entry.cli.commands import Nouns, output_option, permission
from modelyard.entry.cli.output import Output

INCONCLUSIVE = 3
"""The exit code when part of a usage has a price that nobody knows."""

provider_option = click.option(
    "--provider", default="", help="Only this kind of provider: openai, anthropic, gemini …."
)
day_option = click.option(
    "--day", default="", help="The day on which prices hold, as 2026-11-25. Without it: today."
)


def _tokens(*names: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option with a number of tokens."""
    return click.option(*names, type=click.IntRange(min=0), default=0, help=text)


@click.group(cls=Nouns, short_help="What models cost, offline.")
def prices() -> None:
    """List prices of providers' models, from a dated table in the package; nothing is asked.

    \b
    Example:
      modelyard prices show claude-sonnet-4-5
    """


@prices.command("list")
@permission("local")
@provider_option
@day_option
@output_option
def list_(provider: str, day: str, output: str) -> None:
    """All models whose list price is known; US dollars per million tokens.

    \b
    Example:
      modelyard prices list --provider anthropic
    """
    from modelyard.entry.cli import price_pictures

    price_pictures.listed(Output(output), provider, day)


@prices.command()
@permission("local")
@click.argument("model")
@provider_option
@day_option
@output_option
def show(model: str, provider: str, day: str, output: str) -> None:
    """What a model costs, of every provider that has it.

    \b
    Example:
      modelyard prices show gpt-5-mini-2025-08-07
    """
    from modelyard.entry.cli import price_pictures

    price_pictures.shown(Output(output), price_pictures.entries(model, provider, day))


@prices.command("cost")
@permission("local")
@click.argument("model")
@_tokens("--input", text="Tokens of the whole prompt, all kinds below included.")
@_tokens("--output-tokens", text="Tokens of the whole answer, all kinds included.")
@_tokens("--cached", text="Of the prompt, read from the cache.")
@_tokens("--cache-write", text="Of the prompt, written to the cache.")
@_tokens("--cache-write-1h", text="Of the prompt, written to the cache for an hour.")
@_tokens("--audio-input", text="Of the prompt, sound.")
@_tokens("--image-input", text="Of the prompt, pictures.")
@_tokens("--reasoning", text="Of the answer, thought.")
@_tokens("--audio-output", text="Of the answer, sound.")
@_tokens("--image-output", text="Of the answer, pictures.")
@click.option("--tool", "tools", multiple=True, help="Uses of a provider's tool, web_search=2.")
@click.option("--requests", type=click.IntRange(min=1), default=1, help="Requests that it took.")
@click.option("--batch", is_flag=True, help="They were answered as a batch.")
@click.option("--service-tier", default="", help="The service tier that answered, such as flex.")
@provider_option
@day_option
@output_option
def cost_(
    model: str,
    tools: tuple[str, ...],
    requests: int,
    batch: bool,
    service_tier: str,
    provider: str,
    day: str,
    output: str,
    **tokens: int,
) -> None:
    """What a usage costs at the list price. Exit code 3: part of it has no price that is known.

    \b
    Example:
      modelyard prices cost gpt-5-mini --input 12000 --cached 8000 --output-tokens 900
      modelyard prices cost claude-sonnet-4-5 --input 9000 --tool web_search=2
    """
    from modelyard.domain.pricing import cost
    from modelyard.entry.cli import price_pictures

    entry = price_pictures.only(model, provider, day)
    usage = price_pictures.usage(tokens, tools, service_tier)
    found = cost(entry.price, usage, requests=requests, batch=batch)
    price_pictures.costs(Output(output), entry, found)
    if found.unpriced:
        sys.exit(INCONCLUSIVE)
