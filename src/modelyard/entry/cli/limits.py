"""Limits: what callers may use together, or each of them."""

from typing import Any

import click

from modelyard.entry import wording
from modelyard.entry.cli.bounds import bound_options, bounds_of
from modelyard.entry.cli.commands import Nouns, connected, permission
from modelyard.entry.cli.output import Output
from modelyard.entry.cli.session import Session
from modelyard.errors import Invalid


@click.group(cls=Nouns, short_help="What callers may use.")
def limits() -> None:
    """Limits: requests, tokens and money that callers may use, together or each.

    \b
    Example:
      modelyard limits set blue --team blue --rpm 100 --budget-usd 50
    """


@limits.command("list")
@permission("limits.read")
@connected
def list_(session: Session) -> None:
    """All limits, and whom each counts. A key's own are in `keys list`.

    \b
    Example:
      modelyard limits list
    """
    found = session.client.limits()
    session.out.answer(found, lambda: limit_table(session.out, found))


def limit_table(out: Output, found: list[dict[str, Any]]) -> None:
    """Limits as a table."""
    columns = ("name", "counts", "bounds", "unknown price", "problem")
    out.table(
        columns,
        [_row(limit) for limit in found],
        empty="no limits; make one with `modelyard limits set NAME --team TEAM --rpm 100`",
    )


def _row(limit: dict[str, Any]) -> tuple[str, ...]:
    spec = limit["document"]["spec"]
    return (
        limit["document"]["name"],
        wording.whom(spec),
        wording.bounds(spec),
        spec.get("unknown_price", "refuse") if spec.get("budget") else "-",
        limit["problem"] or "-",
    )


@limits.command()
@permission("limits.read")
@click.argument("name")
@connected
def show(session: Session, name: str) -> None:
    """One limit.

    \b
    Example:
      modelyard limits show blue
    """
    limit = session.client.limit(name)
    session.out.answer(limit, lambda: show_limit(session.out, limit))


def show_limit(out: Output, limit: dict[str, Any]) -> None:
    """The answer first, then what it is made of."""
    spec = limit["document"]["spec"]
    out.line(
        f"{limit['document']['name']}: {wording.bounds(spec)} for {wording.whom(spec)}", "bold"
    )
    price = spec.get("unknown_price", "refuse") if spec.get("budget") else ""
    rows = [("problem", limit["problem"]), ("unknown price", price)]
    out.pairs([*rows, ("generation", str(limit["generation"]))], indent=2)


@limits.command("set")
@permission("limits.write")
@click.argument("name")
@click.option("--key", default="", help="Count only requests with this key, by its id.")
@click.option("--team", default="", help="Count only requests of this team.")
@click.option("--person", default="", help="Count only requests of this person.")
@click.option("--service", default="", help="Count only requests to this service.")
@click.option(
    "--each",
    type=click.Choice(wording.COUNTED),
    default=None,
    help="A counter for every one of them. Without it: one for all together.",
)
@bound_options
@connected
def set_(
    session: Session,
    name: str,
    key: str,
    team: str,
    person: str,
    service: str,
    each: str | None,
    **given: Any,
) -> None:
    """Make a limit, or put it in place of the former one of that name.

    \b
    Example:
      modelyard limits set blue --team blue --rpm 100 --tpm 50000
      modelyard limits set support-budget --service support --each key --budget-usd 50 --per month
    """
    who = {"key": key, "team": team, "person": person, "service": service, "each": each}
    bounds = {bound: value for bound, value in bounds_of(**given).items() if value is not None}
    spec = {**{word: value for word, value in who.items() if value}, **bounds}
    if not bounds:
        raise Invalid(
            "this limit bounds nothing",
            hint="give --rpm, --tpm, --concurrency or --budget-usd; `limits delete` removes one",
        )
    document = {"apiVersion": "modelyard/v1", "kind": "Limit", "name": name, "spec": spec}
    answer = session.client.set_limit(document)
    verb = "set" if answer["changed"] else "unchanged"
    line = f"limit {name} {verb}: {wording.bounds(spec)} for {wording.whom(spec)}"
    session.out.answer(answer, lambda: session.out.line(line))


@limits.command()
@permission("limits.write")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@connected
def delete(session: Session, names: tuple[str, ...]) -> None:
    """Remove limits; nothing is bounded by them any more.

    \b
    Example:
      modelyard limits delete blue
    """
    delete_all(session, names)


def delete_all(session: Session, names: tuple[str, ...]) -> None:
    """Remove each, saying so."""
    for name in names:
        session.client.delete_limit(name)
        session.out.line(f"limit {name} is deleted")
    session.out.answer({"deleted": list(names)}, lambda: None)
