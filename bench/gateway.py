"""What the gateway costs and adds: beside no gateway, and beside LiteLLM's proxy.

    python -m bench.gateway [--seconds 3] [--rounds 3] [--workers 1] [--no-peer] [--json PATH]

A fake upstream with two addresses answers at once. Before it stand in turn nothing, Modelyard
(`modelyard up` as it comes: keys checked, usage read, every request recorded, metrics on) and the
peer (master key, one model at the same two addresses). Rounds alternate between them and medians
are shown, because other work on the machine moves single figures. Everything is on loopback,
unpinned. With FULL=1: five rounds of ten seconds.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import load, report, targets, upstream, usage
from bench.samples import DIRECT, Sample, Samples
from bench.targets import Target

QUESTION_BYTES = 580
FULL = bool(os.environ.get("FULL"))


class Scenario(NamedTuple):
    """One kind of load. `tokens` 0: whole answers."""

    name: str
    connections: int
    tokens: int = 0
    pace_us: int = 0

    def order(self, target: Target, seconds: float) -> load.Order:
        """The order for the load generator."""
        marker = upstream.TOKEN if self.tokens else ""
        body = _question(self.tokens, self.pace_us)
        stagger_s = 1.3 * self.pace_us / 1e6
        return load.Order(
            target.url, target.key, body, self.connections, seconds, marker, self.tokens, stagger_s
        )


SCENARIOS = (
    Scenario("single", connections=1),
    Scenario("busy", connections=32),
    Scenario("paced", connections=8, tokens=16, pace_us=10_000),
    Scenario("flood", connections=32, tokens=128),
)


def _question(tokens: int, pace_us: int) -> str:
    """A chat request of QUESTION_BYTES."""

    def body(text: str) -> str:
        messages = [
            {"role": "system", "content": "You are a support assistant. Be brief and exact."},
            {"role": "user", "content": text},
        ]
        value = {"model": targets.MODEL, "messages": messages, "temperature": 0.2}
        if tokens:
            value |= {"stream": True}
        return json.dumps(value, separators=(",", ":"))

    text = f"[tokens={tokens} pace_us={pace_us}] Where is my parcel, and how do I send it back? "
    return body((text * 9)[: QUESTION_BYTES - len(body(""))])


def measure(target: Target, scenario: Scenario, seconds: float) -> Sample:
    """One scenario at one target."""
    before = usage.cpu_s(target.pids)
    measured = load.measure(scenario.order(target, seconds))
    after = usage.cpu_s(target.pids)
    cpu_s = None if before is None or after is None or not target.pids else after - before
    return Sample(measured, cpu_s)


def alternate(found: list[Target], rounds: int, seconds: float) -> Samples:
    """All scenarios at all targets, again and again; a warm-up first."""
    samples = Samples()
    for target in found:
        samples.add(target.name, "warm-up", measure(target, SCENARIOS[1], min(2.0, seconds)))
        target.settle()
    for turn in range(rounds):
        for scenario in SCENARIOS:
            for target in found:
                _say(f"round {turn + 1} of {rounds}: {scenario.name} {target.name}")
                samples.add(target.name, scenario.name, measure(target, scenario, seconds))
                target.settle()
    _say("")
    return samples


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


ROWS = (
    ("whole answers, 32 at once: requests/s", "rps"),
    ("  CPU of the gateway, µs a request", "cpu_us_per_request"),
    ("  requests/s a core", "rps_per_core"),
    ("one at a time: added p50, µs", "p50_added_us"),
    ("  added p99, µs", "p99_added_us"),
    ("32 streams, no pause: tokens/s", "tokens_per_s"),
    ("  CPU of the gateway, µs a token", "cpu_us_per_token"),
    ("8 streams, 10 ms a token: first token added p50, µs", "ttft_added_us"),
    ("resident memory after it, MiB", "rss_mib"),
    ("failed answers", "errors"),
)


def figures(samples: Samples, target: Target) -> dict[str, float | None]:
    """The figures of one target."""
    name = target.name
    through = bool(target.pids)
    cpu_us = samples.cpu_us(name, "busy", "requests")
    return {
        "rps": samples.median(name, "busy", "rps"),
        "cpu_us_per_request": cpu_us,
        "rps_per_core": 1e6 / cpu_us if cpu_us else None,
        "p50_us": samples.median(name, "single", "p50_us"),
        "p99_us": samples.median(name, "single", "p99_us"),
        "p50_added_us": samples.added(name, "single", "p50_us") if through else None,
        "p99_added_us": samples.added(name, "single", "p99_us") if through else None,
        "tokens_per_s": samples.median(name, "flood", "tokens_per_s"),
        "cpu_us_per_token": samples.cpu_us(name, "flood", "tokens"),
        "ttft_us": samples.median(name, "paced", "first_p50_us"),
        "ttft_added_us": samples.added(name, "paced", "first_p50_us") if through else None,
        "rss_mib": usage.resident_mib(target.pids) if through else None,
        "errors": samples.total(name, "errors"),
    }


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a and b and a > 0 and b > 0 else None


def _print(of: dict[str, dict[str, float | None]], names: list[str]) -> None:
    ours = of[names[0]]
    peer = of[names[2]] if len(names) > 2 else {}
    rows: list[list[report.Cell]] = []
    for label, key in ROWS:
        ratio = _ratio(ours[key], peer.get(key))
        rows.append([label, *(of[name][key] for name in names), f"{ratio:.3g}×" if ratio else None])
    print(report.table(["", *names, "ours / peer"], rows))


def run(options: argparse.Namespace) -> int:
    """Measure and report; 1 when answers failed or records are missing."""
    print(f"{report.machine()}")
    print(f"load: {_generators()}\n")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelyard-bench-")))
        addresses = stack.enter_context(targets.upstream())
        ours = stack.enter_context(targets.modelyard(folder, addresses, options.workers))
        found = [ours.target(), Target(DIRECT, f"{addresses[0]}/chat/completions", "none")]
        if options.peer:
            peer = stack.enter_context(targets.peer(folder, addresses, options.workers))
            if isinstance(peer, Target):
                found.append(peer)
            else:
                print(f"LiteLLM is left out: {peer}\n")
        began_s = time.monotonic()
        others_s = usage.cpu_s(ours.others)
        samples = alternate(found, options.rounds, options.seconds)
        of = {target.name: figures(samples, target) for target in found}
        answered = samples.total(found[0].name, "requests")
        missing = max(0, answered - ours.completed())
        others_us = _others_us(ours, others_s, answered)
    _print(of, [target.name for target in found])
    _explain(samples, found, answered, missing, others_us, time.monotonic() - began_s)
    report.publish(_flat(of, found, missing, others_us), options.json)
    return 1 if missing or of[found[0].name]["errors"] else 0


def _others_us(ours: targets.Ours, before_s: float | None, answered: int) -> float | None:
    """What the rest of the platform, mostly storing records, took per request."""
    after_s = usage.cpu_s(ours.others)
    if before_s is None or after_s is None:
        return None
    return (after_s - before_s) * 1e6 / max(1, answered)


def _generators() -> str:
    whole = "Debian's wrk" if load.WRK else "bench.load (wrk is not there)"
    return f"whole answers by {whole}, streams by bench.load, each a process of its own"


def _explain(
    samples: Samples, found: list[Target], answered: int, missing: int, others_us: float | None,
    took_s: float,
) -> None:  # fmt: skip
    ours = found[0].name
    print(f"\n{answered:,} answers through {ours}, {missing} of their records missing.")
    if others_us is not None:
        print(f"Storing the records and all else of the platform: {others_us:.0f} µs a request.")
    request_us = samples.load_cpu_us(ours, "busy", "requests")
    token_us = samples.load_cpu_us(ours, "flood", "tokens")
    if request_us and token_us:
        print(f"The load generator took {request_us:.1f} µs a request, {token_us:.1f} µs a token.")
    print(f"{took_s:.0f} s of measuring.\n")


def _flat(
    of: dict[str, dict[str, float | None]], found: list[Target], missing: int,
    others_us: float | None,
) -> dict[str, float | None]:  # fmt: skip
    ours = of[found[0].name]
    peer = of[found[2].name] if len(found) > 2 else {}
    return {
        **ours,
        "cpu_us_per_request_others": others_us,
        "records_missing": missing,
        "ratio_peer": _ratio(peer.get("cpu_us_per_request"), ours["cpu_us_per_request"]),
        **{f"{name}_direct": value for name, value in of[DIRECT].items()},
        **{f"{name}_peer": value for name, value in peer.items()},
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=10 if FULL else 3)
    parser.add_argument("--rounds", type=int, default=5 if FULL else 3)
    parser.add_argument("--workers", type=int, default=1, help="gateway processes, peer's too")
    parser.add_argument("--no-peer", dest="peer", action="store_false")
    parser.add_argument("--json", type=Path, help="write the figures here")
    targets.end_on_sigterm()
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
