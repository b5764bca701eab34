"""The processes of a running platform, found by their parentage with `ps` (Linux and macOS)."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

KINDS = {
    "modelyard.entry.gateway": "gateway",
    "modelyard.entry.control": "control",
    "modelyard.entry.reconciler": "reconciler",
    "xllamacpp_server": "replica",
}


class Process(NamedTuple):
    """One process: `kind` is supervisor, gateway, control, reconciler, replica or other."""

    pid: int
    parent: int
    kind: str


def tree(supervisor: int) -> list[Process]:
    """The supervisor and all that descends from it; empty when it is gone."""
    table = _table()
    if supervisor not in table:
        return []
    found = [Process(supervisor, table[supervisor][0], "supervisor")]
    for one in found:  # grows while it is walked
        for pid, (parent, command) in table.items():
            if parent == one.pid:
                found.append(Process(pid, parent, _kind(command)))
    return found


def alive(pid: int) -> bool:
    """Whether a process still runs (a zombie does not)."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(listed.stdout.strip()) and not listed.stdout.startswith("Z")


def kill(pid: int) -> None:
    """As the kernel's out-of-memory killer does it: without a word. One that has gone meanwhile,
    as children do when their supervisor was killed first, is dead enough."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def freeze(pid: int) -> None:
    """It is there, its connections are open, and it does nothing."""
    os.kill(pid, signal.SIGSTOP)


@contextlib.contextmanager
def frozen(pids: Iterable[int]) -> Iterator[None]:
    """These processes do nothing for the time of a block."""
    kept = list(pids)
    for pid in kept:
        freeze(pid)
    try:
        yield
    finally:
        for pid in kept:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _table() -> dict[int, tuple[int, str]]:
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True
    )
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return {int(row[0]): (int(row[1]), row[2]) for row in rows if len(row) == 3}


def _kind(command: str) -> str:
    return next((kind for part, kind in KINDS.items() if part in command), "other")
