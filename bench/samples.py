"""What was measured, by target and scenario, and its medians over the rounds."""

from collections import defaultdict
from statistics import median
from typing import NamedTuple

from bench import load

DIRECT = "direct"
"""The target with nothing before the upstream."""


class Sample(NamedTuple):
    """One scenario at one target in one round."""

    measured: load.Measured
    cpu_s: float | None


class Samples:
    """All samples by target and scenario, in the order of the rounds."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], list[Sample]] = defaultdict(list)

    def add(self, target: str, scenario: str, sample: Sample) -> None:
        """Keep one."""
        self._of[target, scenario].append(sample)

    def median(self, target: str, scenario: str, field: str) -> float | None:
        """The median over the rounds of a field of `Measured`."""
        found = [getattr(one.measured, field) for one in self._of[target, scenario]]
        return median(found) if found else None

    def added(self, target: str, scenario: str, field: str) -> float | None:
        """The median of the differences to direct within one round."""
        pairs = zip(self._of[target, scenario], self._of[DIRECT, scenario], strict=False)
        found = [getattr(a.measured, field) - getattr(b.measured, field) for a, b in pairs]
        return median(found) if found else None

    def cpu_us(self, target: str, scenario: str, unit: str) -> float | None:
        """Processor time of the target per unit, a counting field of `Measured`."""
        found = [
            one.cpu_s * 1e6 / getattr(one.measured, unit)
            for one in self._of[target, scenario]
            if one.cpu_s and getattr(one.measured, unit)
        ]
        return median(found) if found else None

    def load_cpu_us(self, target: str, scenario: str, unit: str) -> float | None:
        """Processor time of the load generator per unit."""
        found = [
            one.measured.cpu_s * 1e6 / getattr(one.measured, unit)
            for one in self._of[target, scenario]
            if getattr(one.measured, unit)
        ]
        return median(found) if found else None

    def total(self, target: str, field: str) -> int:
        """The sum of a counting field over everything asked of a target."""
        kept = (samples for (name, _), samples in self._of.items() if name == target)
        return sum(getattr(one.measured, field) for samples in kept for one in samples)
