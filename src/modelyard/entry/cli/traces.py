"""Traces: recorded or published traffic, played against simulated replicas."""

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from modelyard.domain.routing import rule_named
from modelyard.domain.simulation.replicas import Fleet
from modelyard.domain.simulation.results import Summary, summary
from modelyard.domain.simulation.simulator import Gateway, Simulation
from modelyard.domain.simulation.traces import Arrival, faster, from_rows, shares_prefixes
from modelyard.entry.cli.commands import Nouns, output_option, permission
from modelyard.entry.cli.formats import duration, number
from modelyard.entry.cli.output import Output, is_fancy
from modelyard.errors import Invalid
from modelyard.lib.clock import monotonic_s

DEFAULT_RULES = ("first_token", "cache_aware", "round_robin")
SILENT_S = 1.0
"""Shorter runs show no progress."""
STEP_PERCENT = 50
"""Where nothing can move, each step is a line."""
PICTURES = (".svg", ".html")


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """Positive numbers with commas between them."""

    name = "numbers"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """See click."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(float(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            found = (0.0,)
        if not all(0 < one < float("inf") for one in found):
            self.fail(f"{value!r} is no list of positive numbers; write 1,1,0.5,2", param, ctx)
        return found


@click.group(cls=Nouns, short_help="Recorded traffic against simulated replicas.")
def traces() -> None:
    """Traces: recorded or published traffic, played against simulated replicas.

    \b
    Example:
      modelyard traces replay trace.jsonl --rule first_token --rule round_robin
    """


def _shaped(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say what the replicas and the gateway are like."""
    rate = click.FloatRange(min=0, min_open=True)
    for option in (
        click.option("--replicas", type=click.IntRange(1, 1000), default=8, show_default=True,
                     help="How many replicas."),
        click.option("--prefill-rate", type=rate, default=16_000.0, show_default=True,
                     help="Tokens of prompt that a replica reads a second."),
        click.option("--cache-blocks", type=click.IntRange(0), default=2_000, show_default=True,
                     help="Blocks of 512 tokens that the prefix cache of a replica keeps."),
        click.option("--replica-speeds", type=Numbers(), default=(),
                     help="Speed of each replica, such as 1,1,0.5,2; those not named have 1."),
        click.option("--decode-rate", type=click.FloatRange(0), default=50.0, show_default=True,
                     help="Tokens a second of one answer; 0: answers take no time."),
        click.option("--slots", type=click.IntRange(0), default=0, show_default=True,
                     help="Requests a replica works on at once; 0: any number."),
        click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True,
                     help="Gateway processes; each sees the others' load every 200 ms."),
    )[::-1]:  # fmt: skip
        function = option(function)
    return function


@traces.command()
@permission("local")
@click.argument("trace", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--rule", "rules", multiple=True, help="A routing rule to compare; may be given repeatedly."
)
@click.option("--beta", type=float, default=1.0, show_default=True, help="For the rule prefix.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Requests arrive this many times as fast as in the trace.",
)
@_shaped
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the comparison into this file, .svg or .html.",
)
@output_option
def replay(
    trace: str,
    rules: tuple[str, ...],
    beta: float,
    speed: float,
    report: Path | None,
    output: str,
    processes: int,
    replica_speeds: tuple[float, ...],
    **shape: Any,
) -> None:
    """Compare routing rules on a trace: hit rate, first-token times, balance.

    TRACE is a Mooncake file (JSON lines with timestamp, input_length, output_length, hash_ids), or
    what `modelyard requests list -o json` prints; - reads standard input. The replicas are
    simulated, the rules are the gateway's own. Nothing is sent anywhere.

    \b
    Example:
      modelyard traces replay trace.jsonl --speed 2 --report routing.svg
      modelyard requests list --limit 1000 -o json | modelyard traces replay - --replicas 2
    """
    out = Output(output)
    names = tuple(dict.fromkeys(rules or DEFAULT_RULES))
    for name in names:
        rule_named(name)
    if report is not None and report.suffix not in PICTURES:
        raise Invalid(f"{report}: a report is .svg or .html", hint="name it routing.svg")
    if len(replica_speeds) > shape["replicas"]:
        raise Invalid(
            f"--replica-speeds: {len(replica_speeds)} speeds for {shape['replicas']} replicas",
            hint="name more replicas, or fewer speeds",
        )
    arrivals = faster(from_rows(_rows(trace), _shown(trace)), speed)
    fleet = Fleet(speeds=replica_speeds, **shape)
    found = _compare(out, arrivals, names, beta, fleet, Gateway(processes=processes))
    value = _value(arrivals, fleet, processes, speed, found)
    if report is not None:
        from modelyard.entry.cli import trace_pictures

        report.write_text(trace_pictures.draw(value, report.suffix), encoding="utf-8")
    out.answer(value, lambda: _show(out, value))
    if report is not None:
        out.note(f"drawn into {report}")


# --- reading ------------------------------------------------------------------------------------


def _shown(trace: str) -> str:
    return "standard input" if trace == "-" else Path(trace).name


def _rows(trace: str) -> Iterator[tuple[int, Any]]:
    """Numbered rows of JSON lines, or of one JSON array."""
    try:
        text = sys.stdin.read() if trace == "-" else Path(trace).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"{_shown(trace)}: this is no text", hint="a trace is JSON lines") from error
    if text.lstrip().startswith("["):
        yield from enumerate(_parsed(text, f"{_shown(trace)}"), start=1)
        return
    for line, row in enumerate(text.splitlines(), start=1):
        if row.strip():
            yield line, _parsed(row, f"{_shown(trace)}: row {line}")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Invalid(f"{where}: {error}", hint="a trace is JSON lines, or one array") from error


# --- running ------------------------------------------------------------------------------------


def _compare(
    out: Output,
    trace: list[Arrival],
    names: tuple[str, ...],
    beta: float,
    fleet: Fleet,
    gateway: Gateway,
) -> dict[str, Summary]:
    found = {}
    with contextlib.ExitStack() as open_until_done:
        progress = _Progress(out, open_until_done, len(trace))
        for name in names:
            progress.rule = name
            rule = functools.partial(rule_named, name, beta)
            simulation = Simulation(rule, fleet, gateway)
            found[name] = summary(simulation.run(trace, progress.heard))
    return found


class _Progress:
    """Shown from the moment a run turns out to be long."""

    def __init__(self, out: Output, stack: contextlib.ExitStack, requests: int) -> None:
        self.rule = ""
        self._out = out
        self._stack = stack
        self._requests = requests
        self._since_s = monotonic_s()
        self._update: Callable[[str], None] | None = None

    def heard(self, done: int) -> None:
        """So many requests of the trace have arrived."""
        if done % 256:
            return
        if self._update is None:
            if monotonic_s() - self._since_s < SILENT_S:
                return
            self._update = self._stack.enter_context(self._out.status("replaying"))
        percent = 100 * done // self._requests
        if not is_fancy(sys.stderr):
            percent -= percent % STEP_PERCENT
        self._update(f"replaying {self.rule}: {percent} %")


# --- showing ------------------------------------------------------------------------------------


def _value(
    trace: list[Arrival], fleet: Fleet, processes: int, speed: float, found: dict[str, Summary]
) -> dict[str, Any]:
    return {
        "trace": {
            "requests": len(trace),
            "span_s": round(trace[-1].at_s, 3),
            "speed": speed,
            "tokens_input": sum(one.tokens_input for one in trace),
            "tokens_output": sum(one.tokens_output for one in trace),
            "shares_prefixes": shares_prefixes(trace),
        },
        "fleet": fleet._asdict() | {"processes": processes},
        "rules": [{"rule": name, **one._asdict()} for name, one in found.items()],
    }


COLUMNS = ("rule", ">hit rate", ">p50", ">p90", ">p99", ">mean", ">balance", ">busy")


def table_rows(value: dict[str, Any]) -> list[tuple[str, ...]]:
    """The comparison as cells under COLUMNS; times are to the first token."""
    return [
        (
            one["rule"],
            f"{one['hit_rate']:.1%}",
            *(duration(one[name] * 1e6) for name in ("p50_s", "p90_s", "p99_s", "mean_s")),
            f"{one['balance']:.2f}",
            f"{one['utilisation']:.0%}",
        )
        for one in value["rules"]
    ]


def headline(value: dict[str, Any]) -> str:
    """What was played, in one line."""
    trace, fleet = value["trace"], value["fleet"]
    return (
        f"{number(trace['requests'])} requests in {duration(trace['span_s'] * 1e6)}, "
        f"{fleet['replicas']} replicas of {fleet['prefill_rate']:,.0f} tokens/s and "
        f"{number(fleet['cache_blocks'])} blocks of cache; time to the first token"
    )


def _show(out: Output, value: dict[str, Any]) -> None:
    out.line(headline(value))
    out.line()
    out.table(COLUMNS, table_rows(value))
    if not value["trace"]["shares_prefixes"]:
        out.note("no two prompts of this trace share a prefix: the rules differ by load only")
