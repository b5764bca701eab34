"""`get` and `delete` over all nouns: the same answers as each noun's own commands."""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

from modelyard.entry.cli import keys, models, requests, services
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


def get(session: Session, word: str, name: str) -> None:
    """A list, or one thing whole."""
    noun = NOUNS[_noun(word, tuple(NOUNS))]
    if name:
        one = noun.one(session, name)
        session.out.answer(one, lambda: noun.show(session.out, one))
    else:
        found = noun.every(session)
        session.out.answer(found, lambda: noun.table(session.out, found))


def delete(session: Session, word: str, names: tuple[str, ...]) -> None:
    """Remove things by name."""
    if _noun(word, ("services", "keys")) == "keys":
        keys.revoke_all(session, names)
        return
    for name in names:
        session.client.delete_service(name)
        session.out.line(f"service {name} is deleted; its replicas finish what they work on")
    session.out.answer({"deleted": list(names)}, lambda: None)
