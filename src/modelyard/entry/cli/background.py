"""A platform that lives as long as the command that needed it."""

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.errors import ERRORS, Conflict, ModelyardError, TimedOut, Unavailable
from modelyard.lib import lifeline
from modelyard.lib.clock import monotonic_s
from modelyard.lib.datafolder import DataFolder
from modelyard.settings import Settings

START_S = 60.0
STOP_S = 45.0


class Background:
    """A running `modelyard up`; `known` is what it said when it was ready."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.known: dict[str, Any] = {}

    def await_ready(self, timeout_s: float) -> None:
        """Read its first line. Raises what it failed with, or TimedOut."""
        line = _first_line(self._process, timeout_s)
        if line is None:
            raise TimedOut(f"the platform did not start within {timeout_s:g} s; see {self._log}")
        try:
            self.known = json.loads(line)
        except ValueError:
            self._process.wait(STOP_S)
            raise _failure(self._log) from None

    def wait(self) -> int:
        """Until it ends; its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and make sure."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def platform(data: Path, port: int, control_port: int) -> Iterator[Background]:
    """Start a platform on a data folder, and stop it at the end of the block.

    It is a process group of its own, so that a Ctrl-C meant for a chat does not reach it, and it
    ends with this process however that one ends.
    """
    folder = DataFolder(data)
    folder.create()
    log = folder.logs / "platform.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            _command(folder.root, port, control_port),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,
        )
    running = Background(process, log)
    try:
        running.await_ready(START_S)
        yield running
    finally:
        running.stop()


def _command(data: Path, port: int, control_port: int) -> list[str]:
    up = [sys.executable, "-m", "modelyard.entry.cli.main", "up", "-o", "json"]
    places = ["--data", str(data), "--port", str(port), "--control-port", str(control_port)]
    return [sys.executable, lifeline.__file__, str(os.getpid()), *up, *places]


def _first_line(process: subprocess.Popen[bytes], timeout_s: float) -> bytes | None:
    """The first line of its output; empty when it ended without one, None when time ran out."""
    assert process.stdout is not None
    deadline_s = monotonic_s() + timeout_s
    found = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"\n" not in found:
            left_s = deadline_s - monotonic_s()
            if left_s <= 0 or not selector.select(left_s):
                return None
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                break
            found += piece
    return found.partition(b"\n")[0]


def _failure(log: Path) -> ModelyardError:
    """The error that the platform ended with: the last line of its log, as it was raised."""
    lines = log.read_text(errors="replace").strip().splitlines() or [""]
    try:
        error = json.loads(lines[-1])["error"]
        return ERRORS.get(error["code"], Unavailable)(error["message"], hint=error["hint"])
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"the platform did not start: {lines[-1]}", hint=f"see {log}")


def free_port(host: str, port: int) -> int:
    """`port` when nothing listens on it, else 0: let the system choose."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return 0
    return port


def free_ports() -> tuple[int, int]:
    """Gateway's and control's default ports where they are free."""
    settings = Settings()
    gateway, control = settings.gateway, settings.control
    return free_port(gateway.host, gateway.port), free_port(control.host, control.port)


def answers(data: Path) -> bool:
    """Whether a platform runs on the folder: somebody holds its lock."""
    folder = DataFolder(data)
    if folder.read_run() is None:
        return False
    try:
        folder.lock().close()
    except Conflict:
        return True
    return False
