"""Services: apply documents, see whether they are ready and why not."""

import sys
from pathlib import Path
from typing import Any

import click

from modelyard.entry import wording
from modelyard.entry.cli.commands import Nouns, connected, permission
from modelyard.entry.cli.formats import Span, duration, size
from modelyard.entry.cli.output import Output
from modelyard.entry.cli.session import Session
from modelyard.errors import Invalid
from modelyard.lib.clock import now_us


@click.group(cls=Nouns, short_help="What clients call by name.")
def services() -> None:
    """Services: what clients call by name.

    \b
    Example:
      modelyard services show support
    """


@click.command(short_help="Create or change services, limits and providers from documents.")
@permission("services.write")
@click.option(
    "-f",
    "--file",
    "file",
    required=True,
    type=click.Path(allow_dash=True, dir_okay=False, exists=True),
    help="YAML or JSON with one or more documents (Service, Limit, Provider); - reads standard "
    "input.",
)
@click.option("--wait", is_flag=True, help="Return only when every service is ready.")
@click.option(
    "--timeout",
    type=Span(),
    default="5m",
    show_default=True,
    help="How long --wait waits, such as 90s or 10m.",
)
@connected
def apply(session: Session, file: str, wait: bool, timeout: int) -> None:
    """Create or change services, limits and providers from documents: all of a file, or none.
    Applying the same twice changes nothing.

    \b
    Example:
      modelyard apply -f service.yaml --wait
    """
    applied = session.client.apply_all(read_documents(file))
    for answer in applied:
        verb = "applied" if answer["changed"] else "unchanged"
        what = f"{answer['kind'].lower()} {answer['name']}"
        session.out.line(f"{what} {verb} (generation {answer['generation']})")
    if wait:
        for answer in applied:
            if answer["kind"] == "Service":
                wait_ready(session, answer["name"], timeout)
    session.out.answer(applied, lambda: None)


def read_documents(file: str) -> list[Any]:
    """All documents of a file (`-`: standard input). Raises Invalid saying where it is wrong."""
    import yaml

    name = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except UnicodeDecodeError as error:
        raise Invalid(f"{name} is not UTF-8 text: {error}") from None
    except yaml.YAMLError as error:
        raise Invalid(f"{name} is not valid YAML: {error}") from None
    if not documents:
        raise Invalid(f"{name} holds no document")
    return documents


def wait_ready(session: Session, name: str, timeout_us: int) -> dict[str, Any]:
    """Wait with a live line. Raises Unavailable with the reason, or TimedOut."""
    with session.out.status(f"waiting for {name}") as update:
        return session.client.wait_ready(
            name, timeout_us / 10**6, lambda service: update(f"{name}: {verdict(service)}")
        )


def verdict(service: dict[str, Any]) -> str:
    """Whether it is ready, else why not."""
    status = service["status"] or {}
    phase = str(status.get("phase", "starting"))
    message = str(status.get("message", "")) or (
        "" if phase == "ready" else "the platform has not looked at it yet"
    )
    return f"{phase}: {message}" if message and message != phase else phase


@services.command("list")
@permission("services.read")
@connected
def list_(session: Session) -> None:
    """All services and whether each is ready.

    \b
    Example:
      modelyard services list
    """
    found = session.client.services()
    session.out.answer(found, lambda: service_table(session.out, found))


def service_table(out: Output, found: list[dict[str, Any]]) -> None:
    """Services as a table."""
    columns = ("name", "phase", ">ready", "model", "engine", "revision", "canary", "message")
    out.table(
        columns,
        [_service_row(service) for service in found],
        empty="no services yet; make one with `modelyard run PATH.gguf` or "
        "`modelyard apply -f FILE`",
    )


def _service_row(service: dict[str, Any]) -> tuple[str, ...]:
    document, status = service["document"], service["status"] or {}
    spec = document["spec"]
    return (
        document["name"],
        status.get("phase", "starting"),
        ready_count(status),
        status.get("model_version") or spec.get("model") or "-",
        status.get("engine") or spec.get("engine", {}).get("name", "xllamacpp"),
        status.get("revision") or "-",
        canary_text(status) or "-",
        status.get("message") or "",
    )


def canary_text(status: dict[str, Any]) -> str:
    """`10 % to bot:4, starting`; empty without a canary."""
    canary = status.get("canary")
    if not canary:
        return ""
    what = canary["model_version"] or canary["revision"] or "nothing"
    message = f": {canary['message']}" if canary["message"] else ""
    return f"{100 * canary['weight']:.4g} % to {what}, {canary['phase']}{message}"


def ready_count(status: dict[str, Any]) -> str:
    """`1/2`: ready replicas of those wanted; of outside URLs their number."""
    replicas = status.get("replicas") or []
    if not replicas:
        return str(len(status.get("endpoints") or []))
    ready = sum(replica["phase"] == "ready" for replica in replicas)
    return f"{ready}/{len(replicas)}"


@services.command()
@permission("services.read")
@click.argument("name")
@connected
def show(session: Session, name: str) -> None:
    """Whether a service is ready, else why not, and its replicas.

    \b
    Example:
      modelyard services show support
    """
    service = session.client.service(name)
    session.out.answer(service, lambda: show_service(session.out, service))


def show_service(out: Output, service: dict[str, Any]) -> None:
    """The answer first, then the evidence."""
    from modelyard.entry import abilities, priced

    document, status = service["document"], service["status"] or {}
    phase = status.get("phase", "starting")
    style = {"ready": "bold green", "failed": "bold red", "invalid": "bold red"}
    out.line(f"{document['name']} is {verdict(service)}", style.get(phase, "bold yellow"))
    behind = status and status.get("generation", 0) < service["generation"]
    out.pairs(
        [
            ("model", status.get("model_version") or document["spec"].get("model", "")),
            ("digest", status.get("model_digest", "")),
            ("engine", status.get("engine", "")),
            ("revision", status.get("revision", "")),
            ("canary", canary_text(status)),
            ("can", abilities.said(service)),
            ("price", priced.said(service)),
            ("content kept", wording.content(document["spec"])),
            ("generation", f"{service['generation']}" + (" (not yet running)" if behind else "")),
        ],
        indent=2,
    )
    out.line()
    _replica_table(out, status)


def _replica_table(out: Output, status: dict[str, Any]) -> None:
    parts = [part for part in (status, status.get("canary")) if part]
    replicas = replicas_of(status)
    urls = [
        (endpoint["id"], endpoint["url"])
        for part in parts
        if not part.get("replicas")
        for endpoint in part.get("endpoints") or ()
    ]
    if urls or not replicas:
        out.table(("endpoint", "url"), urls, empty="no replicas run")
    if replicas:
        columns = ("replica", "phase", "since", ">restarts", ">memory", ">pid", "url", "reason")
        out.table(columns, [_replica_row(replica) for replica in replicas])


def replicas_of(status: dict[str, Any]) -> list[dict[str, Any]]:
    """The replicas of the stable revision and of its canary."""
    canary = status.get("canary") or {}
    return [*(status.get("replicas") or ()), *(canary.get("replicas") or ())]


def _replica_row(replica: dict[str, Any]) -> tuple[str, ...]:
    since = replica.get("since_us") or 0
    return (
        replica["id"],
        replica["phase"],
        f"{duration(now_us() - since)} ago" if since else "-",
        str(replica.get("restarts", 0)),
        size(replica.get("memory_bytes") or None),
        str(replica.get("pid") or "-"),
        replica.get("url") or "-",
        replica.get("reason") or "",
    )


@services.command()
@permission("logs.read")
@click.argument("name")
@click.option("--replica", default="", help="Only this replica; without it, all of the service.")
@click.option(
    "--lines",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="How many of the last lines of each replica.",
)
@connected
def logs(session: Session, name: str, replica: str, lines: int) -> None:
    """The last output of a service's replicas.

    \b
    Example:
      modelyard services logs support --lines 20
    """
    status = session.client.service(name)["status"] or {}
    known = [found["id"] for found in replicas_of(status)]
    wanted = [replica] if replica else known
    found = {one: session.client.logs(name, one, lines) for one in wanted}
    session.out.answer(found, lambda: _show_logs(session.out, found))


def _show_logs(out: Output, found: dict[str, list[str]]) -> None:
    if not found:
        out.line("no replicas run")
    for replica, lines in found.items():
        prefix = f"{replica}  " if len(found) > 1 else ""
        for line in lines:
            out.line(prefix + line)


@services.command()
@permission("services.read")
@click.argument("name")
@click.option(
    "--timeout",
    type=Span(),
    default="5m",
    show_default=True,
    help="Give up after this time, such as 90s or 10m.",
)
@connected
def wait(session: Session, name: str, timeout: int) -> None:
    """Wait until a service is ready; fails with the reason when it cannot become so.

    \b
    Example:
      modelyard services wait support --timeout 2m
    """
    started = now_us()
    service = wait_ready(session, name, timeout)
    took = duration(now_us() - started)
    session.out.answer(service, lambda: session.out.line(f"{name} is ready after {took}"))
