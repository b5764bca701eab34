"""A data folder of each finished capability; every later version opens it (tests/fixtures)."""

import shutil
from pathlib import Path

import httpx
from tests.platform import platform

FIXTURES = Path(__file__).parents[1] / "fixtures"
SPINE_CALLER = "my_0ag7bjg4vq76_qY9kmjkPLmjAMnAnLFeZVYbNTyK59adfi44BMapI"
"""A key of that folder; it opens nothing anywhere else."""


def test_the_spine(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(FIXTURES / "data-spine", data)
    config = tmp_path / "modelyard.toml"
    config.write_text("[control]\nrecords_retention_days = 100000\n")
    with platform(data, "--config", str(config)) as running:
        assert "admin_key" not in running.ready
        running.client.wait_ready("echo", 60)
        answer = httpx.post(
            f"{running.gateway_url}/v1/chat/completions",
            headers={"authorization": f"Bearer {SPINE_CALLER}"},
            json={"model": "echo", "messages": [{"role": "user", "content": "still here"}]},
        )
        assert answer.json()["choices"][0]["message"]["content"] == "still here "
        record = running.record(answer.headers["x-request-id"])["request"]
        assert (record["team"], record["person"]) == ("blue", "ada")
        rows = running.client.requests(limit=10, session="s-1")
        assert [row["outcome"] for row in rows] == ["completed"]
        assert len(running.client.keys()) == 2
        assert any("create service echo" in entry["reason"] for entry in running.client.audit())
