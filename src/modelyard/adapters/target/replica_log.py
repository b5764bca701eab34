"""What a replica has written: the end in memory, more in a bounded file."""

from collections import deque
from pathlib import Path

LOG_LINES = 2000
LOG_FILE_BYTES = 4 * 1024 * 1024
OURS = "[modelyard]"
"""Begins the lines that the supervisor adds between two starts."""


class ReplicaLog:
    """Output of one replica over all its starts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._start = 0
        self._count = 0
        self._file = path.open("a", encoding="utf-8", errors="replace")

    def append(self, line: str) -> None:
        """Keep a line; the file starts anew, the old one kept as `.1`, when it is full."""
        self._lines.append(line)
        self._count += 1
        try:
            self._file.write(line + "\n")
            self._file.flush()
            if self._file.tell() > LOG_FILE_BYTES:
                self._rotate()
        except OSError:
            return  # a full disk costs the file, never the replica; memory still has the end
        finally:
            if line.startswith(OURS):
                self._start = self._count

    def _rotate(self) -> None:
        self._file.close()
        self._path.replace(self._path.with_suffix(".log.1"))
        self._file = self._path.open("a", encoding="utf-8", errors="replace")

    def last(self, lines: int) -> list[str]:
        """The last lines, oldest first."""
        return list(self._lines)[-lines:] if lines > 0 else []

    def of_this_start(self) -> list[str]:
        """Lines since the process was last started."""
        return self.last(self._count - self._start)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
