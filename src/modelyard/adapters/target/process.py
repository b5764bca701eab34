"""Replicas as processes of this machine, owned by the supervisor."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from modelyard.adapters.target import machine
from modelyard.adapters.target.replica import Replica
from modelyard.errors import Conflict, Invalid, NotFound
from modelyard.lib import digests, ids
from modelyard.ports.engine import LaunchSpec, ReplicaState
from modelyard.settings import ReplicaSettings

GRACE_S = 0.7
"""How long the gateways may take to learn that an endpoint is gone, before its load is trusted."""

log = logging.getLogger(__name__)


class ProcessTarget:
    """Implements Target inside one event loop; every method must be called from that loop.

    `in_flight` tells the requests that gateways have open at an endpoint, for draining.
    """

    def __init__(
        self, settings: ReplicaSettings, logs: Path, in_flight: Callable[[str], int]
    ) -> None:
        self._settings = settings
        self._logs = logs
        self._in_flight = in_flight
        self._specs: dict[str, LaunchSpec] = {}
        self._replicas: dict[str, Replica] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping: set[str] = set()
        self._verified: dict[tuple[str, int, int], str] = {}
        self._verifying = asyncio.Lock()

    # --- Target ----------------------------------------------------------------------------

    def apply(self, revision: str, spec: LaunchSpec, replicas: int) -> None:
        """See the port."""
        known = self._specs.setdefault(revision, spec)
        if known != spec:
            raise Conflict(f"revision {revision} runs with another launch spec")
        running = [replica for replica in self._of(revision) if replica.id not in self._stopping]
        for _ in range(replicas - len(running)):
            self._start(revision, spec)
        for replica in running[replicas:]:
            self._begin_stop(replica)

    def replicas(self) -> Sequence[ReplicaState]:
        """See the port."""
        return [replica.state() for replica in self._replicas.values()]

    def delete(self, revision: str) -> None:
        """See the port."""
        self._specs.pop(revision, None)
        for replica in self._of(revision):
            self._begin_stop(replica)

    def logs(self, replica: str, lines: int) -> Sequence[str]:
        """See the port."""
        if replica not in self._replicas:
            raise NotFound(
                f"no replica {replica!r} runs here",
                hint=f"output of former ones is kept under {self._logs}",
            )
        return self._replicas[replica].log_lines(lines)

    async def stop(self) -> None:
        """Drain and end every replica."""
        for revision in list(self._specs):
            self.delete(revision)
        while self._tasks:
            await asyncio.wait(self._tasks)

    # --- Host, for the replicas ------------------------------------------------------------

    def admit(self, replica: Replica) -> str:
        """Whether its memory fits beside what the others have been promised."""
        available = machine.available_memory_bytes()
        if available is None:
            return ""
        promised = sum(other.unclaimed_bytes for other in self._replicas.values())
        free = available - promised - self._settings.memory_headroom_bytes
        if replica.spec.memory_bytes <= free:
            return ""
        return (
            f"it needs {_mib(replica.spec.memory_bytes)} of memory and {_mib(free)} are free; "
            "use fewer slots, a smaller context_tokens or a smaller quantization, or stop "
            "another service"
        )

    def cores(self) -> int:
        """Cores divided among the replicas that are to run."""
        running = len(self._replicas) - len(self._stopping)
        return max(1, machine.cores() // max(1, running))

    async def verify(self, files: dict[str, str]) -> None:
        """Hash each file once for each state it is found in; a replica never maps bytes that are
        not those that were pushed."""
        async with self._verifying:
            for path, digest in files.items():
                await asyncio.get_running_loop().run_in_executor(None, self._verify, path, digest)

    def _verify(self, path: str, digest: str) -> None:
        try:
            stat = Path(path).stat()
            state = (path, stat.st_size, stat.st_mtime_ns)
            if state not in self._verified:
                self._verified[state] = digests.of_file(Path(path))
        except OSError as error:
            raise Invalid(f"model file {path} cannot be read: {error.strerror}") from error
        if self._verified[state] != digest:
            raise Invalid(
                f"model file {path} is damaged: its content is not {digest}",
                hint="push the version again; the same content gets the same version",
            )

    # --- replicas --------------------------------------------------------------------------

    def _of(self, revision: str) -> list[Replica]:
        return [replica for replica in self._replicas.values() if replica.revision == revision]

    def _start(self, revision: str, spec: LaunchSpec) -> None:
        name = f"{revision}-{ids.short_id(4)}"
        replica = Replica(name, revision, spec, self, self._settings, self._logs)
        self._replicas[name] = replica
        self._keep(asyncio.create_task(self._run(replica)))

    async def _run(self, replica: Replica) -> None:
        try:
            await replica.run()
        except Exception:
            # One replica's fault must not become the supervisor's.
            log.exception("replica %s is given up", replica.id)
        finally:
            self._replicas.pop(replica.id, None)
            self._stopping.discard(replica.id)

    def _begin_stop(self, replica: Replica) -> None:
        if replica.id in self._stopping:
            return
        self._stopping.add(replica.id)
        earliest_s = asyncio.get_running_loop().time() + GRACE_S

        def idle() -> bool:
            waited = asyncio.get_running_loop().time() >= earliest_s
            return waited and self._in_flight(replica.id) == 0

        self._keep(asyncio.create_task(replica.stop(idle)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _mib(size_bytes: int) -> str:
    return f"{max(0, size_bytes) / 2**20:,.0f} MiB"
