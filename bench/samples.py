"""What was measured, by target and scenario, and its medians over the rounds."""

from collections import defaultdict
from statistics import median
from typing import NamedTuple

from bench.load import Measured

DIRECT = "direct"
"""The target with nothing before the upstream."""


class Sample(NamedTuple):
    """One scenario at one target in one round."""

    measured: Measured
    cpu_s: float | None
    """Of the target, until what it does after the answers was done."""


class Samples:
    """All samples by target and scenario, in the order of the rounds."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], list[Sample]] = defaultdict(list)

    def add(self, target: str, scenario: str, sample: Sample) -> None:
        """Keep one."""
        self._of[target, scenario].append(sample)

    def has(self, target: str, scenario: str) -> bool:
        """Whether there is any."""
        return bool(self._of[target, scenario])

    def median(self, target: str, scenario: str, field: str) -> float | None:
        """The median over the rounds of a field of `Measured`."""
        found = [getattr(one.measured, field) for one in self._of[target, scenario]]
        return median(found) if found else None

    def added(self, target: str, scenario: str, field: str) -> float | None:
        """The median of the differences to direct within one round."""
        pairs = zip(self._of[target, scenario], self._of[DIRECT, scenario], strict=False)
        found = [getattr(a.measured, field) - getattr(b.measured, field) for a, b in pairs]
        return median(found) if found else None

    def cpu_us(self, target: str, scenario: str, unit: str = "requests") -> float | None:
        """Processor time of the target per unit, a counting field of `Measured`."""
        found = [
            one.cpu_s * 1e6 / getattr(one.measured, unit)
            for one in self._of[target, scenario]
            if one.cpu_s and getattr(one.measured, unit)
        ]
        return median(found) if found else None

    def ratio(self, target: str, other: str, scenario: str, unit: str = "requests") -> float | None:
        """How many times the units per processor second of the other: the median of the ratios
        within one round, because what else the machine does moves both."""
        pairs = zip(self._of[target, scenario], self._of[other, scenario], strict=False)
        found = [
            (b.cpu_s / getattr(b.measured, unit)) / (a.cpu_s / getattr(a.measured, unit))
            for a, b in pairs
            if a.cpu_s and b.cpu_s and getattr(a.measured, unit) and getattr(b.measured, unit)
        ]
        return median(found) if found else None

    def total(self, target: str, field: str) -> int:
        """The sum of a counting field over everything asked of a target."""
        kept = (samples for (name, _), samples in self._of.items() if name == target)
        return sum(getattr(one.measured, field) for samples in kept for one in samples)

    def first_error(self, target: str) -> str:
        """What went wrong first at a target; empty when nothing did."""
        kept = (samples for (name, _), samples in self._of.items() if name == target)
        found = (one.measured.first_error for samples in kept for one in samples)
        return next((text for text in found if text), "")
