"""What a newcomer does first, with the commands of the README."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.platform import SHIPPED, platform

COMMAND = [sys.executable, "-m", "modelyard.entry.cli.main"]


def environment(**more: str) -> dict[str, str]:
    known = {k: v for k, v in os.environ.items() if not k.startswith("MODELYARD_")}
    return {**known, **more}


def test_the_demo_verifies_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "demo", "--exit"], cwd=tmp_path, env=environment(TMPDIR=str(tmp_path)),
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Open My Orders and choose Cancel" in done.stdout
    assert re.search(r"all equal", done.stdout)
    assert not list(tmp_path.iterdir()), "the folder of the demo is removed"


def test_the_demo_stays_up_and_its_curl_line_works(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [*COMMAND, "demo", "--data", str(tmp_path / "data")], env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert demo.stdout is not None
    watchdog = threading.Timer(100, demo.kill)
    watchdog.start()
    try:
        seen = []
        while not (call := demo.stdout.readline()).strip().startswith("curl "):
            assert call, seen
            seen.append(call)
        answer = subprocess.run(
            ["sh", "-c", call], capture_output=True, text=True, timeout=30, env=environment()
        )
        assert "choices" in answer.stdout, (call, answer.stdout, answer.stderr)
    finally:
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
        watchdog.cancel()
    assert "Traceback" not in rest


def test_run_serves_a_file_and_answers(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "run", str(SHIPPED / "support-bot-v2.gguf"), "--name", "mine",
         "--message", "How do I cancel my order?"],
        env=environment(MODELYARD_DATA=str(tmp_path / "data")),
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Open My Orders and choose Cancel" in done.stdout


def test_up_in_a_second_life_keeps_everything(tmp_path: Path) -> None:
    data = tmp_path / "data"
    told = []
    for life in range(2):
        up = subprocess.Popen(
            [*COMMAND, "up", "--data", str(data), "--port", "0", "--control-port", "0",
             "-o", "json"],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert up.stdout is not None
        told.append(json.loads(up.stdout.readline()))
        if life == 0:
            keys = subprocess.run(
                [*COMMAND, "keys", "create", "--team", "blue", "-o", "json"],
                env=environment(MODELYARD_DATA=str(data)), capture_output=True, text=True,
            )  # fmt: skip
            assert keys.returncode == 0, keys.stderr
        else:
            keys = subprocess.run(
                [*COMMAND, "keys", "list", "-o", "json"],
                env=environment(MODELYARD_DATA=str(data)), capture_output=True, text=True,
            )  # fmt: skip
            assert {one["team"] for one in json.loads(keys.stdout)} == {"", "blue"}
        up.send_signal(signal.SIGTERM)
        _, errors = up.communicate(timeout=60)
        assert up.returncode == 0
        assert errors == ""
    assert told[0]["first_start"]
    assert told[0]["admin_key"].startswith("my_")
    assert not told[1]["first_start"]
    assert "admin_key" not in told[1]
    assert (data / "admin.key").stat().st_mode & 0o777 == 0o600


def test_run_finds_out_what_an_outside_url_serves(tmp_path: Path) -> None:
    with platform(tmp_path / "outside") as outside:
        outside.serve_echo("one")
        told = environment(MODELYARD_DATA=str(tmp_path / "data"), OUTSIDE=outside.key)
        run = [*COMMAND, "run", outside.gateway_url, "--name", "mine", "--secret", "env:OUTSIDE",
               "--message", "hello there"]  # fmt: skip
        done = subprocess.run(run, env=told, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("hello there")
        outside.serve_echo("two")
        done = subprocess.run(run, env=told, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert "serves 2 models" in done.stderr
        assert "--upstream-model: one, two" in done.stderr


def test_run_says_at_once_what_it_cannot_run(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = subprocess.run(
        [*COMMAND, "run", str(SHIPPED / "v2-safetensors"), "--message", "hi"],
        env=environment(MODELYARD_DATA=str(data)), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "runs GGUF" in done.stderr
    assert "convert_hf_to_gguf.py" in done.stderr
    assert not data.exists(), "nothing was started"
