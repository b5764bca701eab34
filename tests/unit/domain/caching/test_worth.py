"""Only what ended by itself, and says something, is given again."""

import json
from typing import Any

import pytest

from modelyard.domain.caching.worth import MAX_ANSWER_BYTES, flaw


def chat(content: Any, reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    return {"choices": [{"index": 0, "message": said, "finish_reason": reason}]}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (chat("hello"), ""),
        (chat(None, "tool_calls", tool_calls=[{"id": "x"}]), ""),
        (chat(None, refusal="no"), ""),
        (chat("hello", "length"), "not_finished"),
        (chat("hello", "content_filter"), "not_finished"),
        (chat("hello", None), "not_finished"),
        (chat(""), "empty"),
        (chat(None), "empty"),
        ({"choices": []}, "not_finished"),
        ({"choices": [{"text": "x", "finish_reason": "stop"}]}, ""),
        ({"choices": [{"text": "", "finish_reason": "stop"}]}, "empty"),
        ({"data": [{"embedding": [1.0]}]}, ""),
        ({"data": []}, "empty"),
        ({}, "empty"),
        ({**chat("hello"), "error": {"message": "x"}}, "error"),
        ({"choices": "x"}, "not_readable"),
        ([], "not_readable"),
    ],
)
def test_what_is_kept(answer: Any, reason: str) -> None:
    assert flaw(200, json.dumps(answer).encode()) == reason


def test_neither_errors_nor_giants() -> None:
    assert flaw(500, json.dumps(chat("hello")).encode()) == "status"
    assert flaw(200, json.dumps(chat("x" * MAX_ANSWER_BYTES)).encode()) == "too_large"
