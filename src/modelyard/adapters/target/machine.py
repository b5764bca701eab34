"""What this machine has: memory, cores, and what an exit status means."""

import os
import signal
from pathlib import Path

_SIGNALS = {
    signal.SIGILL: "illegal instruction: the engine was built for another processor",
    signal.SIGFPE: "arithmetic fault inside the engine",
    signal.SIGSEGV: "segmentation fault inside the engine",
    signal.SIGBUS: "bus error: a mapped file shrank or its disk failed",
    signal.SIGABRT: "the engine aborted itself",
    signal.SIGKILL: "killed from outside: by hand, or by the kernel for want of memory",
    signal.SIGTERM: "terminated from outside",
}


def cause_of_exit(code: int) -> str:
    """The named cause of an exit status as `subprocess` reports it (negative: a signal)."""
    if code >= 0:
        return f"the engine ended by itself with status {code}"
    number = -code
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name}: {_SIGNALS.get(signal.Signals(number), 'ended by a signal')}"


def cores() -> int:
    """Whole cores this process may use: its affinity, bounded by the cgroup's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, period = _words("/sys/fs/cgroup/cpu.max", ("max", "100000"))
    if quota.isdigit() and period.isdigit() and int(period):
        count = min(count or 1, int(quota) // int(period))
    return max(1, count or 1)


def available_memory_bytes() -> int | None:
    """What new processes can take before something is killed; None when the system does not say."""
    free = _meminfo("MemAvailable")
    limit = _words("/sys/fs/cgroup/memory.max", ("max",))[0]
    used = _words("/sys/fs/cgroup/memory.current", ("",))[0]
    if limit.isdigit() and used.isdigit():
        inside = max(0, int(limit) - int(used))
        return inside if free is None else min(free, inside)
    return free


def resident_bytes(pid: int) -> int:
    """Memory the process holds now; 0 when unknown."""
    words = _words(f"/proc/{pid}/statm", ())
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


def prefer_to_kill(pid: int) -> None:
    """When memory runs out, the kernel shall take a replica and not the supervisor."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text("500")
    except OSError:
        return  # no Linux, or the process is gone: nothing depends on it


def _meminfo(field: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None


def _words(path: str, default: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(Path(path).read_text().split()) or default
    except OSError:
        return default
