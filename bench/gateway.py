"""What the gateway costs and adds, beside no gateway and beside others.

    python -m bench.gateway [--quick] [--rounds 3] [--only NAME …] [--json PATH]

A fake upstream with two addresses answers at once (`native/upstream.c`); `native/load.c` asks and
checks every answer against its question. Before the upstream stand in turn nothing, Modelyard,
nginx, the Rust routers of vLLM and SGLang and LiteLLM's proxy; what cannot be had is named and left
out. Rounds alternate between them and medians are shown; ratios are taken within a round, because
other work on the machine moves single figures.

Three profiles of ours, one installation: `metered`, the default, whose figures have no suffix (a
caller's key with limits of requests and tokens, ledger, records, metrics), `bare` (the admin's key
without limits; records and metrics as always) and `governed` (policy, prompts and guards as far as
they exist; today none does and it is the same as metered).

Processor time is user and system time of a gateway's whole process tree, ours until its records
are shipped. With FULL=1: five rounds, three times as long. --quick: processor time of ours and of
nginx at saturation, in half a minute.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import cores, figures, load, native, report, targets, trend, usage
from bench.peers import Peer, Unusable, routers
from bench.peers.litellm import LiteLLM
from bench.peers.nginx import Nginx
from bench.samples import DIRECT, Sample, Samples
from bench.scenarios import (
    BODY_100KB,
    BODY_300KB,
    FLOOD,
    FULL,
    RATE_200,
    RATE_1000,
    SATURATION,
    STREAMS,
    alternate,
    measure,
    say,
)
from bench.targets import Target

BUSY = 0.5
"""A load average from which on single figures say little."""
REMEMBERED = (20_000, 100_000)
"""Requests after which our memory is looked at."""


def peers() -> list[Peer]:
    """All others, those that cost least first."""
    return [Nginx(), routers.vllm(), routers.sglang(), LiteLLM()]


class Bench(NamedTuple):
    """Everything that runs."""

    tools: native.Tools
    ours: targets.Ours
    direct: Target
    others: list[Target]
    control_s: float
    """Processor time of the rest of our platform before anything was asked."""
    left_out: list[str]

    @property
    def metered(self) -> Target:
        """The profile of the headline figures."""
        return self.ours.metered()


@contextlib.contextmanager
def running(wanted: list[Peer]) -> Iterator[Bench]:
    """Upstream, Modelyard and the peers that can be had. Raises Unusable without a compiler."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelyard-bench-")))
        tools = native.build(folder)
        addresses = stack.enter_context(targets.upstream(tools.upstream))
        say("starting Modelyard")
        ours = stack.enter_context(targets.modelyard(folder, addresses))
        direct = Target(DIRECT, DIRECT, f"{addresses[0]}/chat/completions", "none")
        others: list[Target] = []
        left_out: list[str] = []
        for one in wanted:
            say(f"starting {one.name}")
            try:
                others.append(stack.enter_context(targets.peer(one, folder, addresses)))
            except Unusable as error:
                left_out.append(f"{one.name} is left out: {error}")
        say("")
        control_s = usage.cpu_s(ours.others()) or 0.0
        yield Bench(tools, ours, direct, others, control_s, left_out)


def remember(bench: Bench, samples: Samples) -> dict[str, float | None]:
    """Our memory after so many requests, the first ones of a fresh installation."""
    found: dict[str, float | None] = {}
    private: list[tuple[float, float]] = []
    asked = 0
    target = bench.metered
    for count in REMEMBERED:
        say(f"memory after {count:,} requests, {target.name}")
        order = load.Order(**{**SATURATION.order(target).__dict__,
                              "requests": count - asked, "seconds": 60.0})  # fmt: skip
        samples.add(target.name, "memory", Sample(load.measure(bench.tools.load, order), None))
        target.settle()
        asked = count
        found[f"rss_mb_after_{count // 1000}k"] = usage.resident_mb(target.pids())
        private.append((count, usage.private_mb(target.pids()) or 0.0))
    found["private_bytes_per_request"] = trend.slope(private) * 1e6
    return found


def measure_all(bench: Bench, samples: Samples, rounds: int) -> None:
    """All scenarios at all targets."""
    ours, program = bench.metered, bench.tools.load
    for target in bench.others:
        say(f"warm-up, {target.name}")
        samples.add(target.name, "warm-up", measure(program, target, SATURATION))
    at_saturation = [ours, bench.ours.bare(), bench.direct, *bench.others]
    alternate(samples, program, at_saturation, [SATURATION], rounds)
    found = [ours, bench.direct, *bench.others]
    alternate(samples, program, found, [RATE_1000, RATE_200], rounds)
    alternate(samples, program, found, [FLOOD, STREAMS], max(2, rounds - 1))
    alternate(samples, program, found[:1] + found[2:], [BODY_100KB, BODY_300KB], max(2, rounds - 1))
    say("")


def head(bench: Bench) -> str:
    """Where and how it is measured."""
    limits = (
        "with limits of requests and tokens"
        if bench.ours.limited
        else "(this version knows no limits of keys)"
    )
    busy = os.getloadavg()[0] > BUSY
    lines = [
        report.machine(),
        *(["other work is running: quote ratios, not single figures"] if busy else []),
        cores.described(),
        f"metered: a caller's key {limits}, ledger, records, metrics; governed: same today",
        *bench.left_out,
    ]
    return "\n".join(lines) + "\n"


def run(options: argparse.Namespace) -> int:
    """Measure and report; 1 when answers failed or records are missing, 2 without a compiler."""
    wanted = [one for one in peers() if not options.only or one.suffix in options.only]
    began_s = time.monotonic()
    samples = Samples()
    with running(wanted) as bench:
        print(head(bench), flush=True)
        if options.quick:
            samples.add(bench.metered.name, "warm-up",
                        measure(bench.tools.load, bench.metered, SATURATION))  # fmt: skip
            alternate(samples, bench.tools.load, [bench.metered, *bench.others], [SATURATION],
                      options.rounds)  # fmt: skip
            say("")
            remembered: dict[str, float | None] = {}
        else:
            remembered = remember(bench, samples)
            measure_all(bench, samples, options.rounds)
        return conclude(bench, samples, remembered, options, time.monotonic() - began_s)


def conclude(
    bench: Bench, samples: Samples, remembered: dict[str, float | None],
    options: argparse.Namespace, took_s: float,
) -> int:  # fmt: skip
    """The tables and the JSON."""
    ours, bare = bench.metered, bench.ours.bare()
    asked = samples.total(ours.name, "requests") + samples.total(bare.name, "requests")
    missing = asked - bench.ours.recorded()
    control_us = ((usage.cpu_s(bench.ours.others()) or 0.0) - bench.control_s) * 1e6 / max(1, asked)
    of = {
        target.suffix: figures.of_target(samples, target, usage.resident_mb(target.pids()) or None)
        for target in [ours, bare, bench.direct, *bench.others]
    }
    ratios = figures.ratios(samples, ours, bench.others)
    if options.quick:
        print_quick(samples, [ours, *bench.others], of)
    else:
        shown = [ours, bare, bench.direct, *bench.others]
        print(figures.values(shown, of), figures.comparison([ours, *bench.others], of), sep="\n\n")
        print_memory(remembered)
    print(f"\n{asked:,} answers through {ours.name}, {missing} of their records missing; "
          f"storing them and all else of the platform took {control_us:.0f} µs a request; "
          f"{took_s:.0f} s.")  # fmt: skip
    for target in [ours, bare, bench.direct, *bench.others]:
        if text := samples.first_error(target.name):
            print(f"{target.name}: {of[target.suffix]['errors']} failed, the first: {text}")
    report.publish({**figures.flat(of), **remembered, **ratios, "records_missing": missing,
                    "cpu_us_per_request_control": control_us}, options.json)  # fmt: skip
    return 1 if missing or of[""]["errors"] or of["bare"]["errors"] else 0


def print_quick(samples: Samples, found: list[Target], of: dict[str, figures.Figures]) -> None:
    """A line a target."""
    for target in found:
        own = of[target.suffix]
        print(f"{target.name:<24}{own['cpu_us_per_request'] or 0:>8.1f} µs a request"
              f"{own['rps'] or 0:>10,.0f} requests/s")  # fmt: skip
    for other in found[1:]:
        ratio = samples.ratio(found[0].name, other.name, SATURATION.name) or 0.0
        print(f"{ratio:.3f} × {other.name} per core")


def print_memory(remembered: dict[str, float | None]) -> None:
    """Our memory in one line."""
    shown = {name: value for name, value in remembered.items() if value is not None}
    if len(shown) == 3:
        early, late, slope = shown.values()
        print(
            f"\nmemory: {early:.1f} MB resident after {REMEMBERED[0]:,} requests, {late:.1f} MB "
            f"after {REMEMBERED[1]:,}; private memory grows {slope:.0f} bytes a request."
        )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="ours and nginx at saturation only")
    parser.add_argument("--rounds", type=int, default=5 if FULL else 3)
    known = ", ".join(one.suffix for one in peers())
    parser.add_argument("--only", nargs="*", metavar="NAME", default=[],
                        help=f"these peers only: {known}")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    options.only = options.only or (["nginx"] if options.quick else [])
    targets.end_on_signal()
    cores.take_others()
    try:
        return run(options)
    except Unusable as error:
        print(f"nothing is measured: {error}")
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
