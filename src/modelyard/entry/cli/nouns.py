"""`get` and `delete` over all nouns: the same answers as each noun's own commands."""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from modelyard.entry.cli import keys, limits, models, providers, requests, services
from modelyard.entry.cli.commands import connected, permission
from modelyard.entry.cli.output import Output
from modelyard.entry.cli.session import Session
from modelyard.errors import Invalid, NotFound


class _Noun(NamedTuple):
    every: Callable[[Session], list[dict[str, Any]]]
    table: Callable[[Output, list[dict[str, Any]]], None]
    one: Callable[[Session, str], Any]
    show: Callable[[Output, Any], None]


def _one_key(session: Session, key_id: str) -> dict[str, Any]:
    found = session.client.keys()
    for key in found:
        if key["id"] == key_id:
            return key
    raise NotFound(f"no key {key_id!r}", hint="see `modelyard keys list`")


NOUNS = {
    "services": _Noun(
        lambda session: session.client.services(),
        services.service_table,
        lambda session, name: session.client.service(name),
        services.show_service,
    ),
    "models": _Noun(
        lambda session: session.client.models(),
        models.model_table,
        lambda session, name: session.client.model(name),
        models.show_model,
    ),
    "keys": _Noun(
        lambda session: session.client.keys(),
        keys.key_table,
        _one_key,
        lambda out, key: keys.key_table(out, [key]),
    ),
    "limits": _Noun(
        lambda session: session.client.limits(),
        limits.limit_table,
        lambda session, name: session.client.limit(name),
        limits.show_limit,
    ),
    "providers": _Noun(
        lambda session: session.client.providers(),
        providers.provider_table,
        lambda session, name: session.client.provider(name),
        providers.show_provider,
    ),
    "requests": _Noun(
        lambda session: session.client.requests(limit=50),
        requests.request_table,
        lambda session, request_id: session.client.request(request_id),
        requests.show_request,
    ),
}


def _noun(word: str, known: tuple[str, ...]) -> str:
    for name in (word, word + "s"):
        if name in known:
            return name
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    raise Invalid(f"unknown noun {word!r}", hint=hint)


@click.command(short_help="Things of a kind, or one of them whole.")
@permission("services.read")
@click.argument("noun", metavar="NOUN")
@click.argument("name", required=False, default="")
@connected
def get(session: Session, noun: str, name: str) -> None:
    """Things of a kind, or one of them whole: services, models, keys, limits, providers, requests.

    \b
    Example:
      modelyard get services
      modelyard get service support -o yaml
    """
    kind = NOUNS[_noun(noun, tuple(NOUNS))]
    if name:
        one = kind.one(session, name)
        session.out.answer(one, lambda: kind.show(session.out, one))
    else:
        found = kind.every(session)
        session.out.answer(found, lambda: kind.table(session.out, found))


@click.command(short_help="Remove services, limits and providers, revoke keys.")
@permission("services.write")
@click.argument("noun", metavar="NOUN")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--force",
    is_flag=True,
    help="Remove a service or provider although other documents name it; that part of theirs has "
    "no effect.",
)
@connected
def delete(session: Session, noun: str, names: tuple[str, ...], force: bool) -> None:
    """Remove services (their replicas finish what they work on), limits or providers, or revoke
    keys.

    \b
    Example:
      modelyard delete service support
    """
    kind = _noun(noun, ("services", "keys", "limits", "providers"))
    if kind == "keys":
        keys.revoke_all(session, names)
    elif kind == "limits":
        limits.delete_all(session, names)
    elif kind == "providers":
        providers.delete_all(session, names, force)
    else:
        _delete_services(session, names, force)


def _delete_services(session: Session, names: tuple[str, ...], force: bool) -> None:
    for name in names:
        session.client.delete_service(name, force)
        session.out.line(f"service {name} is deleted; its replicas finish what they work on")
    session.out.answer({"deleted": list(names)}, lambda: None)
