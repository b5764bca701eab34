"""The memory-mapped file of the ledger: header, directory, rows, and the lock over them.

It is a file of its own because what was spent must outlive restarts and new layouts of what else
the gateway processes share. All values are 64-bit and change by aligned stores, so a killed
process leaves nothing torn; the order of the stores is chosen so that a kill counts too much
rather than too little. Row number n belongs to the counter whose 16-byte hash is entry n of the
directory; a zero entry was never used.
"""

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from modelyard.domain.limits import rows
from modelyard.domain.limits import window as windows
from modelyard.domain.limits.window import Words
from modelyard.errors import Unavailable

MAGIC = b"MYLEDGER"
VERSION = 1
_IDENTITY = struct.Struct("<8sQ")

ROWS = 4096
"""Counters in use at once, unless more are asked for: 4 KiB each."""
MOST_ROWS = 65_536
HASH_BYTES = 16
ROW_BYTES = rows.ROW_WORDS * 8
_HEADER_BYTES = 4096
_ROWS_AT = _HEADER_BYTES + MOST_ROWS * HASH_BYTES

# Words of the header behind magic and version. The generation changes whenever a row gets another
# owner.
_COUNT, _USED, GENERATION, _HOLDER, _SEQUENCE = 2, 3, 4, 5, 6

SPINS = 24
"""Tries for the lock before giving up: some ten microseconds, several times what it is held."""
OPEN_S = 5.0
"""How long opening waits for the lock; a frozen holder is killed sooner."""


def counter_hash(counter_id: str) -> bytes:
    """The 16 bytes by which a counter is found."""
    return hashlib.blake2b(counter_id.encode(), digest_size=HASH_BYTES).digest()


class LedgerFile:
    """The file, mapped. Whoever changes shared words holds the lock, or is alone."""

    def __init__(self, path: Path, count: int = ROWS) -> None:
        """Open, and make what is missing. Raises Unavailable when it cannot be used."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with self._waiting():
                self._prepare(min(count, MOST_ROWS))
            self._map = mmap.mmap(self._descriptor, os.fstat(self._descriptor).st_size)
        except OSError as error:
            os.close(self._descriptor)
            raise Unavailable(
                f"cannot use {path}: {error.strerror}", hint="free disk space in the data folder"
            ) from error
        except Unavailable:
            os.close(self._descriptor)
            raise
        self._next = 0
        self.rows = (len(self._map) - _ROWS_AT) // ROW_BYTES
        """Those in reach: another process may have made more since."""
        self.words: Words = memoryview(self._map).cast("Q")

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """The kernel's lock, waited for: only while opening, when no event loop runs yet."""
        until = time.monotonic() + OPEN_S
        while not self._lock():
            if time.monotonic() > until:
                raise Unavailable(
                    f"{self.path} is locked by a process that does not go on",
                    hint="end the process that `fuser` names for it",
                )
            time.sleep(0.002)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _prepare(self, count: int) -> None:
        size = os.fstat(self._descriptor).st_size
        magic, version = _IDENTITY.unpack(
            os.pread(self._descriptor, _IDENTITY.size, 0).ljust(_IDENTITY.size, b"\0")
        )
        if magic != bytes(8) and (magic, version) != (MAGIC, VERSION):
            # What was spent is in there: nothing is thrown away without being asked.
            raise Unavailable(
                f"{self.path} is no ledger of this version",
                hint="move it away to begin all windows and budgets anew",
            )
        known = struct.unpack("<Q", os.pread(self._descriptor, 8, _COUNT * 8).ljust(8, b"\0"))[0]
        if size < _ROWS_AT + max(count, known) * ROW_BYTES:
            _allocate(self._descriptor, _ROWS_AT + max(count, known) * ROW_BYTES)
        if count > known:
            os.pwrite(self._descriptor, struct.pack("<Q", count), _COUNT * 8)
        if magic != MAGIC:
            os.pwrite(self._descriptor, _IDENTITY.pack(MAGIC, VERSION), 0)

    # --- the lock ------------------------------------------------------------------------

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def enter(self, process: int) -> bool:
        """Take the lock for a process, without waiting for it. The kernel drops a dead holder's."""
        for _ in range(SPINS):
            if self._lock():
                words = self.words
                if words[_HOLDER]:
                    self.repair()  # the one before died in the middle
                words[_SEQUENCE] += 1
                words[_HOLDER] = process + 1
                return True
        return False

    def leave(self) -> None:
        """Give the lock back."""
        self.words[_HOLDER] = 0
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def held(self, process: int) -> Iterator[None]:
        """The lock, waited for; only while opening."""
        until = time.monotonic() + OPEN_S
        while not self.enter(process):
            if time.monotonic() > until:
                raise Unavailable(f"{self.path} stays locked by process {self.holder()[0]}")
            time.sleep(0.002)
        try:
            yield
        finally:
            self.leave()

    def holder(self) -> tuple[int, int]:
        """The process that holds the lock, -1 for none, and how many held it so far."""
        words = self.words
        return words[_HOLDER] - 1, words[_SEQUENCE]

    def holder_lives(self) -> bool:
        """Whether the lock is really held, and not just named in the header by one that died."""
        if not self._lock():
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    # --- rows ------------------------------------------------------------------------------

    def used(self) -> Iterator[int]:
        """Where each row begins that has, or had, an owner."""
        return (self.at(number) for number in range(min(self.words[_USED], self.rows)))

    @staticmethod
    def at(number: int) -> int:
        """The first word of a row."""
        return _ROWS_AT // 8 + number * rows.ROW_WORDS

    @staticmethod
    def number(at: int) -> int:
        """The inverse of `at`."""
        return (at - _ROWS_AT // 8) // rows.ROW_WORDS

    def owner(self, number: int) -> bytes:
        """The hash of the counter that owns a row."""
        begin = _HEADER_BYTES + number * HASH_BYTES
        return self._map[begin : begin + HASH_BYTES]

    def find(self, owner: bytes) -> int:
        """The row of a counter; -1 when it has none."""
        end = _HEADER_BYTES + self.words[_USED] * HASH_BYTES
        begin = self._map.find(owner, _HEADER_BYTES, end)
        while begin >= 0 and (begin - _HEADER_BYTES) % HASH_BYTES:
            begin = self._map.find(owner, begin + 1, end)
        return -1 if begin < 0 else (begin - _HEADER_BYTES) // HASH_BYTES

    def claim(self, owner: bytes, wanted: Collection[int], now_us: int) -> int:
        """A row for a counter that has none: a new one, else one that nobody misses, else -1.
        Those in `wanted` are missed."""
        words = self.words
        used = words[_USED]
        if used < self.rows:
            self._give(used, owner)
            words[_USED] = used + 1
            return used
        for step in range(self.rows):
            number = (self._next + step) % self.rows
            if number not in wanted and rows.idle(words, self.at(number), now_us):
                words[GENERATION] += 1  # first: nobody goes on using what they know of the row
                self._give(number, owner)
                self._next = number + 1
                return number
        return -1

    def _give(self, number: int, owner: bytes) -> None:
        begin = self.at(number)
        for word in range(begin, begin + rows.ROW_WORDS):
            if self.words[word]:
                self.words[word] = 0
        begin = _HEADER_BYTES + number * HASH_BYTES
        self._map[begin : begin + HASH_BYTES] = owner

    def repair(self) -> None:
        """Make all totals anew from their buckets."""
        for at in self.used():
            windows.repair(self.words, at)

    def sync(self) -> None:
        """Write changed pages to disk; blocks, so call it from a thread."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Unmap and give up the lock."""
        self.words.release()
        self._map.close()
        os.close(self._descriptor)


def _allocate(descriptor: int, size: int) -> None:
    """Not sparse: writing to a hole of a full disk would be a fatal SIGBUS."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        have = os.fstat(descriptor).st_size
        os.pwrite(descriptor, bytes(size - have), have)
