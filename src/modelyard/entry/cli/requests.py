"""Requests: one record each; lists, one in full, and live."""

from collections.abc import Callable, Iterator
from typing import Any

import click

from modelyard.entry.cli import waterfall
from modelyard.entry.cli.commands import Nouns, connected, permission
from modelyard.entry.cli.formats import (
    PastMoment,
    Span,
    clock_time,
    dollars,
    duration,
    moment,
    number,
    printable,
)
from modelyard.entry.cli.output import Output, style_of
from modelyard.entry.cli.session import Session

FILTERS = {
    "service": "Only requests to this service.",
    "outcome": "Only this outcome: completed, cached, failed, cancelled, rejected, gateway_lost.",
    "status": "Only this HTTP status, such as 503.",
    "key_id": "Only requests with this access key (its id).",
    "team": "Only this team's.",
    "person": "Only this person's.",
    "session": "Only this session's.",
    "client": "Only from this client program.",
    "model_version": "Only those that this version answered, such as support-bot:3.",
    "endpoint": "Only those that this endpoint answered (a replica's id).",
}


@click.group(cls=Nouns, short_help="One record per request.")
def requests() -> None:
    """Requests: exactly one record for each, whatever happened to it.

    \b
    Example:
      modelyard requests list --service support --outcome failed --since 1h
    """


def filtered(function: Callable[..., None]) -> Callable[..., None]:
    """Add an option for every filter, in the order of FILTERS."""
    for name, text in reversed(FILTERS.items()):
        flag = "--key" if name == "key_id" else "--" + name.replace("_", "-")
        kind = click.IntRange(100, 599) if name == "status" else str
        function = click.option(flag, name, type=kind, default=None, help=text)(function)
    return function


@requests.command("list")
@permission("requests.read")
@filtered
@click.option("--slower", type=Span(), default=None, help="Only those that took longer: 500ms, 2s.")
@click.option("--since", type=PastMoment(), default=None, help="Not before: 1h, 7d or ISO 8601.")
@click.option("--until", type=PastMoment(), default=None, help="Before: 1h, 7d or ISO 8601.")
@click.option("--before", default="", help="Continue after this request id, the last one seen.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="How many, newest first.",
)
@connected
def list_(
    here: Session,
    slower: int | None,
    since: int | None,
    until: int | None,
    before: str,
    limit: int,
    **filters: Any,
) -> None:
    """The latest requests, newest first; times are local.

    \b
    Example:
      modelyard requests list --service support --slower 500ms --since 1h
    """
    filters |= {"min_duration_us": slower, "since_us": since, "until_us": until}
    given = {name: value for name, value in filters.items() if value is not None}
    found = here.client.requests(limit=limit, before_id=before, **given)
    here.out.answer(found, lambda: _page(here.out, found, limit))


def _page(out: Output, found: list[dict[str, Any]], limit: int) -> None:
    request_table(out, found)
    if len(found) == limit:
        out.note(f"more: --before {found[-1]['request_id']}")


COLUMNS = ("started", ">latency", ">ttft", ">in", ">out", ">status", "outcome", "service",
           "client", "request")  # fmt: skip


def request_table(out: Output, found: list[dict[str, Any]]) -> None:
    """Requests as a dense table."""
    rows = [_row(request) for request in found]
    out.table(COLUMNS, rows, empty="no requests match; call a service with `modelyard chat NAME`")


def _row(request: dict[str, Any]) -> tuple[str, ...]:
    return (
        clock_time(request["started_at_us"]),
        duration(request["duration_us"]),
        duration(request.get("ttft_us")),
        number(request.get("tokens_input")),
        number(request.get("tokens_output")),
        str(request["status"]),
        request["outcome"],
        request.get("service") or "-",
        request.get("client") or "-",
        request["request_id"],
    )


@requests.command()
@permission("requests.read")
@click.argument("request_id", metavar="ID")
@connected
def show(session: Session, request_id: str) -> None:
    """One request whole: what happened when, over which attempts.

    The id is the answer's x-request-id header.

    \b
    Example:
      modelyard requests show req_0193f2c4a1b27c3d9e8f7a6b5c4d3e2f
    """
    found = session.client.request(request_id)
    session.out.answer(found, lambda: show_request(session.out, found))


def show_request(out: Output, found: dict[str, Any]) -> None:
    """How it ended, then the waterfall, then every fact."""
    request = found["request"]
    took = duration(request["duration_us"])
    out.line(
        f"{request['request_id']} {request['outcome']} with {request['status']} after {took}",
        f"bold {style_of(request['outcome'])}".strip(),
    )
    if request.get("error_message"):
        out.line(f"  {request['error_code']}: {request['error_message']}")
    out.line()
    for line in waterfall.draw(request, found["attempts"]):
        out.line(line)
    out.line()
    out.pairs(facts(request), indent=2)


def facts(request: dict[str, Any]) -> list[tuple[str, str]]:
    """Every fact that there is, each with its name."""
    tokens = f"{number(request.get('tokens_input'))} in, {number(request.get('tokens_output'))} out"
    tokens += " (estimated)" if request.get("usage_estimated") else ""
    parts = {
        "cached": request.get("tokens_cached"),
        "written to the cache": request.get("tokens_cache_write"),
        "reasoning": request.get("tokens_reasoning"),
    }
    of_these = [f"{number(count)} {name}" for name, count in parts.items() if count is not None]
    cost = request.get("cost_nano_usd")
    caller = [request.get(name) or "" for name in ("key_id", "team", "person", "client")]
    return [
        ("started", moment(request["started_at_us"])),
        ("route", request["route"] + (" (streamed)" if request.get("stream") else "")),
        ("service", request.get("service") or ""),
        ("stood in", request.get("fallback") or ""),
        ("why there", request.get("routing") or ""),
        ("waited", duration(request["queue_us"]) if request.get("queue_us") is not None else ""),
        ("cache", request.get("cache") or ""),
        ("made for", request.get("caused_by") or ""),
        ("version", request.get("model_version") or ""),
        ("revision", request.get("revision") or ""),
        ("endpoint", request.get("endpoint") or ""),
        ("asked in", request.get("translated_to") or ""),
        ("guarantee", request.get("guarantee") or ""),
        ("tokens", ", ".join([tokens, *of_these])),
        ("cost", dollars(cost) if cost is not None else ""),
        ("without price", request.get("unpriced") or ""),
        ("finish", request.get("finish_reason") or ""),
        ("caller", " · ".join(word for word in caller if word)),
        ("session", request.get("session") or ""),
        ("process", request.get("process") or ""),
    ]


@requests.command()
@permission("requests.read")
@filtered
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Stop after this many; 0: go on until Ctrl-C.",
)
@connected
def tail(here: Session, limit: int, **filters: Any) -> None:
    """Requests as they end, one line each; with -o json one JSON object a line.

    \b
    Example:
      modelyard requests tail --service support
    """
    wanted = {name: value for name, value in filters.items() if value is not None}
    here.out.note("waiting for requests; Ctrl-C ends this")
    for count, request in enumerate(_matching(here.client.live(), wanted), start=1):
        _tail_line(here.out, request)
        if count == limit:
            return


def _matching(rows: Iterator[dict[str, Any]], wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (row for row in rows if all(row.get(name) == value for name, value in wanted.items()))


def _tail_line(out: Output, request: dict[str, Any]) -> None:
    import json

    if out.structured:
        click.echo(json.dumps(request, ensure_ascii=False))
        return
    cells = _row(request)
    widths = (12, 8, 8, 6, 6, 4, 12, 16, 16, 0)
    parts = [
        printable(cell).rjust(width) if column.startswith(">") else printable(cell).ljust(width)
        for column, cell, width in zip(COLUMNS, cells, widths, strict=True)
    ]
    out.line(" ".join(parts).rstrip(), style_of(request["outcome"]))
