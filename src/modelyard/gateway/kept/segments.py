"""Segments of kept responses: files that one process appends to and all may read.

    head   64 bytes: magic, until when it takes entries, when the last of them has expired
    rows   4096 of 24 bytes: offset, sizes and checksums of an entry's two parts
    data   the entries, one after another: first what a conversation is made of, then the rest

The row of an entry is written after the entry, so whoever reads in between, or after a crash, finds
no row or one whose checksum does not match: either way there is no such entry. An entry is deleted
by zeros over its bytes and a mark in its row. A row is never used twice.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple, Self

SUFFIX = ".kept"
ROWS = 4096
_HEAD = struct.Struct("<8sQQ40x")
_ROW = struct.Struct("<QIIII")
_MAGIC = b"mykept1\n"
_DATA = _HEAD.size + ROWS * _ROW.size
_DELETED = _ROW.pack(1, 0, 0, 0, 0)
_ZEROS = bytes(1 << 20)


class Row(NamedTuple):
    """Where the two parts of an entry lie in its segment."""

    offset: int
    main_bytes: int
    rest_bytes: int
    main_crc: int
    rest_crc: int


class Life(NamedTuple):
    """Until when a segment takes entries, and when the last of them has expired."""

    takes_until_us: int
    gone_at_us: int


class Segment:
    """The writing side of one. Entries may come long after their rows were given out."""

    def __init__(self, folder: Path, name: bytes, life: Life) -> None:
        """Raises OSError, FileExistsError for a name that is taken."""
        self.name = name
        self.life = life
        self.written = _DATA
        """Where the next entry goes."""
        self._path = path_of(folder, name)
        self._given = 0
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _write(self._file, _HEAD.pack(_MAGIC, *life), 0)

    def takes(self, now_us: int, most_bytes: int) -> bool:
        """Whether another row may be given out. Not when somebody has removed the file."""
        return (
            self._given < ROWS
            and now_us < self.life.takes_until_us
            and self.written < most_bytes
            and os.fstat(self._file).st_nlink > 0
        )

    def give(self) -> int:
        """The next row."""
        self._given += 1
        return self._given - 1

    def write(self, slot: int, main: bytes, rest: bytes) -> None:
        """Write one entry, then its row. Raises OSError; there is no such entry then."""
        at = self.written
        self.written += len(main) + len(rest)
        row = _ROW.pack(at, len(main), len(rest), zlib.crc32(main), zlib.crc32(rest))
        _write(self._file, main, at)
        _write(self._file, rest, at + len(main))
        _write(self._file, row, _place(slot))

    def __del__(self) -> None:
        """Nobody can write to it any more: neither new entries nor those that are under way."""
        if hasattr(self, "_file"):
            os.close(self._file)


class Open:
    """The reading side of one, which may also delete. Raises FileNotFoundError when it is gone."""

    def __init__(self, folder: Path, name: bytes, *, deletes: bool = False) -> None:
        flags = os.O_RDWR if deletes else os.O_RDONLY
        self._file = os.open(path_of(folder, name), flags | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def row(self, slot: int) -> Row | None:
        """None where no entry was written, or where it was deleted."""
        data = os.pread(self._file, _ROW.size, _place(slot)) if slot < ROWS else b""
        if len(data) < _ROW.size:
            return None
        row = Row(*_ROW.unpack(data))
        end = row.offset + row.main_bytes + row.rest_bytes
        return row if row.offset >= _DATA and end <= os.fstat(self._file).st_size else None

    def main(self, row: Row) -> bytes | None:
        """The first part; None when it is damaged."""
        return self._whole(row.offset, row.main_bytes, row.main_crc)

    def rest(self, row: Row) -> bytes | None:
        """The second part; None when it is damaged."""
        return self._whole(row.offset + row.main_bytes, row.rest_bytes, row.rest_crc)

    def delete(self, slot: int, row: Row) -> None:
        """The bytes first: whoever is killed in between has deleted what was written."""
        at, end = row.offset, row.offset + row.main_bytes + row.rest_bytes
        while at < end:
            zeros = _ZEROS[: end - at]
            _write(self._file, zeros, at)
            at += len(zeros)
        _write(self._file, _DELETED, _place(slot))

    def _whole(self, at: int, size: int, checksum: int) -> bytes | None:
        data = os.pread(self._file, size, at)
        return data if len(data) == size and zlib.crc32(data) == checksum else None


def path_of(folder: Path, name: bytes) -> Path:
    """The file of a segment."""
    return folder / f"{name.hex()}{SUFFIX}"


def new_name(now_us: int, noise: bytes) -> bytes:
    """Names sort by time of birth: milliseconds, then two bytes that hardly anybody else chose."""
    return (now_us // 1000).to_bytes(6, "big") + noise


def born_us(path: Path) -> int:
    """When the segment of that path was made, to the millisecond. Raises ValueError for a file that
    is none."""
    return int.from_bytes(bytes.fromhex(path.name.removesuffix(SUFFIX))[:6], "big") * 1000


def life_of(path: Path) -> Life | None:
    """None for a segment without a head: its process died while it was made. Raises OSError."""
    with path.open("rb") as file:
        data = file.read(_HEAD.size)
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        return None
    _, takes_until_us, gone_at_us = _HEAD.unpack(data)
    return Life(takes_until_us, gone_at_us)


def _place(slot: int) -> int:
    return _HEAD.size + slot * _ROW.size


def _write(file: int, data: bytes, at: int) -> None:
    """All of it: the system may take less at once."""
    left = memoryview(data)
    while left:
        taken = os.pwrite(file, left, at)
        left, at = left[taken:], at + taken
