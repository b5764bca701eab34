"""The kept responses of one data folder. Each gateway process appends to segments of its own; all
read and delete in all of them. Nothing here waits: files are local, and reads are small."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from modelyard.gateway.kept.entry import Entry, packed, unpacked
from modelyard.gateway.kept.segments import (
    SUFFIX,
    Life,
    Open,
    Row,
    Segment,
    born_us,
    life_of,
    new_name,
)
from modelyard.gateway.kept.tokens import Address, Tokens

SEGMENT_BYTES = 16 * 1024 * 1024
"""A segment that has so many takes no more answers."""
LEAST_SPAN_S = 60.0
SPANS = 16
"""A segment takes answers for one such part of the time that they are kept: so much later than the
first of them, and no more, their bytes leave the disk."""
SWEEP_S = 60.0
MADE_US = 60 * 1_000_000
"""After this time a segment without a head will never get one."""
MOST_OPEN = 64
"""Segments that a process writes at once, one for each time that services keep answers for."""

_TRIES = 8

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where an answer will be kept: its id is known before it is there."""

    id: str
    segment: Segment
    slot: int


class Found(NamedTuple):
    """An entry, and where the rest of it is."""

    entry: Entry
    row: Row
    address: Address


class KeptResponses:
    """See the module. Only `sweep` may run in another thread than the event loop's."""

    def __init__(
        self, folder: Path, secret: bytes, limit_bytes: int, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.folder = folder
        self._tokens = Tokens(secret)
        self._limit_bytes = limit_bytes
        self._segment_bytes = segment_bytes
        self._current: dict[float, Segment] = {}
        """By the time that their answers are kept."""
        self._swept_s = float("-inf")
        self._is_failing = False

    # --- writing ---------------------------------------------------------------------------

    def place(self, tenant: str, keep_s: float, now_us: int) -> Place | None:
        """Where the next answer goes that is kept for so long; None where nothing can be written,
        which has been logged."""
        segment = self._current.get(keep_s)
        if segment is None or not segment.takes(now_us, self._segment_bytes):
            segment = self._roll(keep_s, now_us)
        if segment is None:
            return None
        slot = segment.give()
        return Place(self._tokens.id_of(Address(segment.name, slot), tenant), segment, slot)

    def put(self, place: Place, entry: Entry, rest: bytes) -> bool:
        """Keep an answer: once this returns, a killed process loses nothing of it. False where it
        could not be written, which has been logged."""
        try:
            place.segment.write(place.slot, packed(entry), rest)
        except OSError as error:
            self._failed(error)
            return False
        self._is_failing = False
        return True

    def _roll(self, keep_s: float, now_us: int) -> Segment | None:
        if len(self._current) >= MOST_OPEN:
            self._current.clear()
        self._current.pop(keep_s, None)
        span_us = round(max(LEAST_SPAN_S, keep_s / SPANS) * 1_000_000)
        life = Life(now_us + span_us, now_us + span_us + round(keep_s * 1_000_000))
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            segment = self._made(now_us, life)
        except OSError as error:
            self._failed(error)
            return None
        self._current[keep_s] = segment
        self._swept_s = float("-inf")  # there is more than before: the bound is looked at soon
        return segment

    def _made(self, now_us: int, life: Life) -> Segment:
        """Raises OSError. Others may have chosen the same name in the same millisecond."""
        for _ in range(_TRIES):
            with contextlib.suppress(FileExistsError):
                return Segment(self.folder, new_name(now_us, os.urandom(2)), life)
        return Segment(self.folder, new_name(now_us, os.urandom(2)), life)

    def _failed(self, error: OSError) -> None:
        """Said once until it goes well again: every answer would say the same."""
        if not self._is_failing:
            log.warning("answers cannot be kept in %s: %s", self.folder, error.strerror)
        self._is_failing = True

    # --- reading ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self, *, deletes: bool = False) -> Iterator["Reading"]:
        """To read some entries with; segments are opened once for all of them."""
        with contextlib.ExitStack() as files:
            yield Reading(self.folder, self._tokens, files, deletes=deletes)

    # --- leaving ---------------------------------------------------------------------------

    def is_due(self, now_s: float) -> bool:
        """Whether it is time to sweep."""
        if now_s - self._swept_s < SWEEP_S:
            return False
        self._swept_s = now_s
        return True

    def sweep(self, now_us: int) -> int:
        """Remove the segments whose last answer has expired, then the oldest until all fit into the
        bound; how many were removed. Every process does so."""
        left: list[tuple[Path, int]] = []
        removed = 0
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            with contextlib.suppress(FileNotFoundError, ValueError):  # others sweep, too
                if _is_over(path, now_us):
                    path.unlink()
                    removed += 1
                else:
                    left.append((path, path.stat().st_size))
        return removed + self._shrink(left)

    def _shrink(self, left: list[tuple[Path, int]]) -> int:
        total, removed = sum(size for _, size in left), 0
        for path, size in left:
            if total <= self._limit_bytes:
                break
            path.unlink(missing_ok=True)
            total, removed = total - size, removed + 1
        return removed


class Reading:
    """Some reads. What cannot be read, for whatever reason, is not there."""

    def __init__(
        self, folder: Path, tokens: Tokens, files: contextlib.ExitStack, *, deletes: bool
    ) -> None:
        self._folder = folder
        self._tokens = tokens
        self._files = files
        self._deletes = deletes
        self._open: dict[bytes, Open] = {}

    def find(self, id: str, tenant: str, now_us: int) -> Found | None:
        """The entry of that id; None for one that is not known to that tenant, expired, deleted or
        damaged."""
        address = self._tokens.read(id, tenant)
        segment = self._segment(address.segment) if address is not None else None
        if address is None or segment is None:
            return None
        row = segment.row(address.slot)
        data = segment.main(row) if row is not None else None
        entry = unpacked(data) if data is not None else None
        if row is None or entry is None:
            return None
        if entry.tenant != tenant or entry.expires_at_us <= now_us:
            return None
        return Found(entry, row, address)

    def rest(self, found: Found) -> bytes | None:
        """The second part of an entry; None when it is damaged or was deleted meanwhile."""
        segment = self._segment(found.address.segment)
        return segment.rest(found.row) if segment is not None else None

    def delete(self, found: Found) -> None:
        """Write zeros over it."""
        segment = self._segment(found.address.segment)
        if segment is not None:
            segment.delete(found.address.slot, found.row)

    def _segment(self, name: bytes) -> Open | None:
        known = self._open.get(name)
        if known is None:
            try:
                opened = Open(self._folder, name, deletes=self._deletes)
            except OSError:
                return None
            known = self._open[name] = self._files.enter_context(opened)
        return known


def _is_over(path: Path, now_us: int) -> bool:
    life = life_of(path)
    if life is None:
        return born_us(path) + MADE_US < now_us
    return life.gone_at_us <= now_us
