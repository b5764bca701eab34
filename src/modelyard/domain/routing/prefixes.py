"""Which endpoint holds which prefix: a radix tree over the bytes of prompts.

An edge is a run of bytes, compared with one memcmp however long it is. Edges begin and fork at
multiples of `block_bytes` only: engines keep whole blocks (vLLM 16 tokens, about 64 bytes), so a
finer fork would cost depth and tell nothing. What is matched is therefore a multiple of it too.

Engines forget. Every endpoint has an odometer of bytes that were new to it; a prefix that was last
used more than the endpoint's capacity ago is believed gone. The capacity is learnt from the cached
tokens that the engine reports, because no engine says how much it keeps.
"""

from collections import OrderedDict
from typing import NamedTuple

BLOCK_BYTES = 64
LIMIT_BYTES = 16 * 2**20
NODE_BYTES = 700
"""What a node costs beside its label: object, two dictionaries, key, place in the LRU order."""
MOST_OF_ONE_PROMPT = 4
"""A prompt may take this part (1/n) of the limit; what is beyond is not remembered."""
UNBOUNDED = 1 << 62
_STEP = 0.2
_SHORT = 0.75
"""Reports below this part of the belief say that something was forgotten. It leaves room for the
error of bytes per token and for the engine's block size."""


class Belief(NamedTuple):
    """What was believed of one endpoint just before a prompt was inserted; all in bytes."""

    held: int
    """Prefix that was thought to be there."""
    remembered: int
    """The same, including what was thought forgotten."""
    age: int
    """New bytes the endpoint took since `remembered` was last used."""
    capacity: int
    """What it was thought to keep."""


NOTHING = Belief(0, 0, 0, 0)


class _Node:
    """An edge and what hangs on it. `holders`: the odometer at the last use, by holder."""

    __slots__ = ("children", "holders", "label", "parent")

    def __init__(self, label: bytes, parent: "_Node | None", holders: dict[int, int]) -> None:
        self.label = label
        self.parent = parent
        self.children: dict[bytes, _Node] = {}
        self.holders = holders


class PrefixIndex:
    """Prefixes of one service by holder, a small number for each endpoint; see `add`.

    Bounded by `limit_bytes`, the cost of nodes included; what was not used for longest goes first.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES, block_bytes: int = BLOCK_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.block_bytes = block_bytes
        self.size_bytes = 0
        self._longest = limit_bytes // MOST_OF_ONE_PROMPT
        self._root = _Node(b"", None, {})
        self._used: OrderedDict[_Node, None] = OrderedDict()
        """Least recently used first; a node always comes before its ancestors."""
        self._odometers: list[int] = []
        self._oldest: list[int] = []
        """By holder: uses at an odometer before this one are forgotten."""
        self._births: list[int] = []
        self._capacities: list[int] = []
        self._free: list[int] = []

    # --- holders ---------------------------------------------------------------------------

    def add(self) -> int:
        """A number for a new holder, which holds nothing."""
        if self._free:
            holder = self._free.pop()
            self.forget(holder)
            return holder
        self._odometers.append(0)
        self._oldest.append(0)
        self._births.append(0)
        self._capacities.append(UNBOUNDED)
        return len(self._odometers) - 1

    def remove(self, holder: int) -> None:
        """The holder is gone; its number will be given away again."""
        self._free.append(holder)

    def forget(self, holder: int) -> None:
        """It started anew and holds nothing; the same for what was learnt of its capacity."""
        self._odometers[holder] += 1
        self._births[holder] = self._oldest[holder] = self._odometers[holder]
        self._capacities[holder] = UNBOUNDED

    def capacity(self, holder: int) -> int | None:
        """Bytes it seems to keep; None as long as it was never seen to forget."""
        capacity = self._capacities[holder]
        return None if capacity == UNBOUNDED else capacity

    # --- prompts ---------------------------------------------------------------------------

    def match(self, prompt: bytes) -> list[int]:
        """Bytes of the longest prefix that each holder is believed to have, by its number."""
        block, oldest = self.block_bytes, self._oldest
        matched = [0] * len(oldest)
        children, depth = self._root.children, 0
        while (node := children.get(prompt[depth : depth + block])) is not None:
            label = node.label
            whole = prompt.startswith(label, depth)
            depth += len(label) if whole else self._shared(prompt, depth, label)
            for holder, used in node.holders.items():
                if used >= oldest[holder]:
                    matched[holder] = depth
            if not whole:
                break
            children = node.children
        return matched

    def insert(self, prompt: bytes, holder: int) -> Belief:
        """The holder will have this prompt; answers what was believed until now."""
        block, births, oldest = self.block_bytes, self._births[holder], self._oldest[holder]
        end = len(prompt)
        if end > self._longest:
            end = self._longest
        end -= end % block
        age_from = now = self._odometers[holder]
        held = remembered = depth = 0
        node, path = self._root, []
        while depth < end:
            key = prompt[depth : depth + block]
            child = node.children.get(key)
            if child is None:
                path.append(self._grow(node, key, prompt[depth:end]))
                break
            label = child.label
            if depth + len(label) > end or not prompt.startswith(label, depth):
                child = self._split(child, self._shared(prompt[:end], depth, label))
            depth += len(child.label)
            used = child.holders.get(holder, -1)
            if used >= births:
                remembered, age_from = depth, used
                if used >= oldest:
                    held = depth
            path.append(child)
            node = child
        self._use(path, holder, now + end - held)
        if not remembered:
            return NOTHING
        capacity = self._capacities[holder]
        if capacity > now - births:
            capacity = now - births
        # As Belief(…) would, in half the time.
        return tuple.__new__(Belief, (held, remembered, now - age_from, capacity))

    def _shared(self, prompt: bytes, depth: int, label: bytes) -> int:
        """Whole blocks that prompt and label have in common, in bytes, by halving. The first is
        known to be: children are found by it."""
        block = self.block_bytes
        low, high = 1, min(len(label), len(prompt) - depth) // block
        while low < high:
            middle = (low + high + 1) // 2
            if prompt.startswith(label[low * block : middle * block], depth + low * block):
                low = middle
            else:
                high = middle - 1
        return low * block

    def _grow(self, parent: _Node, key: bytes, label: bytes) -> _Node:
        node = parent.children[key] = _Node(label, parent, {})
        self._used[node] = None
        self.size_bytes += len(label) + NODE_BYTES
        return node

    def _split(self, lower: _Node, at: int) -> _Node:
        """Put a node for the first `at` bytes above; answers it."""
        label, parent = lower.label, lower.parent
        assert parent is not None, "the root is never split"
        upper = _Node(label[:at], parent, dict(lower.holders))
        parent.children[label[: self.block_bytes]] = upper
        upper.children[label[at : at + self.block_bytes]] = lower
        lower.label, lower.parent = label[at:], upper
        self._used[upper] = None
        self.size_bytes += NODE_BYTES
        return upper

    def _use(self, path: list[_Node], holder: int, odometer: int) -> None:
        """The deepest node is used first, so that it is also the first to go."""
        to_end = self._used.move_to_end
        path.reverse()
        for node in path:
            node.holders[holder] = odometer
            to_end(node)
        self._odometers[holder] = odometer
        if (capacity := self._capacities[holder]) != UNBOUNDED:
            self._oldest[holder] = max(self._births[holder], odometer - capacity)
        if self.size_bytes > self.limit_bytes:
            self._shrink()

    def _shrink(self) -> None:
        """Drop the leaves that were not used for longest."""
        while self.size_bytes > self.limit_bytes:
            node, _ = self._used.popitem(last=False)
            assert node.parent is not None, "the root is not in the order of use"
            del node.parent.children[node.label[: self.block_bytes]]
            self.size_bytes -= len(node.label) + NODE_BYTES

    # --- what the engine says --------------------------------------------------------------

    def withdraw(self, prompt: bytes, holder: int, held: int) -> None:
        """The prompt did not get there after all: the holder has only its first `held` bytes."""
        block, depth = self.block_bytes, 0
        children = self._root.children
        while (node := children.get(prompt[depth : depth + block])) is not None:
            if not prompt.startswith(node.label, depth):
                return
            depth += len(node.label)
            if depth > held:
                node.holders.pop(holder, None)
            children = node.children

    def learn(self, holder: int, belief: Belief, cached: int) -> None:
        """The engine found `cached` bytes of a prompt: move the capacity if that is a surprise.

        A report moves it by a step from where it was when the belief was formed. Many reports may
        come long after that, from a full queue; together they are still one step.
        """
        capacity = self._capacities[holder]
        if cached + self.block_bytes < belief.held * _SHORT:
            lower = max(belief.age, int(belief.capacity * (1 - _STEP)), self.block_bytes)
            capacity = min(capacity, lower)
            self._odometers[holder] += belief.held - cached  # new to the engine once more
        elif belief.remembered > belief.held and cached >= belief.remembered * _SHORT:
            capacity = max(capacity, min(belief.age, int(belief.capacity * (1 + _STEP))))
        else:
            return
        self._capacities[holder] = capacity
        self._oldest[holder] = max(self._births[holder], self._odometers[holder] - capacity)
