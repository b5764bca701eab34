"""The options that bound use, the same for limits and keys."""

from collections.abc import Callable
from typing import Any

import click

from modelyard.domain.access import PRIORITIES

_OPTIONS = (
    click.option(
        "--rpm",
        type=click.IntRange(0),
        default=None,
        help="Requests admitted in any 60 seconds.",
    ),
    click.option(
        "--tpm", type=click.IntRange(0), default=None, help="Tokens in any 60 seconds, in and out."
    ),
    click.option(
        "--concurrency", type=click.IntRange(0), default=None, help="Requests open at once."
    ),
    click.option(
        "--budget-usd",
        type=click.FloatRange(0, 1e9),
        default=None,
        help="Money for one period, in US$.",
    ),
    click.option(
        "--per",
        type=click.Choice(("day", "week", "month", "total")),
        default=None,
        help="Period of the budget, by the calendar in UTC. Without it: month.",
    ),
    click.option(
        "--unknown-price",
        type=click.Choice(("refuse", "allow")),
        default=None,
        help="Under a budget, requests whose price nobody knows. Without it: refuse.",
    ),
)
priority_option = click.option(
    "--priority",
    type=click.Choice(PRIORITIES),
    default=None,
    help="Class in the queue of a service. Without it: normal.",
)


def bound_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `bounds_of` reads."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def bounds_of(
    rpm: int | None,
    tpm: int | None,
    concurrency: int | None,
    budget_usd: float | None,
    per: str | None,
    unknown_price: str | None,
) -> dict[str, Any]:
    """The bounds that were given, as documents have them; 0 becomes None: no bound."""
    if per and budget_usd is None:
        raise click.UsageError("--per says nothing without --budget-usd")
    given: dict[str, Any] = {}
    for name, value in (
        ("requests_per_minute", rpm),
        ("tokens_per_minute", tpm),
        ("concurrency", concurrency),
    ):
        if value is not None:
            given[name] = value or None
    if budget_usd is not None:
        given["budget"] = {"usd": budget_usd, "per": per or "month"} if budget_usd else None
    if unknown_price is not None:
        given["unknown_price"] = unknown_price
    return given
