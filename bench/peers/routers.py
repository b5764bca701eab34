"""The two Rust routers on PyPI: vLLM's and SGLang's. They route; they know no keys' limits, usage
or records.

SGLang's keeps a tree of prompts, as it comes (`cache_aware`). vLLM's goes round robin, the least
that it can cost: its own default asks every replica to tokenize each prompt, by a path that only
vLLM has, and would be measured at its worst before an upstream that is none.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench import usage
from bench.peers import Running, environments, free_port, started

MOST_BYTES = 32 * 1024 * 1024


class Router:
    """One of them, started on the gateway's core, so that its runtime makes one thread for it."""

    def __init__(self, package: str, command: tuple[str, ...], policy: str) -> None:
        self.suffix = package.replace("-", "_")
        self._pinned = Path(__file__).with_name(f"{self.suffix}.txt")
        self._package = package
        self._command = command
        self._policy = policy
        self.name = f"{package} {environments.version(self._pinned, package)}"

    def prepare(self) -> None:
        """See the protocol."""
        environments.prepare(self._pinned)

    @contextlib.contextmanager
    def run(self, folder: Path, upstreams: list[str], model: str) -> Iterator[Running]:
        """See the protocol."""
        own = folder / self.suffix
        own.mkdir()
        port = free_port()
        workers = [url.removesuffix("/v1") for url in upstreams]
        command = [
            environments.program(self._pinned, self._package), *self._command,
            "--host", "127.0.0.1", "--port", str(port), "--worker-urls", *workers,
            "--policy", self._policy, "--log-level", "error",
            "--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port()),
            "--max-payload-size", str(MOST_BYTES),
        ]  # fmt: skip
        with started(command, port, own / "start.log", usage.plain_environment()) as pid:
            yield Running(f"http://127.0.0.1:{port}", "none", pid)


def vllm() -> Router:
    """vLLM's router."""
    return Router("vllm-router", (), "round_robin")


def sglang() -> Router:
    """SGLang's model gateway."""
    return Router("sglang-router", ("launch",), "cache_aware")
