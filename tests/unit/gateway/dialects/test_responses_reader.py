"""The stream of an endpoint: every kind of event, and providers that leave some out."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.dialects.responses_rig import wire

from modelyard.domain.chat import (
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    Foreign,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Started,
    Text,
    TextPiece,
    Thinking,
    ToolCall,
    Usage,
    Used,
)
from modelyard.domain.chat.folding import folded
from modelyard.errors import Invalid
from modelyard.gateway.dialects.responses import RESPONSES
from modelyard.gateway.dialects.responses.reasoning import seal
from modelyard.gateway.dialects.upstream_errors import read_event

STARTED = Started("resp_1", "gpt", 5)
HEAD = {"id": "resp_1", "model": "gpt", "created_at": 5}


def response(kind: str, **members: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": {**HEAD, **members}}


def event(kind: str, **members: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **members}


CREATED = response("created", status="in_progress")
DONE = response("completed", status="completed", output=[])


def read(*events: dict[str, Any]) -> list[Event]:
    reader = RESPONSES.reader()
    return [one for data in wire(*events) for one in reader.feed(data)]


MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant",
           "content": [{"type": "output_text", "text": "Hello"}]}  # fmt: skip
CALL = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
PATCH = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c2", "name": "p", "input": "xy"}
THOUGHT = {"id": "rs_1", "type": "reasoning", "encrypted_content": "secret",
           "summary": [{"type": "summary_text", "text": "one"},
                       {"type": "summary_text", "text": "two"}]}  # fmt: skip
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed"}


def text(delta: str, index: int = 0, content: int = 0, **more: Any) -> dict[str, Any]:
    at = {"output_index": index, "content_index": content, "item_id": "msg_1"}
    return event("output_text.delta", delta=delta, **{**at, **more})


WHOLE = [
    CREATED,
    response("in_progress", status="in_progress"),
    event("output_item.added", output_index=0, item={**THOUGHT, "summary": [],
                                                     "encrypted_content": "not yet"}),
    event("reasoning_summary_part.added", item_id="rs_1", output_index=0, summary_index=0,
          part={"type": "summary_text", "text": ""}),
    event("reasoning_summary_text.delta", item_id="rs_1", output_index=0, summary_index=0,
          delta="on"),
    event("reasoning_summary_text.delta", item_id="rs_1", output_index=0, summary_index=0,
          delta="e"),
    event("reasoning_summary_text.done", item_id="rs_1", output_index=0, summary_index=0,
          text="one"),
    event("reasoning_summary_text.delta", item_id="rs_1", output_index=0, summary_index=1,
          delta="two"),
    event("output_item.done", output_index=0, item=THOUGHT),
    event("web_search_call.in_progress", item_id="ws_1", output_index=1),
    event("output_item.done", output_index=1, item=SEARCH),
    event("output_item.added", output_index=2, item={**MESSAGE, "content": []}),
    event("content_part.added", item_id="msg_1", output_index=2, content_index=0,
          part={"type": "output_text", "text": ""}),
    text("Hel", 2), text("lo", 2), text("", 2),
    event("output_text.done", item_id="msg_1", output_index=2, content_index=0, text="Hello"),
    event("refusal.delta", item_id="msg_1", output_index=2, content_index=1, delta="no"),
    event("refusal.done", item_id="msg_1", output_index=2, content_index=1, refusal="no"),
    event("output_item.done", output_index=2, item={**MESSAGE, "content": [
        *MESSAGE["content"], {"type": "refusal", "refusal": "no"}]}),
    event("output_item.added", output_index=3, item={**CALL, "arguments": ""}),
    event("function_call_arguments.delta", item_id="fc_1", output_index=3, delta='{"a"'),
    event("function_call_arguments.delta", item_id="fc_1", output_index=3, delta=":1}"),
    event("function_call_arguments.done", item_id="fc_1", output_index=3, arguments='{"a":1}'),
    event("output_item.done", output_index=3, item=CALL),
    event("output_item.added", output_index=4, item={**PATCH, "input": ""}),
    event("custom_tool_call_input.delta", item_id="ctc_1", output_index=4, delta="xy"),
    event("custom_tool_call_input.done", item_id="ctc_1", output_index=4, input="xy"),
    event("output_item.done", output_index=4, item=PATCH),
    response("completed", status="completed", service_tier="default",
             output=[THOUGHT, SEARCH, MESSAGE, CALL, PATCH],
             usage={"input_tokens": 3, "output_tokens": 2}),
]  # fmt: skip
USED = Used(Usage(input_tokens=3, output_tokens=2, server_tools={"web_search": 1},
                  service_tier="default"))  # fmt: skip


def test_a_whole_stream() -> None:
    assert read(*WHOLE) == [
        STARTED,
        ReasoningPiece("on", id="rs_1", is_summary=True, part=0),
        ReasoningPiece("e", id="rs_1", is_summary=True, part=0),
        ReasoningPiece("two", id="rs_1", is_summary=True, part=1),
        ReasoningPiece("", encrypted="secret", id="rs_1", is_summary=True, part=1),
        Foreign("responses", "web_search_call", msgspec.Raw(json.dumps(SEARCH).encode())),
        TextPiece("Hel", 2), TextPiece("lo", 2), RefusalPiece("no"),
        CallBegun(0, "c1", "f"), CallPiece(0, '{"a"'), CallPiece(0, ":1}"),
        CallBegun(1, "c2", "p", custom=True), CallPiece(1, "xy"),
        USED, Ended("tool_calls"),
    ]  # fmt: skip


def test_nothing_follows_the_end() -> None:
    assert read(*WHOLE, text("more"), DONE) == read(*WHOLE)


TELLS_SOMETHING = sorted({one["type"] for one in WHOLE[2:-1]})


@given(st.sets(st.sampled_from(TELLS_SOMETHING)))
def test_whatever_a_provider_leaves_out_nothing_is_lost_or_doubled(left_out: set[str]) -> None:
    """Each text stands in the stream up to four times; any one of them is enough. What only the
    last event tells comes last."""
    said = {**MESSAGE, "content": [*MESSAGE["content"], {"type": "refusal", "refusal": "no"}]}
    last = response("completed", status="completed", output=[THOUGHT, SEARCH, said, CALL, PATCH])
    answer = folded(read(*[one for one in WHOLE[:-1] if one["type"] not in left_out], last))
    texts = [part.text for part in answer.parts if isinstance(part, Text | Refusal | Thinking)]
    assert sorted(text for text in texts if text) == ["Hello", "no", "one", "two"]
    assert [part for part in answer.parts if isinstance(part, Foreign)] == [
        Foreign("responses", "web_search_call", msgspec.Raw(json.dumps(SEARCH).encode()))
    ]
    assert [part for part in answer.parts if isinstance(part, ToolCall)] == [
        ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "p", "xy", custom=True),
    ]  # fmt: skip
    assert [part.encrypted for part in answer.parts if isinstance(part, Thinking)][-1] == "secret"
    assert answer.finish == "tool_calls"


def test_a_stream_of_pieces_without_their_ends() -> None:
    """Some servers announce nothing and close nothing."""
    assert read(text("a"), text("b"), text("c", content=1), DONE) == [
        Started(), TextPiece("a"), TextPiece("b"), TextPiece("c", 1), Ended("stop"),
    ]  # fmt: skip


def test_a_stream_of_whole_items_without_numbers_or_ids() -> None:
    items = [{**MESSAGE, "id": None, "content": [{"type": "output_text", "text": word}]}
             for word in ("Hello", "World!")]  # fmt: skip
    ended = [event("output_item.done", item=item) for item in (*items, CALL)]
    answer = folded(read(CREATED, *ended, {"type": "response.completed", "response": HEAD}))
    assert answer.parts == (Text("Hello"), Text("World!"), ToolCall("c1", "f", '{"a":1}'))


def test_a_stream_that_is_only_its_end() -> None:
    answer = folded(read(response("completed", output=[THOUGHT, MESSAGE, CALL])))
    assert (answer.id, answer.model, answer.created_s) == ("resp_1", "gpt", 5)
    assert answer.parts == (
        Thinking("one", id="rs_1", is_summary=True),
        Thinking("two", encrypted="secret", id="rs_1", is_summary=True),
        Text("Hello"), ToolCall("c1", "f", '{"a":1}'),
    )  # fmt: skip


def test_ids_that_change_from_event_to_event() -> None:
    """GitHub Copilot sends another id with every event of an item; the index stays."""
    answer = folded(read(
        CREATED,
        event("output_item.added", output_index=0, item={**THOUGHT, "id": "a", "summary": []}),
        event("reasoning_summary_text.delta", output_index=0, item_id="b", summary_index=0,
              delta="one"),
        event("reasoning_summary_text.delta", output_index=0, item_id="c", summary_index=1,
              delta="two"),
        event("output_item.done", output_index=0, item={**THOUGHT, "id": "d"}),
        event("output_item.added", output_index=1, item={**MESSAGE, "id": "e", "content": []}),
        text("Hel", 1, item_id="f"), text("lo", 1, item_id="g"),
        event("output_item.done", output_index=1, item={**MESSAGE, "id": "h"}),
        response("completed", output=[{**THOUGHT, "id": "i"}, {**MESSAGE, "id": "j"}]),
    ))  # fmt: skip
    assert answer.parts == (
        Thinking("one", id="a", is_summary=True),
        Thinking("two", encrypted="secret", id="a", is_summary=True),
        Text("Hello"),
    )


def test_items_that_share_an_index() -> None:
    """Some translators number every item 0."""
    answer = folded(read(
        CREATED,
        event("output_item.added", output_index=0, item={**MESSAGE, "content": []}),
        text("Hello"),
        event("output_item.added", output_index=0, item={**CALL, "arguments": ""}),
        event("function_call_arguments.delta", output_index=0, item_id="fc_1", delta='{"a":1}'),
        event("output_item.done", output_index=0, item=MESSAGE),
        event("output_item.done", output_index=0, item=CALL),
        response("completed", output=[MESSAGE, CALL]),
    ))  # fmt: skip
    assert answer.parts == (Text("Hello"), ToolCall("c1", "f", '{"a":1}'))


def test_items_at_the_end_that_are_others_than_those_that_came_are_not_told_again() -> None:
    """A provider that hides reasoning from the last event, or words it anew."""
    answer = folded(read(
        CREATED, event("output_item.added", output_index=0, item={**THOUGHT, "summary": []}),
        event("output_item.done", output_index=0, item=THOUGHT),
        text("Hello", 1), response("completed", output=[MESSAGE]),
    ))  # fmt: skip
    assert [part for part in answer.parts if isinstance(part, Text)] == [Text("Hello")]


def test_items_that_only_the_end_tells_are_told_then() -> None:
    answer = folded(read(CREATED, text("Hello"), response("completed", output=[MESSAGE, CALL])))
    assert answer.parts == (Text("Hello"), ToolCall("c1", "f", '{"a":1}'))
    assert answer.finish == "tool_calls"


def test_thoughts_of_open_models() -> None:
    for kind in ("reasoning_text", "reasoning"):  # OpenAI's name, and the Open Responses one
        answer = folded(read(
            CREATED, event("output_item.added", output_index=0, item={"id": "rs", "type":
                                                                      "reasoning"}),
            event(f"{kind}.delta", output_index=0, item_id="rs", content_index=0, delta="h"),
            event(f"{kind}.done", output_index=0, item_id="rs", content_index=0, text="hm"),
            text("a", 1), DONE,
        ))  # fmt: skip
        assert answer.parts == (Thinking("hm", id="rs"), Text("a"))


def test_a_signature_comes_out_of_its_wrapping() -> None:
    item = {**THOUGHT, "summary": [], "content": [{"type": "reasoning_text", "text": "t"}],
            "encrypted_content": seal("", "sig", "t")}  # fmt: skip
    events = read(CREATED, event("output_item.done", output_index=0, item=item), DONE)
    assert folded(events).parts == (Thinking("t", signature="sig", id="rs_1"),)


ENDS: list[tuple[dict[str, Any], str]] = [
    (response("completed"), "stop"),
    (response("done", status="completed"), "stop"),
    (response("completed", status="in_progress"), "stop"),
    ({"type": "response.completed"}, "stop"),
    (response("incomplete"), "length"),
    (response("incomplete", status="incomplete",
              incomplete_details={"reason": "max_output_tokens"}), "length"),
    (response("incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
    (response("completed", output=[{"type": "message", "content": [
        {"type": "refusal", "refusal": "no"}]}]), "refusal"),
]  # fmt: skip


@pytest.mark.parametrize(("last", "finish"), ENDS)
def test_how_it_ended(last: dict[str, Any], finish: str) -> None:
    events = read(CREATED, last)
    assert events[-1] == Ended(finish)
    if finish == "refusal":
        assert folded(events).parts == (Refusal("no"),)


FAILURES: list[tuple[dict[str, Any], str]] = [
    (response("failed", status="failed", error={"code": "c", "message": "boom"}), "boom"),
    (response("failed", status="failed", error=None), "it holds no answer"),
    (response("cancelled", status="cancelled"), "it holds no answer"),
    (response("done", status="failed", error={"message": "boom"}), "boom"),
    ({"type": "error", "code": "x", "message": "boom", "param": None}, "boom"),
    ({"type": "error", "error": {"type": "t", "code": "c", "message": "boom"}}, "boom"),
    ({"error": {"message": "boom", "code": 503}}, "boom"),
]  # fmt: skip


@pytest.mark.parametrize(("last", "message"), FAILURES)
def test_a_failure_is_told_with_the_error_as_it_was_written(
    last: dict[str, Any], message: str
) -> None:
    events = read(CREATED, text("a"), last, text("b"), DONE)
    assert events[:2] == [STARTED, TextPiece("a")]
    (failed,) = events[2:]
    assert isinstance(failed, Failed)
    assert failed.message == message
    if message == "boom":
        assert read_event(failed.data).message == "boom"


def test_what_a_failure_took_is_told() -> None:
    failed = response("failed", status="failed", error={"message": "boom"},
                      usage={"input_tokens": 3})  # fmt: skip
    assert read(failed)[:2] == [Started(), Used(Usage(input_tokens=3))]


@pytest.mark.parametrize(
    "unknown",
    [
        {"type": "keepalive"},
        {"type": "response.rate_limits.updated", "delta": {"x": 1}, "item": 3},
        {"type": "response.image_generation_call.partial_image", "partial_image_b64": "x"},
        {"type": "response.output_text.annotation.added", "annotation": {}},
    ],
)
def test_unknown_events_say_nothing(unknown: dict[str, Any]) -> None:
    assert read(CREATED, unknown, text("a")) == [STARTED, TextPiece("a")]


@pytest.mark.parametrize(
    "wrong",
    [
        b"nonsense", b"", b"[]", b"{}", b'{"type":3}', b'{"type":"\xff"}',
        b'{"type":"response.output_text.delta","delta":{}}',
        b'{"type":"response.created","response":[]}',
        b'{"type":"response.output_item.added","item":[]}',
        b'{"type":"response.output_item.done","item":{"type":"message","content":[3]}}',
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(wrong: bytes) -> None:
    with pytest.raises(Invalid):
        RESPONSES.reader().feed(wrong)
