"""Models: versions pushed from disk, and the aliases that point at them."""

from pathlib import Path
from typing import Any

import click

from modelyard.entry.cli.commands import Nouns, connected, permission
from modelyard.entry.cli.formats import moment, number, size
from modelyard.entry.cli.output import Output
from modelyard.entry.cli.session import Session
from modelyard.errors import Invalid


@click.group(cls=Nouns, short_help="Versions of model files, and aliases.")
def models() -> None:
    """Models: immutable versions of model files, and aliases that point at them.

    \b
    Example:
      modelyard models push support.gguf --name support-bot --alias production
    """


@models.command()
@permission("models.write")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", required=True, help="The model to add a version to; made when missing.")
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    help="Alias to move to the new version, such as production; may be given several times.",
)
@click.option(
    "--card",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Markdown file that describes this version: data, limits, evaluation.",
)
@click.option("--description", default="", help="One line about the model.")
@click.option("--license", "license_", default="", help="Licence of the model, as SPDX.")
@connected
def push(
    session: Session,
    path: Path,
    name: str,
    aliases: tuple[str, ...],
    card: Path | None,
    description: str,
    license_: str,
) -> None:
    """Store a GGUF file, or a folder of safetensors, as a new version.

    Only files that the platform does not have yet are sent. The same files again give the
    version that is there.

    \b
    Example:
      modelyard models push support.gguf --name support-bot --alias production --card CARD.md
    """
    texts = {"description": description, "license": license_}
    profile = {key: value for key, value in texts.items() if value}
    version = push_version(session, path, name, aliases, card, profile)
    session.out.answer(version, lambda: _show_pushed(session.out, version, aliases))


def push_version(
    session: Session,
    path: Path,
    name: str,
    aliases: tuple[str, ...] = (),
    card: Path | None = None,
    profile: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Hash, send and register with progress bars; the version's document."""
    with session.out.transfer() as on_progress:
        version: dict[str, Any] = session.client.push(
            path,
            name,
            alias=aliases[0] if aliases else None,
            profile=profile or None,
            card=card.read_text() if card else None,
            on_progress=on_progress,
        )
    for alias in aliases[1:]:
        session.client.set_alias(name, alias, version["version"])
    return version


def _show_pushed(out: Output, version: dict[str, Any], aliases: tuple[str, ...]) -> None:
    reference = f"{version['name']}:{version['version']}"
    verb = "pushed" if version.get("created", True) else "is there already, unchanged"
    out.line(f"{reference} {verb} ({size(version['size_bytes'])})")
    out.pairs([("digest", version["digest"]), ("aliases", ", ".join(aliases))], indent=2)


@models.command("list")
@permission("models.read")
@connected
def list_(session: Session) -> None:
    """All models, their latest versions and aliases.

    \b
    Example:
      modelyard models list
    """
    found = session.client.models()
    session.out.answer(found, lambda: model_table(session.out, found))


def model_table(out: Output, found: list[dict[str, Any]]) -> None:
    """Models as a table."""
    columns = ("name", ">latest", "aliases", "license", "created", "description")
    empty = "no models yet; `modelyard models push PATH --name NAME`"
    out.table(columns, [_model_row(model) for model in found], empty=empty)


def _model_row(model: dict[str, Any]) -> tuple[str, ...]:
    return (
        model["name"],
        str(model.get("latest", "-")),
        _aliases(model),
        model.get("license") or "-",
        moment(model.get("created_at_us")),
        model.get("description") or "",
    )


def _aliases(model: dict[str, Any]) -> str:
    aliases = sorted((model.get("aliases") or {}).items())
    return ", ".join(f"{alias} → {version}" for alias, version in aliases) or "-"


@models.command()
@permission("models.read")
@click.argument("reference", metavar="NAME[:VERSION|@ALIAS]")
@connected
def show(session: Session, reference: str) -> None:
    """A model with its versions and aliases, or one version with its card and files.

    \b
    Example:
      modelyard models show support-bot
      modelyard models show support-bot@production
    """
    if ":" in reference or "@" in reference:
        version = session.client.version(reference)
        session.out.answer(version, lambda: _show_version(session.out, version))
    else:
        model = session.client.model(reference)
        session.out.answer(model, lambda: show_model(session.out, model))


def show_model(out: Output, found: dict[str, Any]) -> None:
    """What it is for, its aliases, its versions newest first."""
    model, versions = found["model"], found["versions"]
    out.line(f"{model['name']}: {model.get('description') or 'no description'}", "bold")
    out.pairs(
        [
            ("purpose", model.get("purpose") or ""),
            ("license", model.get("license") or ""),
            ("aliases", _aliases(model)),
            ("questions", " · ".join(model.get("suggested_questions") or ())),
        ],
        indent=2,
    )
    out.line()
    columns = (">version", "format", "architecture", ">parameters", "quantization", ">context",
               ">size", "created", "by", "digest")  # fmt: skip
    out.table(columns, [_version_row(version) for version in versions], empty="no versions")


def _version_row(version: dict[str, Any]) -> tuple[str, ...]:
    metadata = version.get("metadata") or {}
    return (
        str(version["version"]),
        version["format"],
        str(metadata.get("architecture") or "-"),
        number(metadata.get("parameters")),
        str(metadata.get("quantization") or "-"),
        number(metadata.get("context_tokens")),
        size(version["size_bytes"]),
        moment(version["created_at_us"]),
        version.get("actor") or "-",
        version["digest"][:19],
    )


def _show_version(out: Output, version: dict[str, Any]) -> None:
    out.line(f"{version['name']}:{version['version']}", "bold")
    facts = [(name, str(value)) for name, value in (version.get("metadata") or {}).items()]
    out.pairs(
        [
            ("digest", version["digest"]),
            ("format", version["format"]),
            ("size", size(version["size_bytes"])),
            ("created", f"{moment(version['created_at_us'])} by {version.get('actor') or '-'}"),
            *facts,
        ],
        indent=2,
    )
    out.line()
    files = [(one["path"], size(one["size_bytes"]), one["digest"]) for one in version["files"]]
    out.table(("file", ">size", "digest"), files)
    if version.get("card"):
        out.line()
        out.line(version["card"])


@models.command()
@permission("models.write")
@click.argument("name")
@click.argument("alias")
@click.argument("version", type=click.IntRange(min=1), required=False, default=None)
@click.option(
    "--expected",
    type=click.IntRange(min=0),
    default=None,
    help="Move it only if it points at this version now; 0: only if it does not exist yet.",
)
@click.option("--remove", is_flag=True, help="Remove the alias instead of moving it.")
@connected
def alias(
    session: Session,
    name: str,
    alias: str,
    version: int | None,
    expected: int | None,
    remove: bool,
) -> None:
    """Point an alias at a version; services that follow it change over without a gap.

    \b
    Example:
      modelyard models alias support-bot production 3 --expected 2
    """
    if remove == (version is not None):
        raise Invalid("give either a version or --remove", hint="see `modelyard models alias -h`")
    if version is None:
        model = session.client.remove_alias(name, alias)
    elif expected is None:
        model = session.client.set_alias(name, alias, version)
    else:
        model = session.client.set_alias(name, alias, version, expected=expected or None)
    done = "is removed" if remove else f"now points at {name}:{version}"
    session.out.answer(model, lambda: session.out.line(f"{name}@{alias} {done}"))


@models.command()
@permission("models.read")
@click.argument("reference", metavar="NAME[:VERSION|@ALIAS]")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@connected
def pull(session: Session, reference: str, folder: Path) -> None:
    """Copy a version's files into a folder, verified against their digests.

    \b
    Example:
      modelyard models pull support-bot@production ./models
    """
    with session.out.transfer() as on_progress:
        files = session.client.pull(reference, folder, on_progress)
    names = [str(file) for file in files]
    session.out.answer(names, lambda: session.out.line("\n".join(names)))
