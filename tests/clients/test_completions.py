"""Completions in an editor: what is missing between the text before the cursor and behind it."""

import json
from pathlib import Path

import pytest
from tests.clients.conftest import Desk
from tests.clients.installed import INSTALLED
from tests.clients.scripted import MIDDLE

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        not (INSTALLED / "node_modules/@continuedev/openai-adapters").exists(),
        reason="@continuedev/openai-adapters is not installed: make test-clients",
    ),
]
PROGRAM = str(Path(__file__).with_name("completions.mjs"))


def test_continue_fills_in_the_middle(desk: Desk) -> None:
    """By `/v1/completions`, whole and streamed, and by `/v1/fim/completions`."""
    desk.page("continue")
    printed = desk.run(["node", PROGRAM, str(INSTALLED)], "npm")
    assert printed.startswith("{"), printed[-3000:]
    assert json.loads(printed) == {"whole": MIDDLE, "streamed": MIDDLE, "fim": MIDDLE}
    assert [(one.path, one.body.get("suffix")) for one in desk.model.asked] == [
        ("/v1/completions", "\n\nprint(add(1, 2))"),
        ("/v1/completions", "\n\nprint(add(1, 2))"),
        ("/v1/fim/completions", "\n\nprint(add(1, 2))"),
    ]
