"""Prompts are computed one after the other, and what is in the prefix cache is not computed again.

The cache is vLLM's automatic prefix caching in small: full blocks of tokens, each known by itself
and all before it, the least recently used out first; the last token is always computed.
"""

import asyncio
import time
from collections.abc import Sequence

from modelyard.testing.echo.behaviour import Behaviour


class PrefixCache:
    """The blocks that are there, the least recently used first."""

    def __init__(self) -> None:
        self._blocks: dict[int, None] = {}

    def match(self, blocks: Sequence[int]) -> int:
        """How many of the leading blocks are there."""
        for number, block in enumerate(blocks):
            if block not in self._blocks:
                return number
        return len(blocks)

    def use(self, blocks: Sequence[int], limit: int) -> None:
        """These were used; of all, the last `limit` stay. Of one prompt its end goes first: a
        block is worth nothing without those before it."""
        for block in reversed(blocks):
            self._blocks.pop(block, None)
            self._blocks[block] = None
        while len(self._blocks) > limit:
            del self._blocks[next(iter(self._blocks))]


def blocks_of(words: Sequence[str], block_tokens: int) -> list[int]:
    """The full blocks of a prompt; the number of each stands for it and all before it."""
    found: list[int] = []
    for end in range(block_tokens, len(words) + 1, block_tokens):
        before = found[-1] if found else 0
        found.append(hash((before, *words[end - block_tokens : end])))
    return found


class Prefill:
    """The queue of prompts and their cache."""

    def __init__(self) -> None:
        self.waiting = 0
        """Prompts whose turn has not come."""
        self.asked_tokens = 0
        self.cached_tokens = 0
        """Of all prompts so far."""
        self._turn = asyncio.Lock()
        self._free_at_s = 0.0
        self._cache = PrefixCache()

    async def run(self, words: Sequence[str], behaviour: Behaviour) -> int:
        """Returns when the prompt is computed: how many of its words were in the cache."""
        queued = self._turn.locked()
        self.waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self.waiting -= 1
        try:
            return await self._compute(words, behaviour, queued)
        finally:
            self._turn.release()

    async def _compute(self, words: Sequence[str], behaviour: Behaviour, queued: bool) -> int:
        size = behaviour.block_tokens
        blocks = blocks_of(words, size) if behaviour.cache_blocks else []
        cached = min(self._cache.match(blocks), max(0, len(words) - 1) // size) * size
        self.asked_tokens += len(words)
        self.cached_tokens += cached
        if behaviour.prefill_tokens_per_s:
            await self._take((len(words) - cached) / behaviour.prefill_tokens_per_s, queued)
        self._cache.use(blocks, behaviour.cache_blocks)
        return cached

    async def _take(self, work_s: float, queued: bool) -> None:
        """Whoever waited begins when the one before was due, so that late wake-ups do not add up
        to a slower engine."""
        now_s = time.monotonic()
        begin_s = self._free_at_s if queued else now_s
        self._free_at_s = begin_s + work_s
        try:
            await asyncio.sleep(self._free_at_s - now_s)
        finally:
            self._free_at_s = min(self._free_at_s, time.monotonic())
