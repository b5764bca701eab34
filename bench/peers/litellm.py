"""LiteLLM's proxy with a master key and one model at two addresses: what Modelyard is set up to do.

Its environment, `bench/.venvs/litellm`, is made on first use from `litellm.txt` (some 750 MB).
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

PINNED = Path(__file__).with_name("litellm.txt")
VENV = Path(__file__).parents[1] / ".venvs" / "litellm"
KEY = "sk-bench"
START_S = 90.0


class Unusable(Exception):
    """It cannot be measured here; the text says why."""


def version() -> str:
    """The pinned release."""
    lines = PINNED.read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith("litellm=="))


def prepare() -> None:
    """Make the environment if it is not there as pinned. Raises Unusable."""
    ready = VENV / ".ready"
    wanted = hashlib.sha256(PINNED.read_bytes()).hexdigest()
    if ready.exists() and ready.read_text() == wanted:
        return
    print(f"making {VENV} (once, a minute or two)", file=sys.stderr, flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    pip = [str(VENV / "bin" / "pip"), "--disable-pip-version-check", "--retries", "1"]
    _run([sys.executable, "-m", "venv", str(VENV)])
    _run([*pip, "install", "--quiet", "--no-deps", "--requirement", str(PINNED)])
    ready.write_text(wanted)


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines()[-1:]
        reason = last[0] if last else f"exit code {error.returncode}"
        raise Unusable(f"its environment cannot be made (no network?): {reason}") from error
    except subprocess.TimeoutExpired as error:
        raise Unusable("its environment was not made within 15 minutes") from error


class LiteLLM:
    """One running proxy."""

    def __init__(self, folder: Path, upstreams: list[str], model: str, workers: int = 1) -> None:
        self.key = KEY
        self._log = folder / "litellm.log"
        config = folder / "litellm.json"  # JSON is YAML
        config.write_text(json.dumps(_config(upstreams, model)))
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    str(VENV / "bin" / "litellm"), "--config", str(config),
                    "--host", "127.0.0.1", "--port", str(port), "--num_workers", str(workers),
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder, env=_environment(),
            )  # fmt: skip
        try:
            self._wait(port)
        except Unusable:
            self.stop()
            raise

    def _wait(self, port: int) -> None:
        deadline_s = time.monotonic() + START_S
        while not _listens(port):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
                raise Unusable(f"it does not start: {last[0] if last else 'it says nothing'}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _config(upstreams: list[str], model: str) -> dict[str, object]:
    return {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {"model": "openai/bench", "api_base": url, "api_key": "none"},
            }
            for url in upstreams
        ],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False, "num_retries": 2},
    }


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
    return {
        **kept,
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
