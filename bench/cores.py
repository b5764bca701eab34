"""Which core does what: the gateway alone on the first, everything else on the others (Linux)."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_ALLOWED = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
GATEWAY = {_ALLOWED[0]}
OTHERS = set(_ALLOWED[1:])
"""Empty on a machine with one core: then nothing is pinned."""


def take_others() -> None:
    """Put this process, and all it starts from now on, on the other cores."""
    if OTHERS:
        os.sched_setaffinity(0, OTHERS)


@contextlib.contextmanager
def as_gateway() -> Iterator[None]:
    """What is started in this block is on the gateway's core from its first instruction, so that
    a runtime that makes a thread per core makes one."""
    if not OTHERS:
        yield
        return
    os.sched_setaffinity(0, GATEWAY)
    try:
        yield
    finally:
        os.sched_setaffinity(0, OTHERS)


def move_to_gateway(pids: Iterable[int]) -> None:
    """Put running processes, all their threads, on the gateway's core."""
    if not OTHERS:
        return
    for pid in pids:
        for thread in Path("/proc", str(pid), "task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), GATEWAY)


def described() -> str:
    """For the head of a report."""
    if not OTHERS:
        return "one core, nothing is pinned"
    others = ", ".join(map(str, sorted(OTHERS)))
    return (
        f"gateways pinned to core {min(GATEWAY)}; upstream, load generator and Modelyard's control "
        f"plane on core {others}"
    )
