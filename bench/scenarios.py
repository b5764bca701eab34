"""The kinds of load that the gateway benchmark puts on each target."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from bench import load, usage
from bench.samples import Sample, Samples
from bench.targets import MODEL, Target

FULL = bool(os.environ.get("FULL"))


class Scenario(NamedTuple):
    """One kind of load. `tokens` 0: whole answers; `rate` 0: as fast as answers come."""

    name: str
    connections: int
    seconds: float
    tokens: int = 0
    pace_us: int = 0
    rate: float = 0.0
    size_bytes: int = load.QUESTION_BYTES

    def order(self, target: Target) -> load.Order:
        """The order for the load generator."""
        body = load.question(MODEL, self.tokens, self.pace_us, self.size_bytes)
        stagger_us = self.pace_us * self.tokens // self.connections
        return load.Order(
            target.url, [target.key], [body], self.connections, self.seconds, rate=self.rate,
            stagger_us=stagger_us,
        )  # fmt: skip


_LONGER = 3 if FULL else 1
SATURATION = Scenario("saturation", connections=64, seconds=2.0 * _LONGER)
RATE_1000 = Scenario("1,000 rps", connections=64, seconds=2.0 * _LONGER, rate=1000)
RATE_200 = Scenario("200 rps", connections=64, seconds=2.5 * _LONGER, rate=200)
FLOOD = Scenario("flood", connections=100, seconds=1.5 * _LONGER, tokens=64)
STREAMS = Scenario("streams", connections=100, seconds=2.0 * _LONGER, tokens=64, pace_us=10_000)
BODY_100KB = Scenario("100 KB", connections=16, seconds=1.0 * _LONGER, size_bytes=100_000)
BODY_300KB = Scenario("300 KB", connections=16, seconds=1.0 * _LONGER, size_bytes=300_000)


def can_keep_up(samples: Samples, target: Target, scenario: Scenario) -> bool:
    """Whether the target does at least 1.2 times what the scenario asks of it, by what it did at
    full load. Latencies of an overloaded server say only how long it was overloaded."""
    if scenario.rate:
        done, asked = samples.median(target.name, SATURATION.name, "rps"), scenario.rate
    elif scenario.pace_us:
        done = samples.median(target.name, FLOOD.name, "tokens_per_s")
        asked = scenario.connections * 1e6 / scenario.pace_us
    else:
        return True
    return done is None or done >= 1.2 * asked


def measure(program: Path, target: Target, scenario: Scenario) -> Sample:
    """One scenario at one target. Its processor time counts until what it does after the answers,
    such as shipping records, is done."""
    pids = target.pids()
    before = usage.cpu_s(pids)
    measured = load.measure(program, scenario.order(target))
    target.settle()
    after = usage.cpu_s(pids)
    cpu_s = None if before is None or after is None or not pids else after - before
    return Sample(measured, cpu_s)


def alternate(
    samples: Samples, program: Path, found: list[Target], scenarios: list[Scenario], rounds: int
) -> None:
    """All scenarios at all targets, again and again, so that what else the machine does meets
    every target alike."""
    for turn in range(rounds):
        for scenario in scenarios:
            for target in found:
                if not can_keep_up(samples, target, scenario):
                    continue
                say(f"round {turn + 1} of {rounds}: {scenario.name}, {target.name}")
                samples.add(target.name, scenario.name, measure(program, target, scenario))


def say(text: str) -> None:
    """Progress, for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)
