"""A simulated replica: prefill in order of arrival at a rate, a prefix cache, slots, decode."""

from collections import OrderedDict, deque
from typing import NamedTuple

from modelyard.domain.routing import Work
from modelyard.domain.simulation.traces import BLOCK_TOKENS, Arrival


class Fleet(NamedTuple):
    """What the replicas are like."""

    replicas: int = 8
    prefill_rate: float = 16_000.0
    """Tokens a second of a replica of speed 1."""
    cache_blocks: int = 2_000
    """Blocks of 512 tokens that the prefix cache of a replica keeps."""
    speeds: tuple[float, ...] = ()
    """By replica; those beyond have speed 1."""
    slots: int = 0
    """Requests a replica works on at once; 0: any number."""
    decode_rate: float = 50.0
    """Tokens a second of one answer; 0: answers take no time."""
    decode_drag: float = 0.0
    """Prefill takes this much longer for each answer being decoded beside it: 0.01 is 1 %."""


class Job:
    """A request on its way: where it is, and what became of it."""

    __slots__ = ("arrival", "broken", "cached", "ended_s", "first_token_s", "prompt", "replica",
                 "tries", "work")  # fmt: skip

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.prompt = arrival.prompt
        self.replica = -1
        self.tries = 0
        self.cached = 0
        """Tokens of its prompt that were found in the cache."""
        self.first_token_s = -1.0
        """From its arrival; negative as long as there is none."""
        self.ended_s = -1.0
        self.broken = False
        """Whether its replica failed in the middle of the answer."""
        self.work: Work | None = None


class BlockCache:
    """The blocks used last. A prompt's blocks are found as far as they are there from its start."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def take(self, blocks: tuple[int, ...]) -> int:
        """How many of these are there, from the first on; they count as used."""
        found = 0
        for block in blocks:
            if block not in self._blocks:
                break
            found += 1
        self._touch(blocks[:found])
        return found

    def put(self, blocks: tuple[int, ...]) -> None:
        """Keep them, and drop what was not used for longest. Last blocks go first."""
        self._touch(blocks)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)

    def _touch(self, blocks: tuple[int, ...]) -> None:
        for block in reversed(blocks):
            self._blocks[block] = None
            self._blocks.move_to_end(block)

    def clear(self) -> None:
        """All is gone."""
        self._blocks.clear()


class Replica:
    """One engine. The simulator calls `start` whenever something may begin.

    `decoding` is a dictionary for its order: a set's would differ from run to run.
    """

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.number = number
        self.speed = fleet.speeds[number] if number < len(fleet.speeds) else 1.0
        self.cache = BlockCache(fleet.cache_blocks)
        self.waiting: deque[Job] = deque()
        self.prefilling: Job | None = None
        self.decoding: dict[Job, None] = {}
        self.busy_s = 0.0
        """Spent in prefill."""
        self.tokens = 0
        """Of prompts that were prefilled, without what was cached."""
        self._fleet = fleet
        self._began_s = 0.0

    def start(self, now_s: float) -> float | None:
        """Begin the next prefill if it can; answers when it will be done."""
        if self.prefilling or not self.waiting or self.speed <= 0:
            return None
        if self._fleet.slots and len(self.decoding) >= self._fleet.slots:
            return None
        job = self.prefilling = self.waiting.popleft()
        arrival = job.arrival
        # Even when all is cached an engine computes the last token, whose output is the answer.
        held = self.cache.take(arrival.blocks) * BLOCK_TOKENS
        job.cached = min(held, arrival.tokens_input - 1)
        self._began_s = now_s
        drag = 1 + self._fleet.decode_drag * len(self.decoding)
        rate = self._fleet.prefill_rate * self.speed / drag
        return now_s + (arrival.tokens_input - job.cached) / rate

    def prefilled(self, now_s: float) -> Job:
        """Its first token: the job goes on to decode."""
        job = self.prefilling
        assert job is not None, "only a prefill that began can end"
        self.prefilling = None
        self.busy_s += now_s - self._began_s
        self.tokens += job.arrival.tokens_input - job.cached
        self.cache.put(job.arrival.blocks)
        self.decoding[job] = None
        return job

    def fail(self, now_s: float) -> list[Job]:
        """It stops and forgets; answers what it had not begun to answer."""
        lost = [*([self.prefilling] if self.prefilling else []), *self.waiting]
        if self.prefilling:
            self.busy_s += now_s - self._began_s
        self.prefilling, self.speed = None, 0.0
        self.waiting.clear()
        self.cache.clear()
        return lost

    def broken(self, now_s: float) -> list[Job]:
        """The answers it was in the middle of; they end now."""
        cut = list(self.decoding)
        self.decoding.clear()
        for job in cut:
            job.broken, job.ended_s = True, now_s
        return cut
