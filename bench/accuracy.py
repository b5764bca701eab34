"""The three versions of the shipped model on the held-out questions, through the gateway.

python -m bench.accuracy [--json PATH]
"""

import argparse
import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import openai

from bench import report
from modelyard.client import Client
from modelyard.entry.cli.background import platform

SHIPPED = Path(__file__).parents[1] / "examples" / "support-model"
VERSIONS = (1, 2, 3)
READY_S = 60.0


def main() -> None:
    """Serve all three side by side, ask, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelyard-accuracy-") as folder:
        found = measure(Path(folder) / "data")
    splits = list(next(iter(found.values())))
    print(f"{'version':<16}" + "".join(f"{split:>12}" for split in splits))
    for version, shares in found.items():
        print(f"{version:<16}" + "".join(f"{shares[split]:>12.1%}" for split in splits))
    figures = {
        f"accuracy_v{version.rpartition(':')[2]}_{split}": share
        for version, shares in found.items()
        for split, share in shares.items()
    }
    report.publish(figures, options.json)


def measure(data: Path) -> dict[str, dict[str, float]]:
    """Accuracy by version and split."""
    evaluate = _evaluate()
    lines = (SHIPPED / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    with platform(data, 0, 0) as running:
        key = (data / "admin.key").read_text().strip()
        with Client(running.known["control_url"], key) as client:
            for version in VERSIONS:
                client.push(SHIPPED / f"support-bot-v{version}.gguf", "support-bot")
                client.apply(_service(version))
            for version in VERSIONS:
                client.wait_ready(f"support-v{version}", READY_S)
        with openai.OpenAI(base_url=running.known["gateway_url"] + "/v1", api_key=key) as asking:
            return {
                f"support-bot:{version}": evaluate.accuracies(asking, f"support-v{version}", rows)
                for version in VERSIONS
            }


def _service(version: int) -> dict[str, Any]:
    spec = {"model": f"support-bot:{version}"}
    name = f"support-v{version}"
    return {"apiVersion": "modelyard/v1", "kind": "Service", "name": name, "spec": spec}


def _evaluate() -> Any:
    """The script beside the model, so that users and this table measure the same way."""
    place = SHIPPED / "evaluate.py"
    spec = importlib.util.spec_from_file_location("evaluate", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
