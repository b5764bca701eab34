"""Who goes next when not all can: classes by weight, and within a class a fair share for each flow.

Within a class it is start-time fair queueing (Goyal, Vin, Cheng 1996): each request begins, in
virtual time, where the former one of its flow ended, and costs as much as it will keep an engine
busy. A flow that sends a thousand requests at once waits for itself, not the others for it. Classes
are served by stride scheduling (Waldspurger 1995), so that the lowest one is slow, never starved.
"""

import heapq
from typing import Generic, TypeVar

Item = TypeVar("Item")
WEIGHTS = (16.0, 4.0, 1.0)
"""Of the classes: interactive, normal, background."""


class Waiting(Generic[Item]):
    """One request in a queue."""

    __slots__ = ("cost", "gone", "item")

    def __init__(self, item: Item, cost: float) -> None:
        self.item = item
        self.cost = cost
        self.gone = False
        """It does not wait any more: it had its turn, or gave up."""


class FairQueue(Generic[Item]):
    """Items that wait for their turn. All operations take logarithmic time."""

    def __init__(self) -> None:
        self._classes = [_Class[Item](weight) for weight in WEIGHTS]
        self._passed = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, item: Item, flow: str, priority: int, cost: float) -> Waiting[Item]:
        """Wait; `cost` is in any unit that is the same for all, and more than 0."""
        found = self._classes[min(max(priority, 0), len(WEIGHTS) - 1)]
        if not found.waiting:
            found.passed = max(found.passed, self._passed)
        self._length += 1
        return found.push(item, flow, cost)

    def pop(self) -> Item | None:
        """Whose turn it is; None when nobody waits."""
        waiting = [one for one in self._classes if one.waiting]
        if not waiting:
            return None
        chosen = min(waiting, key=lambda one: one.passed)
        self._passed = chosen.passed
        self._length -= 1
        return chosen.pop()

    def leave(self, waiting: Waiting[Item]) -> None:
        """It does not want its turn any more."""
        if not waiting.gone:
            waiting.gone = True
            self._length -= 1
            for one in self._classes:
                one.forget_gone()


class _Class(Generic[Item]):
    """One class: a heap by start times."""

    __slots__ = ("_count", "_now", "_starts", "_weight", "passed", "waiting")

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._now = 0.0
        self._starts: dict[str, float] = {}
        self._count = 0
        self.passed = 0.0
        self.waiting: list[tuple[float, int, Waiting[Item]]] = []

    def push(self, item: Item, flow: str, cost: float) -> Waiting[Item]:
        start = max(self._now, self._starts.get(flow, 0.0))
        self._starts[flow] = start + cost
        self._count += 1
        waiting = Waiting(item, cost)
        heapq.heappush(self.waiting, (start, self._count, waiting))
        return waiting

    def pop(self) -> Item:
        start, _, waiting = heapq.heappop(self.waiting)
        waiting.gone = True
        self._now = start
        self.passed += waiting.cost / self._weight
        self.forget_gone()
        return waiting.item

    def forget_gone(self) -> None:
        """Keep someone who waits at the front. An empty class forgets its flows: nobody owes."""
        while self.waiting and self.waiting[0][2].gone:
            heapq.heappop(self.waiting)
        if not self.waiting:
            self._starts.clear()
            self._now = 0.0
