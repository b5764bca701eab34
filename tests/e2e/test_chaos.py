"""Every kind of process is killed under load, as `make chaos` does it, in short."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_everything_may_die_and_nothing_answered_is_lost(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.chaos", "--callers", "4", "--calm", "0.3",
         "--json", str(result)],
        cwd=ROOT, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text())
    assert found["missing"] == found["left_running"] == 0
    assert found["failed_reconciler"] == found["failed_control"] == 0
    assert found["healed_s_everything"] > 0
    assert found["answered"] > 100
