"""LiteLLM's proxy with a master key and one model at two addresses: what Modelyard is set up to do.

Its environment is made on first use from `litellm.txt` (some 750 MB).
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from bench import usage
from bench.peers import Running, environments, free_port, started

PINNED = Path(__file__).with_name("litellm.txt")
KEY = "sk-bench"


class LiteLLM:
    """The proxy as its documentation starts it, one worker, no database."""

    suffix = "litellm"

    def __init__(self) -> None:
        self.name = f"LiteLLM {environments.version(PINNED, 'litellm')}"

    def prepare(self) -> None:
        """See the protocol."""
        environments.prepare(PINNED)

    @contextlib.contextmanager
    def run(self, folder: Path, upstreams: list[str], model: str) -> Iterator[Running]:
        """See the protocol."""
        configuration = folder / "litellm.json"  # JSON is YAML
        configuration.write_text(json.dumps(_configuration(upstreams, model)))
        port = free_port()
        command = [
            environments.program(PINNED, "litellm"), "--config", str(configuration),
            "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1",
        ]  # fmt: skip
        with started(command, port, folder / "litellm.log", _environment()) as pid:
            yield Running(f"http://127.0.0.1:{port}", KEY, pid)


def _configuration(upstreams: list[str], model: str) -> dict[str, object]:
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
    return {
        **usage.plain_environment(),
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
