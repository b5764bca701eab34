"""Open WebUI, started as its how-to page says: a chat with a tool, as its own pages drive it."""

import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.clients.conftest import Desk, leave, needs
from tests.clients.scripted import LAST_WORDS

pytestmark = [pytest.mark.timeout(240), needs("open-webui", "open-webui")]
LOG = "open-webui.log"
START_S = 150
"""It migrates an empty database and imports some 1.5 GB of packages."""
TOOL = '''
import subprocess


class Tools:
    def run_command(self, command: str) -> str:
        """
        Run a shell command.
        :param command: the command
        """
        return subprocess.run(command, shell=True, capture_output=True, text=True).stdout
'''


@pytest.fixture
def open_webui(desk: Desk) -> Iterator[httpx.Client]:
    """It runs, and somebody has signed up: the first one is its administrator."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = desk.page("open-webui").runs["sh"].replace("--port 3000", f"--port {port}")
    (desk.folder / LOG).touch()
    process = desk.start(
        ["bash", "-euc", f"exec >>{LOG} 2>&1\n{script}"], "open-webui",
        DATA_DIR=str(desk.folder), OFFLINE_MODE="true", ENABLE_OLLAMA_API="false",
        HF_HUB_OFFLINE="1", ANONYMIZED_TELEMETRY="false", WEBUI_SECRET_KEY="of this test",
    )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait(process, client, desk)
            person = {"name": "Ada", "email": "ada@example.com", "password": "a long pass-word"}
            token = post(client, "/api/v1/auths/signup", person)["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield client
    finally:
        leave(process)


def wait(process: subprocess.Popen[str], client: httpx.Client, desk: Desk) -> None:
    """Until it answers."""
    deadline_s = time.monotonic() + START_S
    while not healthy(client):
        log = (desk.folder / LOG).read_text()
        assert process.poll() is None and time.monotonic() < deadline_s, log[-3000:]
        time.sleep(0.2)


def healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def post(client: httpx.Client, path: str, body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def finished(client: httpx.Client, chat: str) -> Any:
    """The assistant's message, once it is whole; its page hears of that over a socket."""
    deadline_s = time.monotonic() + 60
    while True:
        kept = client.get(f"/api/v1/chats/{chat}").json()["chat"]["history"]["messages"]["answer"]
        if kept.get("done"):
            return kept
        assert time.monotonic() < deadline_s, kept
        time.sleep(0.1)


def test_a_chat_with_a_tool(desk: Desk, open_webui: httpx.Client) -> None:
    listed = open_webui.get("/api/models").json()["data"]
    assert "support" in [model["id"] for model in listed]
    about = {"id": "shell", "name": "Shell", "content": TOOL, "meta": {"description": ""}}
    post(open_webui, "/api/v1/tools/create", about)
    question = {"role": "user", "content": "Write proof.txt."}
    asked = {"model": "support", "stream": True, "messages": [question], "parent_id": None,
             "user_message": {"id": "question", "parentId": None, **question},
             "message_ids": [{"model_id": "support", "message_id": "answer"}],
             "session_id": "a page", "tool_ids": ["shell"]}  # fmt: skip
    kept = finished(open_webui, post(open_webui, "/api/chat/completions", asked)["chat_id"])
    desk.finished(kept["content"], LAST_WORDS)
    assert "function_call_output" in [item["type"] for item in kept["output"]]
