"""The default routing rule beside the published one and round robin, in the simulator.

    python -m bench.routing [--trace PATH] [--json PATH]

Plays a trace of Mooncake's format twice as fast as it was recorded against 8 replicas that read
16,000 tokens of prompt a second and keep 2,000 blocks of 512 tokens, then again under everything
that could make a rule that predicts look better than it is. Virtual time: the machine does not
matter, and every run gives the same figures. The rules are the gateway's own; the default rule
learns its rates and the caches' sizes while the trace runs.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from bench import report
from modelyard.domain.routing import RULES
from modelyard.domain.simulation.replicas import Fleet
from modelyard.domain.simulation.results import Summary, summary
from modelyard.domain.simulation.simulator import Gateway, Incident, Simulation
from modelyard.domain.simulation.traces import (
    Arrival,
    conversations,
    faster,
    from_rows,
    in_bursts,
    without_sharing,
)

TRACE = Path(__file__).parents[2] / "shared" / "data" / "mooncake_conversation.jsonl"
SPEED = 2.0
OURS, PUBLISHED, SIMPLE = "first_token", "cache_aware", "round_robin"
UNEQUAL = (1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 2.0, 2.0)
HALF, ALL = 4, 8
MADE = Fleet(replicas=4, prefill_rate=4_000, cache_blocks=150)
"""Caches hold about half of what the made conversations would need."""


class Row(NamedTuple):
    """One set of conditions."""

    name: str
    trace: list[Arrival]
    fleet: Fleet = Fleet()
    gateway: Gateway = Gateway()
    incidents: tuple[Incident, ...] = ()

    def run(self, rule: str) -> Summary:
        """The figures of a rule under them."""
        return summary(
            Simulation(RULES[rule], self.fleet, self.gateway, self.incidents).run(self.trace)
        )


def rows(trace: list[Arrival]) -> Iterator[Row]:
    """The reference, then what could spoil it."""
    alone = without_sharing(trace)
    slow = (Incident(300, 0, 0.25), Incident(600, 0, 1), Incident(900, 1, 0), Incident(1200, 1, 1))
    yield Row("reference", trace)
    yield Row("no_shared_prefix", alone)
    yield Row("rates_all_doubled", trace, gateway=Gateway(beliefs=(2.0,) * ALL))
    yield Row("rates_all_halved", trace, gateway=Gateway(beliefs=(0.5,) * ALL))
    yield Row("rates_half_doubled", trace, gateway=Gateway(beliefs=(2.0,) * HALF))
    yield Row("rates_half_halved", trace, gateway=Gateway(beliefs=(0.5,) * HALF))
    yield Row("rates_half_doubled_no_prefix", alone, gateway=Gateway(beliefs=(2.0,) * HALF))
    yield Row("unequal_replicas", trace, Fleet(speeds=UNEQUAL))
    yield Row("unequal_no_prefix", alone, Fleet(speeds=UNEQUAL))
    yield Row("bursts", in_bursts(trace, every_s=10, lasting_s=2))
    yield Row("two_processes", trace, gateway=Gateway(processes=2))
    yield Row("four_processes", trace, gateway=Gateway(processes=4))
    yield Row("four_processes_no_prefix", alone, gateway=Gateway(processes=4))
    yield Row("cached_not_reported", trace, gateway=Gateway(reports_cached=False))
    yield Row("sixteen_slots_and_drag", trace, Fleet(slots=16, decode_drag=0.02))
    yield Row("answers_take_no_time", trace, Fleet(decode_rate=0))
    yield Row("one_slow_one_fails", trace, incidents=slow)
    yield Row("small_caches", trace, Fleet(cache_blocks=500))
    yield Row("made_conversations", conversations(Random(1).random, 6000, 0.7, sessions=30), MADE)


def main() -> None:
    """Play all rows, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, default=TRACE)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.trace.is_file():
        sys.exit(f"no trace at {options.trace}; name one with TRACE=PATH (Mooncake's format)")
    lines = options.trace.read_text(encoding="utf-8").splitlines()
    numbered = ((number, json.loads(line)) for number, line in enumerate(lines, 1) if line.strip())
    trace = faster(from_rows(numbered, options.trace.name), SPEED)
    figures: dict[str, float | None] = {}
    table: list[list[report.Cell]] = []
    for row in rows(trace):
        print(f"{row.name} …", file=sys.stderr, flush=True)
        found = {rule: row.run(rule) for rule in (OURS, PUBLISHED, SIMPLE)}
        figures |= _figures("" if row.name == "reference" else f"{row.name}_", found)
        table.append(_cells(row.name, found))
    print(f"{report.machine()}; times are simulated")
    print(f"{len(trace):,} requests, {trace[-1].at_s / 60:.0f} min; p50/p99 to the first token\n")
    head = ("", OURS, PUBLISHED, SIMPLE, "hits", "hits published", "p50 over", "p99 over")
    print(report.table(head, table))
    print("\nover: ours divided by the better of the two others; below 1 is better\n")
    report.publish(figures, options.json)


def _figures(prefix: str, found: dict[str, Summary]) -> dict[str, float | None]:
    ours = found[OURS]
    figures: dict[str, float | None] = {f"{prefix}prefix_hit_rate": ours.hit_rate}
    for other in (PUBLISHED, SIMPLE):
        figures[f"{prefix}p50_ttft_over_{other}"] = ours.p50_s / found[other].p50_s
        figures[f"{prefix}p99_ttft_over_{other}"] = ours.p99_s / found[other].p99_s
    return figures


def _cells(name: str, found: dict[str, Summary]) -> list[report.Cell]:
    others = [found[other] for other in (PUBLISHED, SIMPLE)]
    ours = found[OURS]
    return [
        name,
        *(f"{one.p50_s:.2f} / {one.p99_s:.2f} s" for one in found.values()),
        f"{ours.hit_rate:.1%}",
        f"{found[PUBLISHED].hit_rate:.1%}",
        f"{ours.p50_s / min(other.p50_s for other in others):.2f}",
        f"{ours.p99_s / min(other.p99_s for other in others):.2f}",
    ]


if __name__ == "__main__":
    main()
