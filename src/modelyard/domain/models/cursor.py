"""Reading a file's header from the front, through a small window, never past the file's end."""

import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from modelyard.errors import Invalid

Read = Callable[[int, int], bytes]
"""(offset, size) → that many bytes of the file."""

WINDOW_BYTES = 1024 * 1024
TRY_AGAIN = "download or copy it again"
_U64 = struct.Struct("<Q")


def reader(file: BinaryIO) -> Read:
    """A `Read` over an open file."""

    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return read


class Cursor:
    """A place in the file that only moves forward. Everything raises Invalid at the file's end."""

    def __init__(self, read: Read, size_bytes: int) -> None:
        self.position = 0
        self.size_bytes = size_bytes
        self._read = read
        self._window = b""
        self._window_at = 0

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes; callers bound `count`, the window bounds the rest."""
        start = self._cover(count, what)
        self.position += count
        return self._window[start : start + count]

    def skip(self, count: int, what: str) -> None:
        """Move on without reading."""
        self._require(count, what)
        self.position += count

    def unpack(self, form: struct.Struct, what: str) -> Any:
        """One value of a struct with one field."""
        start = self._cover(form.size, what)
        self.position += form.size
        return form.unpack_from(self._window, start)[0]

    def skip_strings(self, count: int, what: str) -> None:
        """Move over `count` strings, each a 64-bit length and its bytes."""
        for _ in range(count):
            start = self.position - self._window_at
            if start + 8 > len(self._window):
                start = self._cover(8, what)
            length: int = _U64.unpack_from(self._window, start)[0]
            if length > self.size_bytes - self.position - 8:
                self._require(8 + length, what)
            self.position += 8 + length

    def _require(self, count: int, what: str) -> None:
        if count > self.size_bytes - self.position:
            raise Invalid(
                f"the file is truncated or damaged: {what} takes {count} bytes at byte "
                f"{self.position}, the file has {self.size_bytes}",
                hint=TRY_AGAIN,
            )

    def _cover(self, count: int, what: str) -> int:
        """Where the position lies in a window that holds the next `count` bytes."""
        start = self.position - self._window_at
        if start + count <= len(self._window):
            return start
        self._require(count, what)
        wanted = min(max(count, WINDOW_BYTES), self.size_bytes - self.position)
        self._window = self._read(self.position, wanted)
        self._window_at = self.position
        if len(self._window) < count:
            raise Invalid(
                f"the file ends at byte {self.position + len(self._window)} while it is read; "
                f"it should have {self.size_bytes}",
                hint="is something still writing it? Push it once it is complete",
            )
        return 0
