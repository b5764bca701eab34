"""The life of one replica: pending → starting → ready → (down → pause → pending)* → stopped."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from modelyard.adapters.target import machine
from modelyard.adapters.target.replica_log import OURS, ReplicaLog
from modelyard.errors import ModelyardError
from modelyard.lib import clock, lifeline
from modelyard.lib.fetch import fetch
from modelyard.ports.engine import LaunchSpec, ReplicaState
from modelyard.settings import ReplicaSettings

REASON_LINES = 6
POLL_S = 0.1
HEALTH_EVERY_S = 2.0
HEALTH_TIMEOUT_S = 3.0
HEALTH_FAILURES = 3
TERMINATE_S = 5.0
STEADY_S = 60.0
"""A replica that was ready this long starts its back-off anew."""

log = logging.getLogger(__name__)


class Host(Protocol):
    """What a replica asks of the target that owns it."""

    def admit(self, replica: "Replica") -> str:
        """Empty when there is memory for it now, else what is missing."""
        ...

    def cores(self) -> int:
        """Whole cores for one replica."""
        ...

    async def verify(self, files: dict[str, str]) -> None:
        """Raises Invalid when a file does not have its digest."""
        ...


class Replica:
    """One replica under supervision. `run` is its whole life."""

    def __init__(
        self, name: str, revision: str, spec: LaunchSpec, host: Host, settings: ReplicaSettings,
        logs: Path,
    ) -> None:  # fmt: skip
        self.id = name
        self.revision = revision
        self.spec = spec
        self._host = host
        self._settings = settings
        self._log = ReplicaLog(logs / f"{name}.log")
        self._phase = "pending"
        self._reason = ""
        self._since_us = clock.now_us()
        self._url = ""
        self._restarts = 0
        self._crashes_s: deque[float] = deque(maxlen=max(1, settings.breaker_crashes))
        self._process: asyncio.subprocess.Process | None = None
        self._listening = asyncio.Event()
        self._stop = asyncio.Event()

    @property
    def pid(self) -> int:
        """The engine's process, 0 when there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    @property
    def unclaimed_bytes(self) -> int:
        """Memory that it was admitted with and does not hold yet."""
        return max(0, self.spec.memory_bytes - machine.resident_bytes(self.pid)) if self.pid else 0

    def state(self) -> ReplicaState:
        """What to tell others."""
        return ReplicaState(
            id=self.id,
            revision=self.revision,
            phase=self._phase,
            url=self._url,
            pid=self.pid,
            restarts=self._restarts,
            reason=self._reason,
            since_us=self._since_us,
            memory_bytes=machine.resident_bytes(self.pid) if self.pid else 0,
        )

    def log_lines(self, lines: int) -> list[str]:
        """The last lines of its output, over all its starts."""
        return self._log.last(lines)

    async def run(self) -> None:
        """Start, watch, start again, until `stop`."""
        while not self._stop.is_set():
            missing = self._host.admit(self)
            if missing:
                self._enter("pending", missing)
                await self._pause(1.0)
                continue
            started_s = clock.monotonic_s()
            cause = await self._live()
            if not self._stop.is_set():
                await self._after_crash(cause, clock.monotonic_s() - started_s)
        self._enter("stopped", "")
        self._log.close()

    async def stop(self, idle: Callable[[], bool]) -> None:
        """Finish what it works on, then end it. `run` returns soon after."""
        self._enter("draining", "")
        deadline_s = clock.monotonic_s() + self._settings.drain_timeout_s
        while self.pid and clock.monotonic_s() < deadline_s and not idle():
            await asyncio.sleep(POLL_S)
        self._stop.set()

    # --- one start -------------------------------------------------------------------------

    async def _live(self) -> str:
        """From the start of the process to its end; why it ended."""
        self._enter("starting", self._reason)
        self._listening.clear()
        try:
            await self._host.verify(self.spec.files)
            process = self._process = await self._spawn()
        except (ModelyardError, OSError) as error:
            return str(error)
        machine.prefer_to_kill(process.pid)
        reading = asyncio.create_task(self._read(process))
        watching = asyncio.create_task(self._watch())
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({watching, ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            cause = watching.result() if watching.done() else ""
            if not ended.done():
                await self._end(process, at_once=bool(cause))
            code = await ended
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reading, 1.0)
            return self._explain(cause or machine.cause_of_exit(code))
        finally:
            self._url = ""
            for task in (reading, watching, ended, stopped):
                task.cancel()
            _kill_group(process.pid)

    async def _spawn(self) -> asyncio.subprocess.Process:
        words = {
            "{port}": str(_free_port()) if self._uses("{port}") else "",
            "{cores}": str(self._host.cores()),
            "{api_key}": self.spec.api_key,
        }
        environment = {name: _fill(text, words) for name, text in self.spec.environment.items()}
        command = [_fill(text, words) for text in self.spec.command]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", lifeline.__file__, str(os.getpid()), *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**_inherited(), **environment},
            start_new_session=True,
        )  # fmt: skip
        if words["{port}"]:
            self._listens_on(int(words["{port}"]))
        return process

    def _uses(self, word: str) -> bool:
        return any(word in text for text in (*self.spec.command, *self.spec.environment.values()))

    def _listens_on(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/v1"
        self._listening.set()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        rest = b""
        while data := await process.stdout.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take_line(line.decode("utf-8", "replace").rstrip())
            if len(rest) > 65536:  # a line without end is cut, not kept
                rest = b""

    def _take_line(self, line: str) -> None:
        if line.startswith("listening ") and line[10:].isdigit() and not self._listening.is_set():
            self._listens_on(int(line[10:]))
        if line:
            self._log.append(line)

    async def _watch(self) -> str:
        """Returns only when it has to be ended: why."""
        limit_s = self.spec.start_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._listening.wait()
                while not (await self._healthy() and await self._answers_a_token()):
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return f"it did not answer a first token within {limit_s:g} s"
        self._enter("ready", "")
        failures = 0
        while failures < HEALTH_FAILURES:
            await asyncio.sleep(HEALTH_EVERY_S)
            failures = 0 if await self._healthy() else failures + 1
        return f"it has failed {HEALTH_FAILURES} health checks in a row"

    async def _healthy(self) -> bool:
        url = self._url.removesuffix("/v1") + self.spec.health_path
        try:
            return (
                await fetch(url, token=self.spec.api_key, timeout_s=HEALTH_TIMEOUT_S)
            ).status == 200
        except ModelyardError:
            return False

    async def _answers_a_token(self) -> bool:
        question = {"model": self.spec.upstream_model, "prompt": "Hi", "max_tokens": 1}
        try:
            answer = await fetch(
                f"{self._url}/completions",
                token=self.spec.api_key,
                timeout_s=self.spec.start_timeout_s,
                method="POST",
                body=msgspec.json.encode(question),
            )
        except ModelyardError:
            return False
        return answer.status == 200

    async def _end(self, process: asyncio.subprocess.Process, at_once: bool) -> None:
        if not at_once:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.wait()), TERMINATE_S)
        _kill_group(process.pid)

    # --- between starts --------------------------------------------------------------------

    async def _after_crash(self, cause: str, lived_s: float) -> None:
        now_s = clock.monotonic_s()
        log.warning("replica %s went down: %s", self.id, cause)
        self._log.append(f"{OURS} {cause}")
        self._restarts += 1
        if lived_s > STEADY_S:
            self._crashes_s.clear()
        self._crashes_s.append(now_s)
        limits = self._settings
        opens_s = self._crashes_s[0] + limits.breaker_window_s
        if len(self._crashes_s) >= limits.breaker_crashes and opens_s > now_s:
            text = f"{len(self._crashes_s)} crashes within {limits.breaker_window_s:g} s; "
            self._enter("failed", f"{text}next try in {opens_s - now_s:.0f} s. Last: {cause}")
            await self._pause(opens_s - now_s)
            return
        doubled = limits.restart_backoff_s * 2 ** (len(self._crashes_s) - 1)
        self._enter("pending", cause)
        await self._pause(min(doubled, limits.restart_backoff_max_s))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _enter(self, phase: str, reason: str) -> None:
        if self._phase == "draining" and phase != "stopped":
            return  # whatever still happens to it, it is on its way out
        if phase != self._phase:
            self._since_us = clock.now_us()
        self._phase, self._reason = phase, reason

    def _explain(self, cause: str) -> str:
        lines = [line for line in self._log.of_this_start() if line.strip()]
        tail = " | ".join(lines[-REASON_LINES:])
        return f"{cause}. Its last words: {tail[-1500:]}" if tail else cause


def _fill(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _inherited() -> dict[str, str]:
    """Our environment without what is ours alone: an engine needs no key and no channel."""
    return {name: text for name, text in os.environ.items() if not name.startswith("MODELYARD_")}


def _kill_group(pid: int) -> None:
    """The process leads its own group: whatever it started goes with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
