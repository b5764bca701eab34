"""Engine and Target: N engines × M targets meet in one value, the LaunchSpec."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from modelyard.domain.providers.kinds import Upstream
from modelyard.domain.snapshot.capabilities import Capabilities


class ModelFile(NamedTuple):
    """A file of a version and where it lies locally."""

    path: str
    digest: str
    size_bytes: int
    local: Path


class ResolvedModel(NamedTuple):
    """A model version with its files at hand: what an engine plans from."""

    name: str
    version: int
    digest: str
    format: str
    """`gguf` or `safetensors`."""
    files: tuple[ModelFile, ...]
    metadata: Mapping[str, Any]
    """What the registry read from the headers: architecture, parameters, context_tokens, layers,
    kv_heads, head_dim, embedding, …; a missing value is absent."""


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How to run one replica: plain values, so it travels to any target.

    In `command` and `environment` the text `{port}` stands for the port a target chose, `{cores}`
    for the whole cores it gives the replica, `{api_key}` for the key below; an
    engine that chooses its own prints one line `listening <port>` on its standard output and
    leaves `{port}` out.
    """

    engine: str
    command: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    files: dict[str, str] = {}
    """Local path → digest, verified before the start."""
    health_path: str = "/health"
    metrics_path: str = "/metrics"
    api_key: str = ""
    """What the engine demands as bearer token."""
    upstream_model: str = ""
    cancels_without_stream: bool = True
    tells_prompt: bool = False
    """Whether a stream begins with `prompt_progress` when `return_progress` asks for it."""
    slots: int = 1
    memory_bytes: int = 0
    """What it will need, estimated; checked against what is free before the start."""
    cores: float = 1.0
    start_timeout_s: float = 120.0
    urls: tuple[str, ...] = ()
    """Outside upstreams: nothing to launch, these are the endpoints."""
    upstreams: tuple[Upstream, ...] = ()
    """Models of providers: nothing to launch; the reconciler makes endpoints of them."""
    dialects: tuple[str, ...] = ("chat",)
    """What it speaks natively; `spec.engine.dialects` of a service counts more."""
    capabilities: Capabilities = Capabilities()
    keeps: tuple[str, ...] = ()
    """What it holds its model to (`domain/providers/kinds.py`, `Kept`); `spec.engine.keeps` of a
    service counts more."""
    lacks: tuple[str, ...] = ()
    """What it does not know (`Lacked`); `spec.engine.lacks` of a service counts more."""

    @property
    def launches(self) -> bool:
        """Whether a target has anything to run."""
        return bool(self.command)


class Engine(Protocol):
    """Describes how to run a version; never runs it."""

    def plan(self, model: ResolvedModel | None, options: Mapping[str, Any]) -> LaunchSpec:
        """The spec for one replica. `options` is the service document's `engine` mapping.

        Raises Invalid naming the option or the model's property that does not fit.
        """
        ...


class ReplicaState(msgspec.Struct, frozen=True, kw_only=True):
    """One replica as its target sees it."""

    id: str
    revision: str
    phase: str
    """`pending` (waits for memory or back-off) · `starting` · `ready` · `draining` · `failed`
    (breaker open) · `stopped`."""
    url: str = ""
    """Base URL up to and including `/v1`, once it listens."""
    pid: int = 0
    restarts: int = 0
    reason: str = ""
    """Why it is not ready, or why it last went down: a named cause and the end of its stderr."""
    since_us: int = 0
    memory_bytes: int = 0
    """Resident now; 0 when unknown."""


class Target(Protocol):
    """Where replicas run. Idempotent: calling twice changes nothing the second time."""

    def apply(self, revision: str, spec: LaunchSpec, replicas: int) -> None:
        """Want `replicas` of this revision. A changed spec under the same revision is Conflict."""
        ...

    def replicas(self) -> Sequence[ReplicaState]:
        """All replicas of all revisions."""
        ...

    def delete(self, revision: str) -> None:
        """Drain and stop all replicas of the revision; unknown ones change nothing."""
        ...

    def logs(self, replica: str, lines: int) -> Sequence[str]:
        """The last lines of its output. Raises NotFound."""
        ...
