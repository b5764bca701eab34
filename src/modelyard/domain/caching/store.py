"""Entries of many tenants within one bound of memory, the least recently used out first.

A tenant may fill all that is free, and gives it up when others come: room is made by whoever holds
more than an equal share, so that what a tenant keeps within its share is never pushed out by
another (max-min fairness).
"""

from typing import Generic, NamedTuple, TypeVar

OVERHEAD_BYTES = 300
"""Of an entry beside its value: key, times, places in the tables."""
_LARGEST_SHARE = 8
"""One entry may take at most this part of the whole."""

Value = TypeVar("Value")


class Entry(NamedTuple, Generic[Value]):
    """A kept value."""

    value: Value
    size_bytes: int
    stored_at_s: float
    ttl_s: float


class _Shelf(Generic[Value]):
    """One tenant's entries, the least recently used first."""

    __slots__ = ("entries", "size_bytes")

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry[Value]] = {}
        self.size_bytes = 0

    def add(self, key: bytes, entry: Entry[Value]) -> None:
        self.entries[key] = entry
        self.size_bytes += entry.size_bytes

    def remove(self, key: bytes) -> int:
        """The bytes that are free now."""
        entry = self.entries.pop(key, None)
        freed = entry.size_bytes if entry is not None else 0
        self.size_bytes -= freed
        return freed


class FairStore(Generic[Value]):
    """The store. `size_bytes` never exceeds `max_bytes`; times are the caller's, in seconds."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._shelves: dict[str, _Shelf[Value]] = {}

    def __len__(self) -> int:
        return sum(len(shelf.entries) for shelf in self._shelves.values())

    def get(self, tenant: str, key: bytes, now_s: float, max_age_s: float) -> Entry[Value] | None:
        """The entry, if it is there and at most this old. A shorter time to live in a changed
        document thus holds for what was kept before."""
        shelf = self._shelves.get(tenant)
        entry = shelf.entries.get(key) if shelf is not None else None
        if shelf is None or entry is None:
            return None
        age_s = now_s - entry.stored_at_s
        if age_s >= entry.ttl_s:
            self.remove(tenant, key)
            return None
        if age_s >= max_age_s:
            return None
        del shelf.entries[key]  # and to the end: it was used
        shelf.entries[key] = entry
        return entry

    def put(
        self, tenant: str, key: bytes, value: Value, size_bytes: int, now_s: float, ttl_s: float
    ) -> bool:
        """Keep it in the place of an older one; whether it is kept. `size_bytes` is the value's."""
        self.remove(tenant, key)
        size_bytes += OVERHEAD_BYTES
        if size_bytes * _LARGEST_SHARE > self.max_bytes or ttl_s <= 0:
            return False
        shelf = self._shelves.setdefault(tenant, _Shelf())
        shelf.add(key, Entry(value, size_bytes, now_s, ttl_s))
        self.size_bytes += size_bytes
        self._drop_expired(tenant, shelf, now_s)
        while self.size_bytes > self.max_bytes:
            self._make_room(tenant)
        return key in shelf.entries

    def remove(self, tenant: str, key: bytes) -> None:
        """Forget it, if it is there."""
        shelf = self._shelves.get(tenant)
        if shelf is None:
            return
        self.size_bytes -= shelf.remove(key)
        if not shelf.entries:
            del self._shelves[tenant]

    def _drop_expired(self, tenant: str, shelf: _Shelf[Value], now_s: float) -> None:
        """Those at the front, where what nobody asks for any more gathers."""
        while True:
            key, entry = next(iter(shelf.entries.items()))
            if now_s - entry.stored_at_s < entry.ttl_s:
                return
            self.remove(tenant, key)

    def _make_room(self, tenant: str) -> None:
        """Of the writer if it holds more than an equal share, else of who holds most."""
        own = self._shelves.get(tenant)
        if own is None or own.size_bytes * len(self._shelves) < self.size_bytes:
            tenant = max(self._shelves, key=lambda name: self._shelves[name].size_bytes)
        self.remove(tenant, next(iter(self._shelves[tenant].entries)))
