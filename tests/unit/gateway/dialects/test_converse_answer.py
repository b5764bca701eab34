"""What Bedrock answers, whole and in a stream."""

import json
from functools import cache
from typing import Any

import botocore.session
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.chat import (
    FINISHES,
    Answer,
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    Foreign,
    ReasoningPiece,
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
from modelyard.gateway.dialects import upstream_errors
from modelyard.gateway.dialects.converse import CONVERSE
from modelyard.lib.eventstream import Message, MessageParser, encoded

USAGE = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}


def read(*blocks: Any, stop: str = "end_turn", **members: Any) -> Answer:
    message = {"role": "assistant", "content": list(blocks)}
    body = {"output": {"message": message}, "stopReason": stop, "metrics": {"latencyMs": 1}}
    return CONVERSE.read_answer(json.dumps(body | members).encode())


TOOL = {"toolUseId": "c", "name": "f", "input": {"a": 1}}
SERVER = TOOL | {"type": "server_tool_use"}
SERVER_BLOCK = b'{"toolUse":' + json.dumps(SERVER).encode() + b"}"
BLOCKS = [
    ({"text": "hi"}, Text("hi")),
    ({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
     Thinking("hm", "s")),
    ({"reasoningContent": {"reasoningText": {"text": "hm"}}}, Thinking("hm")),
    ({"reasoningContent": {"redactedContent": "c2VjcmV0"}}, Thinking(encrypted="c2VjcmV0")),
    ({"citationsContent": {"content": [{"text": "a"}, {"text": "b"}], "citations": []}},
     Text("ab")),
    ({"toolUse": TOOL}, ToolCall("c", "f", '{"a": 1}')),
    ({"toolUse": SERVER}, Foreign("converse", "toolUse", msgspec.Raw(SERVER_BLOCK))),
    ({"image": {"format": "png"}},
     Foreign("converse", "image", msgspec.Raw(b'{"image":{"format": "png"}}'))),
]  # fmt: skip


@pytest.mark.parametrize(("block", "part"), BLOCKS)
def test_blocks_are_parts(block: Any, part: Any) -> None:
    assert read(block).parts == (part,)


ENDS = [
    ("end_turn", {"text": "x"}, None, "stop", ""),
    ("end_turn", {"toolUse": TOOL}, None, "tool_calls", ""),
    ("tool_use", {"toolUse": TOOL}, None, "tool_calls", ""),
    ("max_tokens", {"text": "x"}, None, "length", ""),
    ("model_context_window_exceeded", {"text": "x"}, None, "length", ""),
    ("stop_sequence", {"text": "x"}, {"stop_sequence": "END"}, "stop_sequence", "END"),
    ("stop_sequence", {"text": "x"}, None, "stop_sequence", ""),
    ("end_turn", {"text": "x"}, {"stop_sequence": "END"}, "stop", ""),
    ("guardrail_intervened", {"text": "x"}, None, "content_filter", ""),
    ("content_filtered", {"text": "x"}, None, "content_filter", ""),
    ("refusal", {"text": "x"}, None, "refusal", ""),
    ("pause_turn", {"text": "x"}, None, "pause", ""),
    ("malformed_tool_use", {"text": "x"}, None, "stop", ""),
    ("something new", {"text": "x"}, None, "stop", ""),
]


@pytest.mark.parametrize(("stop", "block", "fields", "finish", "text"), ENDS)
def test_ends_are_read(stop: str, block: Any, fields: Any, finish: str, text: str) -> None:
    answer = read(block, stop=stop, additionalModelResponseFields=fields)
    assert (answer.finish, answer.stop_sequence) == (finish, text)


def test_ends_have_neutral_words() -> None:
    assert {finish for *_, finish, _ in ENDS} == set(FINISHES)


USED = [
    (USAGE, None, Usage(input_tokens=7, output_tokens=3)),
    (USAGE | {"cacheReadInputTokens": 20, "cacheWriteInputTokens": 5,
              "cacheDetails": [{"ttl": "1h", "inputTokens": 2}, {"ttl": "5m", "inputTokens": 3}]},
     {"type": "flex"},
     Usage(input_tokens=32, output_tokens=3, cache_read_tokens=20, cache_write_tokens=3,
           cache_write_1h_tokens=2, service_tier="flex")),
    (USAGE | {"cacheReadInputTokens": 0, "oddTokens": 4, "noTokens": 0, "flag": True}, None,
     Usage(input_tokens=7, output_tokens=3, cache_read_tokens=0, unknown={"oddTokens": 4})),
    (None, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("told", "tier", "usage"), USED)
def test_usage_counts_the_whole_question(told: Any, tier: Any, usage: Usage | None) -> None:
    assert read({"text": "x"}, usage=told, serviceTier=tier).usage == usage
    events = stream(("metadata", {"usage": told, "metrics": {}, "serviceTier": tier}))
    assert events == ([Used(usage)] if usage else [])


NO_ANSWERS = [b"", b"[]", b"{}", b'{"output":{}}', b'{"output":{"message":{"content":3}}}',
              b'{"output":{"message":{"content":[{"text":3}]}}}', b'{"message":"Too many"}',
              b'{"output":{"message":{"content":[{"toolUse":[]}]}}}']  # fmt: skip


@pytest.mark.parametrize("body", NO_ANSWERS)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        CONVERSE.read_answer(body)


def stream(*events: tuple[str, Any]) -> list[Event]:
    """As it comes: encoded, cut into messages, read one by one."""
    data = b"".join(
        encoded({":event-type": kind, ":message-type": "event"}, json.dumps(payload).encode())
        for kind, payload in events
    )
    reader = CONVERSE.reader()
    messages = MessageParser().feed(data)
    return [event for message in messages for event in reader.feed(CONVERSE.as_event(message))]


def delta(at: int, **said: Any) -> tuple[str, Any]:
    return ("contentBlockDelta", {"contentBlockIndex": at, "delta": said, "p": "abc"})


def begin(at: int, **start: Any) -> tuple[str, Any]:
    return ("contentBlockStart", {"contentBlockIndex": at, "start": start})


def end(at: int) -> tuple[str, Any]:
    return ("contentBlockStop", {"contentBlockIndex": at})


def test_a_stream_is_read() -> None:
    assert stream(
        ("messageStart", {"role": "assistant"}),
        delta(0, reasoningContent={"text": "hm"}), delta(0, reasoningContent={"signature": "s"}),
        delta(1, reasoningContent={"redactedContent": "c2VjcmV0"}), end(1),
        delta(2, text="hi"), delta(2, text="!"), delta(2, citation={"title": "t"}), end(2),
        begin(3, toolUse={"toolUseId": "c", "name": "f"}), delta(3, toolUse={"input": ""}),
        delta(3, toolUse={"input": '{"a"'}), delta(3, toolUse={"input": ":1}"}), end(3),
        begin(4, toolUse={"toolUseId": "d", "name": "g"}), delta(4, toolUse={"input": "{}"}),
        ("messageStop", {"stopReason": "tool_use"}), ("somethingNew", {"x": 1}),
        ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}),
    ) == [
        Started(), ReasoningPiece("hm"), ReasoningPiece(signature="s"),
        ReasoningPiece(encrypted="c2VjcmV0", part=1), TextPiece("hi", 2), TextPiece("!", 2),
        CallBegun(0, "c", "f"), CallPiece(0, '{"a"'), CallPiece(0, ":1}"),
        CallBegun(1, "d", "g"), CallPiece(1, "{}"), Ended("tool_calls"),
        Used(Usage(input_tokens=7, output_tokens=3)),
    ]  # fmt: skip


def test_tools_of_the_provider_are_kept_as_they_are() -> None:
    server = {"toolUseId": "c", "name": "search", "type": "server_tool_use"}
    events = stream(begin(0, toolUse=server), delta(0, toolUse={"input": "{}"}),
                    begin(1, toolResult={"toolUseId": "c"}), delta(1, toolResult=[{"text": "x"}]),
                    ("messageStop", {"stopReason": "end_turn"}))  # fmt: skip
    assert [event.kind if isinstance(event, Foreign) else event for event in events] == [
        "toolUse", "toolResult", Ended("stop"),
    ]  # fmt: skip


def feed(headers: dict[str, Any], payload: bytes) -> list[Event]:
    return CONVERSE.reader().feed(CONVERSE.as_event(Message(headers, payload)))


FAILURES = [
    ({":message-type": "exception", ":exception-type": "throttlingException"},
     b'{"message":"slow down"}', "slow down", 429),
    ({":message-type": "exception", ":exception-type": "modelStreamErrorException"},
     b'{"originalMessage":"broken","originalStatusCode":500}', "broken", 502),
    ({":message-type": "exception", ":exception-type": "validationException"},
     b'{"message":"Input is too long for requested model."}',
     "Input is too long for requested model.", 400),
    ({":message-type": "exception", ":exception-type": "newException"}, b"?", "newException", 500),
    ({":message-type": "error", ":error-code": "InternalError", ":error-message": "oh"}, b"",
     "oh", 500),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "payload", "message", "status"), FAILURES)
def test_exceptions_are_failures_with_their_status(
    headers: Any, payload: bytes, message: str, status: int
) -> None:
    (event,) = feed(headers, payload)
    assert isinstance(event, Failed)
    assert event.message == message
    assert upstream_errors.read_event(event.data).status == status


WITHOUT_KIND: list[dict[str, Any]] = [
    {}, {":message-type": "event"}, {":message-type": "odd", ":event-type": "x"},
    {":message-type": 3, ":event-type": "x"}, {":event-type": b"x"}, {":event-type": ""},
]  # fmt: skip


@pytest.mark.parametrize("headers", WITHOUT_KIND)
def test_a_message_without_a_kind_is_refused(headers: Any) -> None:
    with pytest.raises(Invalid):
        CONVERSE.as_event(Message(headers, b"{}"))


@pytest.mark.parametrize("payload", [b"{", b"[]", b'{"delta":{"text":3}}', b"\xff"])
def test_what_is_no_part_of_an_answer_is_refused(payload: bytes) -> None:
    with pytest.raises(Invalid):
        feed({":event-type": "contentBlockDelta"}, payload)


KINDS = st.sampled_from(["messageStart", "contentBlockStart", "contentBlockDelta", "messageStop",
                         "metadata", "exception", 'x"y'])  # fmt: skip
PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["start", "delta", "toolUse", "text", "input", "usage", "cacheDetails",
                         "contentBlockIndex", "reasoningContent", "kind", "detail", "ttl"]),
        inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(KINDS, PAYLOADS.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20))
def test_anything_is_events_or_refused(kind: str, payload: bytes) -> None:
    try:
        events = feed({":event-type": kind}, payload)
    except Invalid as error:
        assert error.message
    else:
        assert isinstance(events, list)


ERRORS = [
    (400, b'{"message":"Input is too long for requested model."}', "ValidationException:http://x",
     400, "context_length_exceeded"),
    (429, b'{"message":"Too many requests"}', "ThrottlingException", 429, ""),
    (424, b'{"message":"broken"}', "ModelErrorException", 502, ""),
    (408, b'{"message":"late"}', "com.amazon#ModelTimeoutException", 504, ""),
    (403, b'{"Message":"no"}', "AccessDeniedException", 403, ""),
    (503, b"<html>", "", 503, ""),
    (418, b"[]", "", 418, ""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind", "read_as", "code"), ERRORS)
def test_errors_are_read(status: int, body: bytes, kind: str, read_as: int, code: str) -> None:
    error = CONVERSE.read_error(status, body, kind)
    assert (error.status, error.code) == (read_as, code)
    assert error.message
    assert set(json.loads(error.body)["error"]) == {"message", "type", "param", "code"}


@cache
def output_shape() -> Any:
    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    return service.operation_model("Converse").output_shape


def test_what_is_read_here_is_what_aws_describes() -> None:
    """The names that are read are those of AWS's own description."""
    usage = output_shape().members["usage"].members
    assert set(usage) == {
        "inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens",
        "cacheWriteInputTokens", "cacheDetails",
    }  # fmt: skip
    block = output_shape().members["output"].members["message"].members["content"].member.members
    assert {"text", "citationsContent", "reasoningContent", "toolUse"} <= set(block)
    assert set(block["reasoningContent"].members) == {"reasoningText", "redactedContent"}


def test_a_stream_makes_the_answer_that_comes_whole() -> None:
    whole = read(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
        {"text": "hi"}, {"toolUse": TOOL}, stop="tool_use", usage=USAGE,
    )  # fmt: skip
    streamed = stream(
        ("messageStart", {"role": "assistant"}), delta(0, reasoningContent={"text": "hm"}),
        delta(0, reasoningContent={"signature": "s"}), delta(1, text="hi"),
        begin(2, toolUse={"toolUseId": "c", "name": "f"}), delta(2, toolUse={"input": '{"a": 1}'}),
        ("messageStop", {"stopReason": "tool_use"}), ("metadata", {"usage": USAGE}),
    )  # fmt: skip
    assert folded(streamed) == whole
