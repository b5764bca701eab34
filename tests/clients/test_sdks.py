"""Official SDKs of other versions than the development environment's, each in its own Python."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.clients.conftest import Desk, needs_clients

pytestmark = [pytest.mark.timeout(180), needs_clients]
Find = Callable[[str], str]
SCRIPT = str(Path(__file__).with_name("sdks.py"))
TEXT = "one two three"


def outcome(desk: Desk, client: Find, sdk: str) -> dict[str, Any]:
    desk.running.serve_echo()
    printed = desk.run(
        [client("python"), SCRIPT, sdk],
        GATEWAY_URL=desk.running.gateway_url,
        MODELYARD_API_KEY=desk.running.key,
    )
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    print(found)
    return found


def test_openai_2(desk: Desk, client: Find) -> None:
    found = outcome(desk, client, "openai")
    assert found["version"].startswith("2.")
    assert {found[name].strip() for name in ("whole", "streamed", "response")} == {TEXT}
    assert found["stream_usage"] == found["usage"]
    assert found["last_event"] == "response.completed"
    assert (found["called"], found["missing"]) == ("find", "model_not_found")
    assert "echo" in found["models"]


def test_langchain(desk: Desk, client: Find) -> None:
    found = outcome(desk, client, "langchain")
    assert {found[name].strip() for name in ("whole", "streamed", "responses")} == {TEXT}
    assert found["stream_tokens"] == 6
    assert found["called"] == "find"


def test_anthropic(desk: Desk, client: Find) -> None:
    found = outcome(desk, client, "anthropic")
    assert {found[name].strip() for name in ("whole", "streamed")} == {TEXT}
    assert "echo" in found["models"]
