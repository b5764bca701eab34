"""Providers: outside upstreams, with keys that are never shown."""

import sys
from pathlib import Path
from typing import Any

import click

from modelyard.domain.providers.kinds import KINDS, STORE
from modelyard.entry.cli.commands import Nouns, connected, permission
from modelyard.entry.cli.formats import duration, moment
from modelyard.entry.cli.output import Output
from modelyard.entry.cli.session import Session
from modelyard.errors import Invalid, NotFound


@click.group(cls=Nouns, short_help="Outside upstreams and their keys.")
def providers() -> None:
    """Providers: outside upstreams and their keys.

    \b
    Example:
      modelyard providers add openai --kind openai --key -
    """


@providers.command("list")
@permission("providers.read")
@connected
def list_(session: Session) -> None:
    """All providers, the services that use them, and what their last test found.

    \b
    Example:
      modelyard providers list
    """
    found = session.client.providers()
    session.out.answer(found, lambda: provider_table(session.out, found))


def provider_table(out: Output, found: list[dict[str, Any]]) -> None:
    """Providers as a table."""
    columns = ("name", "kind", "origin", ">keys", "services", "last test", "problem")
    out.table(
        columns,
        [_row(provider) for provider in found],
        empty="no providers; add one with `modelyard providers add openai --kind openai --key -`",
    )


def _row(provider: dict[str, Any]) -> tuple[str, ...]:
    return (
        provider["document"]["name"],
        provider["kind"] or "-",
        provider["origin"] or "-",
        str(len(provider["keys"])),
        ", ".join(provider["services"]) or "-",
        test_text(provider["test"]),
        problem_of(provider) or "-",
    )


def test_text(test: dict[str, Any] | None) -> str:
    """`ok, 2026-01-31 12:00:00`; `never`."""
    if not test:
        return "never"
    failed = sum(not one["ok"] for one in test["keys"])
    said = "ok" if test["ok"] else f"{failed} of {len(test['keys'])} failed"
    return f"{said}, {moment(test['at_us'])}"


def problem_of(provider: dict[str, Any]) -> str:
    """Of the document, or of a key that has no value."""
    keys = [f"{one['secret']}: {one['problem']}" for one in provider["keys"] if one["problem"]]
    return "; ".join(filter(None, (provider["problem"], *keys)))


@providers.command()
@permission("providers.read")
@click.argument("name")
@connected
def show(session: Session, name: str) -> None:
    """One provider: where it is, its keys by where they are kept, and its last test.

    \b
    Example:
      modelyard providers show openai
    """
    provider = session.client.provider(name)
    session.out.answer(provider, lambda: show_provider(session.out, provider))


def show_provider(out: Output, provider: dict[str, Any]) -> None:
    """The answer first, then what it is made of."""
    spec = provider["document"]["spec"]
    out.line(f"{provider['document']['name']}: {provider['kind']} at {provider['url']}", "bold")
    out.pairs(
        [
            ("problem", provider["problem"]),
            ("services", ", ".join(provider["services"])),
            ("models", ", ".join(spec.get("models", ()))),
            ("last test", test_text(provider["test"])),
            ("generation", str(provider["generation"])),
        ],
        indent=2,
    )
    out.line()
    out.table(
        ("key", ">weight", "given", "by", "problem"),
        [_key_row(key) for key in provider["keys"]],
        empty="it has no key",
    )


def _key_row(key: dict[str, Any]) -> tuple[str, ...]:
    given = moment(key["at_us"])
    return key["secret"], f"{key['weight']:g}", given, key["by"] or "-", key["problem"] or "-"


@providers.command()
@permission("providers.write")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(tuple(KINDS)),
    default=None,
    help="What it is; needed for a new one.",
)
@click.option(
    "--base-url",
    default="",
    help="Its address, where the kind has none or another is meant.",
)
@click.option("--key-env", default="", metavar="VAR", help="Environment variable with the key.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    default=None,
    help="File with the key, on the platform's machine.",
)
@click.option("--key", default="", metavar="-", help="- asks for the key, or reads it from a pipe.")
@click.option("--weight", type=float, default=None, help="Share of this key beside the others.")
@click.option("--also", is_flag=True, help="Add the key beside those there are.")
@click.option("--api-version", default="", help="Azure: preview, or a date such as 2024-10-21.")
@click.option("--organization", default="", help="OpenAI: the organization that pays.")
@click.option("--project", default="", help="OpenAI: the project that pays.")
@click.option("--no-test", is_flag=True, help="Do not call it now.")
@connected
def add(
    session: Session,
    name: str,
    key_env: str,
    key_file: Path | None,
    key: str,
    weight: float | None,
    also: bool,
    no_test: bool,
    base_url: str,
    **fields: str | None,
) -> None:
    """Add a provider, or change what is given of one that is there: with --key it gets another
    key. A key that is typed or piped is kept by the platform for the provider's address and
    never shown again. Ends with a test.

    \b
    Example:
      modelyard providers add claude --kind anthropic --key -
      modelyard providers add claude --key-env SECOND_KEY --also
      modelyard providers add lab --kind vllm --base-url http://gpu-1:8000
    """
    spec = _known(session, name)
    given = {**fields, "url": base_url}
    spec.update({field: value for field, value in given.items() if value})
    if "kind" not in spec:
        raise click.UsageError(f"there is no provider {name} yet: say what it is with --kind")
    secret = _reference(name, spec, key_env, key_file, key, also)
    if secret:
        _set_key(spec, secret, weight, also)
    elif weight is not None or also:
        raise click.UsageError("--weight and --also are for a key: give one")
    typed = {secret.removeprefix(STORE): _typed(name)} if key else {}
    document = {"apiVersion": "modelyard/v1", "kind": "Provider", "name": name, "spec": spec}
    answer = session.client.set_provider(document, typed)
    session.out.line(f"provider {name} {'added' if answer['changed'] or typed else 'unchanged'}")
    if no_test:
        session.out.answer(answer, lambda: None)
    else:
        _test(session, name)


def _known(session: Session, name: str) -> dict[str, Any]:
    """What its document says now; nothing for a new one."""
    try:
        return dict(session.client.provider(name)["document"]["spec"])
    except NotFound:
        return {}


def _reference(
    name: str, spec: dict[str, Any], key_env: str, key_file: Path | None, key: str, also: bool
) -> str:
    """Where the key is kept; empty when none is given."""
    given = [bool(key_env), key_file is not None, bool(key)]
    if sum(given) > 1:
        raise click.UsageError("give one of --key-env, --key-file and --key")
    if key not in ("", "-"):
        raise click.UsageError(
            "a key on the command line stays in the shell's history: give --key - and type it"
        )
    if key_env:
        return f"env:{key_env}"
    if key_file is not None:
        return f"file:{key_file.absolute()}"
    return f"{STORE}{_free(name, spec, also)}" if key else ""


def _free(name: str, spec: dict[str, Any], also: bool) -> str:
    """A name in the store: the provider's own, with a number for further keys."""
    taken = {_secret(one).removeprefix(STORE) for one in spec.get("keys", ())}
    names = [name[:60], *(f"{name[:60]}-{number}" for number in range(2, 100))]
    return next(one for one in names if not also or one not in taken)


def _set_key(spec: dict[str, Any], secret: str, weight: float | None, also: bool) -> None:
    """In place of the first, or behind all."""
    made: dict[str, Any] = {"secret": secret}
    if weight is not None:
        made["weight"] = weight
    keys = list(spec.get("keys", ()))
    others = keys if also else keys[1:]
    others = [one for one in others if _secret(one) != secret]
    spec["keys"] = [*others, made] if also else [made, *others]


def _secret(key: Any) -> str:
    return str(key["secret"] if isinstance(key, dict) else key)


def _typed(name: str) -> str:
    """The key from a pipe, or typed without being shown."""
    if sys.stdin.isatty():
        return str(click.prompt(f"key of {name}", hide_input=True, err=True))
    text = sys.stdin.read().strip()
    if not text:
        raise Invalid("there is no key on standard input", hint='echo "$KEY" | … --key -')
    return text


@providers.command()
@permission("providers.write")
@click.argument("name")
@connected
def test(session: Session, name: str) -> None:
    """Call a provider with each of its keys and say what failed; exit code 1 if one did.

    \b
    Example:
      modelyard providers test openai
    """
    _test(session, name)


def _test(session: Session, name: str) -> None:
    with session.out.status(f"calling {name}"):
        found = session.client.test_provider(name)
    session.out.answer(found, lambda: _show_test(session.out, found))
    if not found["ok"]:
        sys.exit(1)


def _show_test(out: Output, found: dict[str, Any]) -> None:
    rows = [
        (one["key"] or "no key", "ok" if one["ok"] else "failed", _took(one), one["said"])
        for one in found["keys"]
    ]
    out.table(("key", "result", ">took", "said"), rows)


def _took(row: dict[str, Any]) -> str:
    return duration(row["latency_us"]) if row["latency_us"] else "-"


@providers.command()
@permission("providers.read")
@click.argument("name")
@connected
def models(session: Session, name: str) -> None:
    """The models that a provider lists.

    \b
    Example:
      modelyard providers models openai
    """
    found = session.client.provider_models(name)
    rows = [(one,) for one in found]
    session.out.answer(found, lambda: session.out.table(("model",), rows, empty="it lists none"))


@providers.command()
@permission("providers.write")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--force",
    is_flag=True,
    help="Also one that services use; they go on with their other upstreams, if they have any.",
)
@connected
def delete(session: Session, names: tuple[str, ...], force: bool) -> None:
    """Remove providers and the keys that were stored for them.

    \b
    Example:
      modelyard providers delete openai
    """
    delete_all(session, names, force)


def delete_all(session: Session, names: tuple[str, ...], force: bool) -> None:
    """Remove each, saying so."""
    for name in names:
        session.client.delete_provider(name, force)
        session.out.line(f"provider {name} and its stored keys are deleted")
    session.out.answer({"deleted": list(names)}, lambda: None)
