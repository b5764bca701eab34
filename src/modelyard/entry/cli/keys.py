"""Access keys: made once, shown once, revoked at once."""

from typing import Any

import click

from modelyard.entry import wording
from modelyard.entry.cli.bounds import bound_options, bounds_of, priority_option
from modelyard.entry.cli.commands import Nouns, connected, permission
from modelyard.entry.cli.formats import FutureMoment, moment
from modelyard.entry.cli.output import Output
from modelyard.entry.cli.session import Session
from modelyard.lib.clock import now_us

BOUNDS = ("requests_per_minute", "tokens_per_minute", "concurrency", "budget", "unknown_price")


@click.group(cls=Nouns, short_help="Who may call what.")
def keys() -> None:
    """Access keys: who may call what.

    \b
    Example:
      modelyard keys create --label "web shop" --service support
    """


@keys.command("list")
@permission("keys.read")
@connected
def list_(session: Session) -> None:
    """All keys, never their secrets.

    \b
    Example:
      modelyard keys list
    """
    found = session.client.keys()
    session.out.answer(found, lambda: key_table(session.out, found))


def key_table(out: Output, found: list[dict[str, Any]]) -> None:
    """Keys as a table."""
    columns = (
        *("id", "state", "role", "label", "services", "team", "person"),
        *("limits", "priority", "created", "expires"),
    )
    out.table(columns, [_row(key) for key in found], empty="no keys; `modelyard keys create`")


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    return (
        key["id"],
        state(key),
        key["role"],
        key.get("label") or "-",
        ", ".join(key.get("services") or ()) or "all",
        key.get("team") or "-",
        key.get("person") or "-",
        wording.bounds(key.get("limits") or {}) or "-",
        key.get("priority") or "normal",
        moment(key.get("created_at_us")),
        moment(key.get("expires_at_us")) if key.get("expires_at_us") else "never",
    )


def state(key: dict[str, Any]) -> str:
    """`active`, `revoked` or `expired`."""
    if key.get("revoked_at_us"):
        return "revoked"
    expires = key.get("expires_at_us") or 0
    return "expired" if 0 < expires <= now_us() else "active"


@keys.command()
@permission("keys.write")
@click.option(
    "--role",
    default="caller",
    show_default=True,
    help="caller: may call services; admin: may do everything.",
)
@click.option(
    "--service",
    "services",
    multiple=True,
    help="May call only this service; may be given several times. Without it: all.",
)
@click.option("--label", default="", help="What the key is for, for whoever reads the list.")
@click.option("--team", default="", help="Team whose use it counts as.")
@click.option("--person", default="", help="Person whose use it counts as.")
@click.option("--client", default="", help="Program that will use it.")
@click.option(
    "--expires",
    type=FutureMoment(),
    default=None,
    help="End of its life, such as 30d or 2027-01-31. Without it: never.",
)
@click.option(
    "--trusted",
    is_flag=True,
    help="Of an application with users of its own: it may say for whom it asks.",
)
@bound_options
@priority_option
@connected
def create(
    session: Session,
    services: tuple[str, ...],
    expires: int | None,
    priority: str | None,
    trusted: bool,
    role: str,
    label: str,
    team: str,
    person: str,
    client: str,
    **given: Any,
) -> None:
    """Make a key. It is shown once; only a digest of it is kept.

    \b
    Example:
      modelyard keys create --label "web shop" --service support --expires 90d
      modelyard keys create --team blue --rpm 100 --budget-usd 50 --per month
    """
    made = session.client.create_key(
        role=role,
        label=label,
        team=team,
        person=person,
        client=client,
        services=list(services),
        expires_at_us=expires or 0,
        limits=bounds_of(**given),
        priority=priority or "normal",
        trusted=trusted,
    )
    session.out.answer(made, lambda: _show_new(session, made))


def _show_new(session: Session, made: dict[str, Any]) -> None:
    out = session.out
    service = next(iter(made.get("services") or ()), "SERVICE")
    out.line(f"key {made['id']} ({made['role']}); it is shown only now:")
    out.line()
    out.line(f"  {made['key']}", "bold")
    out.line()
    out.line("use it:")
    out.line(f"  export MODELYARD_API_KEY={made['key']}")
    out.line("  " + curl_line(session.gateway_url, "$MODELYARD_API_KEY", service))


def curl_line(gateway_url: str, key: str, service: str, question: str = "Hello") -> str:
    """A call of the service that can be pasted into a shell."""
    import json
    import shlex

    body = {"model": service, "messages": [{"role": "user", "content": question}]}
    return (
        f'curl {gateway_url}/v1/chat/completions -H "Authorization: Bearer {key}" '
        f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    )


@keys.command()
@permission("keys.write")
@click.argument("key_id", metavar="ID")
@bound_options
@priority_option
@click.option("--none", is_flag=True, help="Take away every bound that is not given here.")
@connected
def limit(session: Session, key_id: str, priority: str | None, none: bool, **given: Any) -> None:
    """Change what a key may use. What is not given stays; 0 takes a bound away.

    \b
    Example:
      modelyard keys limit 7h2k9q4m1x8c --rpm 100 --budget-usd 50 --per month
      modelyard keys limit 7h2k9q4m1x8c --none
    """
    bounds = bounds_of(**given)
    if not bounds and not priority and not none:
        raise click.UsageError("nothing to change: give a bound, --priority or --none")
    gone = dict.fromkeys(BOUNDS) if none else {}
    key = session.client.limit_key(key_id, {**gone, **bounds}, priority or "")
    text = wording.bounds(key["limits"]) or "no limits of its own"
    line = f"key {key_id}: {text}, priority {key['priority']}"
    session.out.answer(key, lambda: session.out.line(line))


@keys.command()
@permission("keys.write")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@connected
def revoke(session: Session, ids: tuple[str, ...]) -> None:
    """End keys; requests with them are refused within a second.

    \b
    Example:
      modelyard keys revoke 7h2k9q4m1x8c
    """
    revoke_all(session, ids)


def revoke_all(session: Session, ids: tuple[str, ...]) -> None:
    """Revoke each, saying so."""
    answers = []
    for key_id in ids:
        answers.append(session.client.revoke_key(key_id))
        session.out.line(f"key {key_id} is revoked")
    session.out.answer(answers, lambda: None)
