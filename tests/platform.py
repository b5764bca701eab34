"""A whole platform as its own process, for tests that need the real thing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.client import Client
from modelyard.errors import NotFound

SHIPPED = Path(__file__).parents[1] / "examples" / "support-model"


class Platform:
    """A running `modelyard up` and a client for it."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MODELYARD_")}
        errors = (data.parent / f"{data.name}.stderr").open("ab")
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "modelyard.entry.cli.main", "up", "--data", str(data),
                "--port", "0", "--control-port", "0", "-o", "json", *options,
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        )  # fmt: skip
        errors.close()
        assert self.process.stdout is not None
        self.ready: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.gateway_url: str = self.ready["gateway_url"]
        self.control_url: str = self.ready["control_url"]
        self.key = (data / "admin.key").read_text().strip()
        self.client = Client(self.control_url, self.key)

    def serve_shipped(self, name: str = "support", version: int = 2, replicas: int = 1) -> None:
        """Push a shipped version and serve it; returns when it is ready."""
        about = json.loads((SHIPPED / "model.json").read_text())
        profile = {k: about[k] for k in ("description", "purpose", "suggested_questions")}
        file = SHIPPED / f"support-bot-v{version}.gguf"
        self.client.push(file, "support-bot", alias="production", profile=profile,
                         card=(SHIPPED / f"v{version}.md").read_text())  # fmt: skip
        self.apply(name, model="support-bot@production", replicas=replicas)

    def serve_echo(self, name: str = "echo", replicas: int = 1, **options: Any) -> None:
        """Serve the echo engine; returns when it is ready."""
        self.apply(name, engine={"name": "echo", **options}, replicas=replicas)

    def apply(self, name: str, **spec: Any) -> None:
        """Apply a service and wait until it is ready."""
        document = {"apiVersion": "modelyard/v1", "kind": "Service", "name": name, "spec": spec}
        self.client.apply(document)
        self.client.wait_ready(name, 60)

    def record(self, request_id: str) -> dict[str, Any]:
        """The record of a request, `{request, attempts}`; it comes a moment after the answer."""
        deadline_s = time.monotonic() + 15
        while True:
            try:
                return self.client.request(request_id)
            except NotFound:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)

    def stop(self) -> int:
        """End it as a user would; its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextlib.contextmanager
def platform(data: Path, *options: str) -> Iterator[Platform]:
    """A platform for the time of a block."""
    running = Platform(data, *options)
    try:
        yield running
    finally:
        running.stop()
