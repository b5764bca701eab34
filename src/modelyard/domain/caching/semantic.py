"""Questions that mean the same: the nearest of the embeddings kept, if it is near enough.

The candidates are shortlisted by the signs of their coordinates, compared 384 at a time as one
whole number (the number of differing signs estimates the angle: Charikar, STOC 2002), and only the
shortlist is measured exactly. A hit is therefore never farther than the threshold; a near entry
may be missed when more than a shortlist of others share its signs, which costs one upstream call.
"""

import math
from array import array
from collections import deque
from collections.abc import Iterable
from operator import itemgetter, mul
from typing import NamedTuple

from modelyard.domain.caching.store import FairStore

ENTRIES_PER_PARTITION = 500
_SHORTLIST = 16
_ENTRY_BYTES = 300
"""Of one question beside its vector."""


class Vector(NamedTuple):
    """An embedding of length 1."""

    values: "array[float]"
    signs: int
    """Bit i is set where coordinate i is positive."""


class Near(NamedTuple):
    """A question that was found."""

    answer_key: bytes
    distance: float
    """Cosine distance: 0 the same direction, 1 nothing in common, 2 opposite."""


class _Known(NamedTuple):
    vector: Vector
    answer_key: bytes
    stored_at_s: float


def vector(values: Iterable[float]) -> Vector:
    """Normalised. Raises ValueError for one without direction."""
    numbers = list(values)
    length = math.sqrt(sum(map(mul, numbers, numbers)))
    if not 0.0 < length < math.inf:
        raise ValueError("an embedding must have finite numbers that are not all zero")
    signs = int("".join(["1" if number > 0.0 else "0" for number in numbers]), 2)
    return Vector(array("f", [number / length for number in numbers]), signs)


def distance(a: Vector, b: Vector) -> float:
    """Cosine distance of two vectors of equal dimensions, 0 to 2."""
    cosine: float = sum(map(mul, a.values, b.values))
    return min(2.0, max(0.0, 1.0 - cosine))


class SemanticIndex:
    """Which answer belongs to which meaning, for all partitions of all tenants."""

    def __init__(self, max_bytes: int) -> None:
        self._partitions: FairStore[deque[_Known]] = FairStore(max_bytes)

    @property
    def size_bytes(self) -> int:
        """What the vectors take, about."""
        return self._partitions.size_bytes

    def find(
        self, tenant: str, partition: bytes, asked: Vector, threshold: float, now_s: float,
        max_age_s: float,
    ) -> Near | None:  # fmt: skip
        """The nearest question of the partition within `threshold` and `max_age_s`."""
        known = self._known(tenant, partition, now_s)
        dimensions = len(asked.values)
        candidates = [
            ((one.vector.signs ^ asked.signs).bit_count(), number)
            for number, one in enumerate(known)
            if now_s - one.stored_at_s < max_age_s and len(one.vector.values) == dimensions
        ]
        candidates.sort()
        measured = (
            Near(known[number].answer_key, distance(known[number].vector, asked))
            for _, number in candidates[:_SHORTLIST]
        )
        nearest = min(measured, key=itemgetter(1), default=None)
        return nearest if nearest is not None and nearest.distance <= threshold else None

    def add(
        self, tenant: str, partition: bytes, asked: Vector, answer_key: bytes, now_s: float,
        ttl_s: float,
    ) -> None:  # fmt: skip
        """Remember that this answer belongs to this meaning; the oldest of a full partition go."""
        known = self._known(tenant, partition, now_s)
        kept = deque((one for one in known if one.answer_key != answer_key), ENTRIES_PER_PARTITION)
        kept.append(_Known(asked, answer_key, now_s))
        self._put(tenant, partition, kept, now_s, ttl_s)

    def forget(self, tenant: str, partition: bytes, answer_key: bytes, now_s: float) -> None:
        """The answer is not there any more."""
        entry = self._partitions.get(tenant, partition, now_s, math.inf)
        if entry is not None:
            kept = deque(
                (one for one in entry.value if one.answer_key != answer_key), ENTRIES_PER_PARTITION
            )
            self._put(tenant, partition, kept, now_s, entry.ttl_s)

    def _known(self, tenant: str, partition: bytes, now_s: float) -> deque[_Known]:
        entry = self._partitions.get(tenant, partition, now_s, math.inf)
        return entry.value if entry is not None else deque()

    def _put(
        self, tenant: str, partition: bytes, known: deque[_Known], now_s: float, ttl_s: float
    ) -> None:
        if not known:
            self._partitions.remove(tenant, partition)
            return
        size_bytes = sum(4 * len(one.vector.values) + _ENTRY_BYTES for one in known)
        self._partitions.put(tenant, partition, known, size_bytes, now_s, ttl_s)
