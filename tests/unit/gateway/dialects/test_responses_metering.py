"""What is counted of an answer that passes through unread."""

import json
from typing import Any

import pytest
from hypothesis import given
from tests.unit.gateway.dialects.responses_rig import answers, asked, body, wire

from modelyard.domain.chat import Answer, Usage, unfolded
from modelyard.errors import Invalid
from modelyard.gateway.dialects.responses import RESPONSES
from modelyard.gateway.dialects.responses.metering import Seen, Tally
from modelyard.lib.sse import EventSplitter

PIECE = Seen("piece", True)
KINDS: list[tuple[dict[str, Any], Seen]] = [
    ({"type": "response.created", "response": {}}, Seen("start", False)),
    ({"type": "response.queued", "response": {}}, Seen("start", False)),
    ({"type": "response.in_progress", "response": {}}, Seen("start", False)),
    ({"type": "response.output_text.delta", "delta": "a"}, PIECE),
    ({"delta": "a", "type": "response.output_text.delta"}, PIECE),
    ({"type": "response.output_text.delta", "delta": ""}, Seen("piece", False)),
    ({"type": "response.refusal.delta", "delta": "a"}, PIECE),
    ({"type": "response.reasoning_text.delta", "delta": "a"}, PIECE),
    ({"type": "response.reasoning_summary_text.delta", "delta": "a"}, PIECE),
    ({"type": "response.function_call_arguments.delta", "delta": "a"}, PIECE),
    ({"type": "response.custom_tool_call_input.delta", "delta": "a"}, PIECE),
    ({"type": "response.output_item.added", "item": {"type": "message"}}, Seen("other", False)),
    ({"type": "response.output_item.added", "item": {"type": "reasoning"}}, Seen("other", False)),
    ({"item": {"type": "function_call"}, "type": "response.output_item.added"},
     Seen("other", True)),
    ({"type": "response.content_part.added", "part": {}}, Seen("other", False)),
    ({"type": "response.reasoning_summary_part.added"}, Seen("other", False)),
    ({"type": "response.output_text.done", "text": "a"}, Seen("other", True)),
    ({"type": "response.output_item.done", "item": {}}, Seen("other", True)),
    ({"type": "response.web_search_call.searching"}, Seen("other", True)),
    ({"type": "keepalive"}, Seen("other", False)),
    ({"type": "response.completed", "response": {}}, Seen("end", True)),
    ({"type": "response.incomplete", "response": {}}, Seen("end", True)),
    ({"type": "response.done", "response": {"status": "failed"}}, Seen("error", True)),
    ({"type": "response.failed", "response": {"error": {}}}, Seen("error", True)),
    ({"type": "response.cancelled", "response": {}}, Seen("error", True)),
    ({"type": "error", "message": "boom"}, Seen("error", True)),
    ({"error": {"message": "boom"}}, Seen("error", True)),
]  # fmt: skip


@pytest.mark.parametrize(("event", "seen"), KINDS)
def test_every_kind_of_event(event: dict[str, Any], seen: Seen) -> None:
    spaced, dense = json.dumps(event), json.dumps(event, separators=(",", ":"))
    for data in (spaced, dense, "\n " + spaced):
        tally = Tally()
        assert tally.see(data.encode()) == seen
        assert tally.events == (seen == PIECE)


def test_a_type_inside_of_a_text_is_no_type() -> None:
    text = '{"type":"response.completed"} "type":"error"'
    event = {"delta": text, "item": {"type": "error"}, "type": "response.output_text.delta"}
    assert Tally().see(json.dumps(event).encode()) == PIECE


USED = {"input_tokens": 3, "output_tokens": 2}
CALL = {"type": "function_call", "name": "f"}
ENDS: list[tuple[str, dict[str, Any], str]] = [
    ("completed", {"status": "completed"}, "stop"),
    ("completed", {}, "stop"),
    ("completed", {"output": [CALL]}, "tool_calls"),
    ("completed", {"output": [{"type": "message", "content": [{"type": "refusal"}]}]}, "refusal"),
    ("completed", {"output": [{"type": "message", "content": '"refusal"'}]}, "stop"),
    ("incomplete", {}, "length"),
    ("incomplete", {"incomplete_details": {"reason": "content_filter"}}, "content_filter"),
]


@pytest.mark.parametrize(("kind", "members", "finish"), ENDS)
def test_the_end_tells_what_it_took(kind: str, members: dict[str, Any], finish: str) -> None:
    tally = Tally()
    event = {"type": f"response.{kind}", "response": {**members, "usage": USED}}
    assert tally.see(*wire(event)) == Seen("end", True)
    assert (tally.finish, tally.usage) == (finish, Usage(input_tokens=3, output_tokens=2))


def test_a_failure_tells_what_it_took() -> None:
    tally = Tally()
    tally.see(*wire({"type": "response.failed", "response": {"error": {}, "usage": USED}}))
    assert (tally.finish, tally.usage) == ("", Usage(input_tokens=3, output_tokens=2))


WHOLE: list[tuple[dict[str, Any], Seen, str]] = [
    ({"status": "completed", "output": [CALL]}, Seen("end", True), "tool_calls"),
    ({"status": "queued", "output": []}, Seen("other", True), ""),
    ({"status": "failed", "error": {"message": "x"}}, Seen("error", True), ""),
    ({"error": {"message": "x"}}, Seen("error", True), ""),
]


@pytest.mark.parametrize(("answer", "seen", "finish"), WHOLE)
def test_a_whole_answer(answer: dict[str, Any], seen: Seen, finish: str) -> None:
    tally = Tally()
    assert tally.see_whole(body({**answer, "usage": USED})) == seen
    assert tally.finish == finish
    assert (tally.usage is None) == (seen.kind == "other")


@pytest.mark.parametrize(
    "wrong",
    [
        b"nonsense", b"[]", b"{}", b'{"type":3}', b'{"type":"response.completed","response":[]}',
        b'{"type":"response.completed"', b'{"type":"response.output_item.added","item":3}',
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(wrong: bytes) -> None:
    with pytest.raises(Invalid):
        Tally().see(wrong)


@pytest.mark.parametrize("wrong", [b"nonsense", b"[]", b'{"output":3}'])
def test_what_is_no_answer_is_refused(wrong: bytes) -> None:
    with pytest.raises(Invalid):
        Tally().see_whole(wrong)


@given(answers())
def test_what_is_counted_is_what_reading_tells(answer: Answer) -> None:
    writer = RESPONSES.writer(asked(), "r", 7)
    stream = b"".join([*map(writer.write, unfolded(answer)), writer.end()])
    tally = Tally()
    seen = [tally.see(data) for _, data in EventSplitter().feed(stream)]
    whole = Tally()
    assert whole.see_whole(RESPONSES.write_answer(answer, asked())) == Seen("end", True)
    for one in (tally, whole):
        assert (one.usage, one.finish) == (answer.usage, answer.finish)
    assert seen[0] == Seen("start", False)
    assert seen[-1] == Seen("end", True)
    assert any(one.says_something for one in seen[:-1]) == bool(answer.parts)
    assert tally.events <= len(seen)
