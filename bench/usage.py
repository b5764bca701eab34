"""What processes cost, read from /proc; elsewhere nothing is known and nothing is claimed."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")


def plain_environment() -> dict[str, str]:
    """The environment without our own settings and without proxies: all is on loopback."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MODELYARD_") and "PROXY" not in name.upper()
    }


def cpu_s(pids: Iterable[int]) -> float | None:
    """User and system time that these processes have taken so far."""
    if not _PROC.joinpath("self/stat").exists():
        return None
    return sum(_ticks(pid) for pid in pids) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    fields = _PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def resident_mb(pids: Iterable[int]) -> float | None:
    """Their resident memory in millions of bytes."""
    if not _PROC.joinpath("self/statm").exists():
        return None
    pages = [int(_PROC.joinpath(str(pid), "statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def private_mb(pids: Iterable[int]) -> float | None:
    """The part of it that is theirs alone: without mapped files, such as the spool of records,
    whose pages come and go with each segment."""
    if not _PROC.joinpath("self/status").exists():
        return None
    return sum(_private_kib(pid) for pid in pids) * 1024 / 1e6


def _private_kib(pid: int) -> int:
    for line in _PROC.joinpath(str(pid), "status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0


def open_files(pids: Iterable[int]) -> int:
    """Their open descriptors; one that goes away meanwhile has none."""
    count = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            count += sum(1 for _ in _PROC.joinpath(str(pid), "fd").iterdir())
    return count


def threads(pids: Iterable[int]) -> int:
    """How many threads they have."""
    return sum(1 for pid in pids for _ in _PROC.joinpath(str(pid), "task").iterdir())
