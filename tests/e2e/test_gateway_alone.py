"""The gateway without its control plane: frozen or dead, requests are answered and recorded."""

import os
import signal
from pathlib import Path

import httpx
from bench.processes import tree
from tests.platform import Platform, platform


def pid_of(running: Platform, kind: str) -> int:
    return next(one.pid for one in tree(running.process.pid) if one.kind == kind)


def ask(running: Platform) -> httpx.Response:
    return httpx.post(
        f"{running.gateway_url}/v1/chat/completions",
        headers={"authorization": f"Bearer {running.key}"},
        json={"model": "echo", "messages": [{"role": "user", "content": "one two"}]},
        timeout=5,
    )


def test_a_frozen_control_plane_is_not_waited_for(tmp_path: Path) -> None:
    with platform(tmp_path / "data") as running:
        running.serve_echo()
        assert ask(running).status_code == 200
        control = pid_of(running, "control")
        os.kill(control, signal.SIGSTOP)
        try:
            answers = [ask(running) for _ in range(50)]
        finally:
            os.kill(control, signal.SIGCONT)
        assert [answer.status_code for answer in answers] == [200] * 50
        for answer in answers:
            record = running.record(answer.headers["x-request-id"])["request"]
            assert record["outcome"] == "completed"


def test_a_gateway_that_starts_without_control_serves_the_last_snapshot(tmp_path: Path) -> None:
    with platform(tmp_path / "data") as running:
        running.serve_echo()
        assert ask(running).status_code == 200
        control, gateway = pid_of(running, "control"), pid_of(running, "gateway")
        os.kill(control, signal.SIGSTOP)
        try:
            os.kill(gateway, signal.SIGKILL)
            with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as http:
                assert http.get(f"{running.gateway_url}/healthz", timeout=20).status_code == 200
            answer = ask(running)
        finally:
            os.kill(control, signal.SIGCONT)
        assert answer.status_code == 200
        assert running.record(answer.headers["x-request-id"])["request"]["service"] == "echo"
