"""The audit log: who changed what, when."""

from typing import Any

import click

from modelyard.entry.cli.commands import Nouns, connected, permission
from modelyard.entry.cli.formats import moment
from modelyard.entry.cli.output import Output
from modelyard.entry.cli.session import Session


@click.group(cls=Nouns, short_help="Who changed what, when.")
def audit() -> None:
    """The audit log: who changed what, when.

    \b
    Example:
      modelyard audit list
    """


@audit.command("list")
@permission("audit.read")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="How many of the latest entries.",
)
@connected
def list_(session: Session, limit: int) -> None:
    """The latest changes of documents, newest first.

    \b
    Example:
      modelyard audit list --limit 20
    """
    found = session.client.audit(limit)
    session.out.answer(found, lambda: _table(session.out, found))


def _table(out: Output, found: list[dict[str, Any]]) -> None:
    columns = (">generation", "when", "actor", "what", "documents")
    out.table(columns, [_row(entry) for entry in found], empty="nothing was changed yet")


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(entry["generation"]),
        moment(entry["at_us"]),
        entry["actor"],
        entry["reason"],
        ", ".join(_key(key) for key in entry.get("keys", ())),
    )


def _key(key: Any) -> str:
    """Without the tenant, which is always one's own."""
    if isinstance(key, dict):
        return f"{key['kind']}/{key['name']}"
    return str(key).partition("/")[2] if isinstance(key, str) else "/".join(key[1:])
