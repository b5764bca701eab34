"""Coding agents finish a task with a tool through the gateway, each in its own dialect, against a
model that speaks only chat."""

from collections.abc import Callable

import pytest
from tests.clients.conftest import Desk, needs_clients
from tests.clients.scripted import LAST_WORDS

pytestmark = [pytest.mark.timeout(180), needs_clients]
Find = Callable[[str], str]


def test_claude_code(desk: Desk, client: Find) -> None:
    """Anthropic's messages: `HEAD /`, `?beta=true`, thinking, cache marks, 24 tools."""
    printed = desk.run(
        [client("claude"), "-p", "Write the proof.", "--model", "scripted",
         "--allowedTools", "Bash"],
        ANTHROPIC_BASE_URL=desk.running.gateway_url,
        ANTHROPIC_API_KEY=desk.running.key,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
    )  # fmt: skip
    desk.finished(printed, LAST_WORDS)
    rows = desk.records("/v1/messages")
    assert rows
    assert all(row["outcome"] == "completed" for row in rows), rows
    assert all(row["client"].startswith("claude-cli/") and row["session"] for row in rows)


def test_codex(desk: Desk, client: Find) -> None:
    """OpenAI's responses: developer messages, a namespace and a hosted tool, thinking."""
    config = {
        "model": '"scripted"',
        "model_provider": '"modelyard"',
        "model_providers.modelyard.name": '"Modelyard"',
        "model_providers.modelyard.base_url": f'"{desk.running.gateway_url}/v1"',
        "model_providers.modelyard.env_key": '"MODELYARD_API_KEY"',
        "model_providers.modelyard.wire_api": '"responses"',
    }
    settings = [part for name, value in config.items() for part in ("-c", f"{name}={value}")]
    printed = desk.run(
        [client("codex"), "exec", "--skip-git-repo-check",
         "--dangerously-bypass-approvals-and-sandbox", *settings, "Write the proof."],
        MODELYARD_API_KEY=desk.running.key,
    )  # fmt: skip
    desk.finished(printed, LAST_WORDS)
    rows = desk.records("/v1/responses")
    assert rows
    assert all(row["outcome"] == "completed" for row in rows), rows
    assert all(row["client"] == "codex_exec" and row["session"] for row in rows)


def test_opencode(desk: Desk, client: Find) -> None:
    """Chat completions by the AI SDK."""
    (desk.folder / "opencode.json").write_text(OPENCODE % f"{desk.running.gateway_url}/v1")
    printed = desk.run(
        [client("opencode"), "run", "--model", "modelyard/scripted", "Write the proof."],
        MODELYARD_API_KEY=desk.running.key,
    )
    desk.finished(printed, LAST_WORDS)


OPENCODE = """{
  "autoupdate": false,
  "provider": {
    "modelyard": {
      "npm": "@ai-sdk/openai-compatible",
      "options": {"baseURL": "%s", "apiKey": "{env:MODELYARD_API_KEY}"},
      "models": {"scripted": {"tool_call": true}}
    }
  },
  "permission": {"bash": "allow"}
}
"""
