"""Die with the parent: no process of ours outlives the supervisor, however that one ends.

On Linux the kernel does it (prctl(2), PR_SET_PDEATHSIG). Elsewhere a watcher waits for the end of
a pipe that only the parent holds open.

As a program, `python lifeline.py PARENT_PID COMMAND…` runs any command under the same rule. It is
started by path and imports nothing of ours, so that it costs a bare interpreter.
"""

import os
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1


def hold(parent: int) -> None:
    """Make the kernel kill this process when `parent` dies; exits at once if it is dead already.

    The signal is sent when the parent's *thread* that made this process ends, so parents start
    their processes from their main thread.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch_input, args=(os.getpid(),), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch_input(target: int) -> None:
    """Kill `target` when standard input ends, which the parent keeps open while it lives."""
    while os.read(0, 4096):
        continue
    os.kill(target, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Run a command that dies with `PARENT_PID`."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        hold(parent)
        try:
            os.execvp(command[0], command)  # noqa: S606 - the point of this program
        except OSError as error:
            sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
            return 127
    else:
        return _run_watched(command)


def _run_watched(command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_watch_input, args=(child.pid,), daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: child.send_signal(got))
    code = child.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
