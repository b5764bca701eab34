"""Coding agents finish a task with a tool through the gateway, each in its own dialect, against a
model that speaks only chat. What they are told and how they are started is their how-to page's."""

import pytest
from tests.clients.conftest import WRITTEN, Desk, needs
from tests.clients.scripted import LAST_WORDS

pytestmark = pytest.mark.timeout(180)


@needs("npm", "claude")
def test_claude_code(desk: Desk) -> None:
    """Anthropic's messages: `HEAD /`, `?beta=true`, thinking, cache marks, 24 tools."""
    desk.finished(desk.follow("claude-code", "npm", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1"))
    rows = desk.records("/v1/messages", "claude-cli/")
    assert all(row["outcome"] == "completed" and row["session"] for row in rows), rows


@needs("npm", "codex")
def test_codex(desk: Desk) -> None:
    """OpenAI's responses: developer messages, a namespace and a hosted tool, thinking."""
    desk.finished(desk.follow("codex", "npm"))
    rows = desk.records("/v1/responses", "codex_exec")
    assert all(row["outcome"] == "completed" and row["session"] for row in rows), rows


@needs("npm", "opencode")
def test_opencode(desk: Desk) -> None:
    """Chat completions by the AI SDK."""
    desk.finished(desk.follow("opencode", "npm", OPENCODE_DISABLE_AUTOUPDATE="1"))


@needs("npm", "cn")
def test_continue(desk: Desk) -> None:
    """Chat completions by OpenAI's SDK for JavaScript."""
    desk.finished(desk.follow("continue", "npm", CONTINUE_TELEMETRY_ENABLED="0"))


@needs("aider", "aider")
def test_aider(desk: Desk) -> None:
    """No tool: the file as aider wants it told, in the text. Chat completions by LiteLLM."""
    desk.model.last_words = f"{LAST_WORDS}\n\nproof.txt\n```\n{WRITTEN}\n```\n"
    printed = desk.follow(
        "aider", "aider", AIDER_ANALYTICS_DISABLE="true", AIDER_CHECK_UPDATE="false",
        AIDER_SHOW_RELEASE_NOTES="false", LITELLM_LOCAL_MODEL_COST_MAP="True",
    )  # fmt: skip
    desk.finished(printed)


PROGRAMS = [
    ("langchain", "langchain"),
    *(("openai-sdk", f"openai-{major}") for major in (1, 2, 3)),
    *(("anthropic-sdk", f"anthropic-{major}") for major in (1, 2)),
]


@pytest.mark.parametrize(
    ("page", "environment"),
    [pytest.param(*one, id=one[1], marks=needs(one[1], "python")) for one in PROGRAMS],
)
def test_a_program(desk: Desk, page: str, environment: str) -> None:
    """An agent of LangChain's on LangGraph, and a loop of one's own around an SDK."""
    desk.finished(desk.follow(page, environment))
