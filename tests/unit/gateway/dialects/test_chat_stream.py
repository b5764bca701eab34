"""Streams of endpoints, read, and streams to clients, written."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from modelyard.domain.chat import (
    Answer,
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    Foreign,
    Message,
    ReasoningPiece,
    RefusalPiece,
    Request,
    Started,
    Text,
    TextPiece,
    Thinking,
    Tool,
    ToolCall,
    Usage,
    Used,
    unfolded,
)
from modelyard.domain.chat.folding import folded
from modelyard.errors import Invalid
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.chat import CHAT
from modelyard.lib.sse import EventSplitter

STARTED = Started("a", "m", 7)


def asked(**settings: Any) -> Request:
    said = (Message("user", (Text("hi"),)),)
    return Request(dialect="chat", model="asked", messages=said, stream=True, **settings)


def chunk(delta: Any, finish: str | None = None, **members: Any) -> Any:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "a", "model": "m", "created": 7, "choices": [choice]} | members


def read(*chunks: Any) -> list[Event]:
    reader = CHAT.reader()
    return [event for one in chunks for event in reader.feed(json.dumps(one).encode())]


def calls_of(*deltas: Any) -> tuple[ToolCall, ...]:
    """The calls that these pieces make, whether they came one by one."""
    chunks = [chunk({"tool_calls": [delta]}) for delta in deltas]
    answer = folded(read(*chunks, chunk({}, "tool_calls")))
    assert all(isinstance(part, ToolCall) for part in answer.parts)
    return answer.parts  # type: ignore[return-value]


def test_texts_thoughts_and_refusals_are_read() -> None:
    assert read(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "h"}), chunk({"reasoning": "m", "reasoning_content": "m"}),
        chunk({"content": "hi"}), chunk({"content": [{"type": "text", "text": "!"}]}),
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}]}),
        chunk({"refusal": "no"}), chunk({}, "length"),
    ) == [
        STARTED, ReasoningPiece("h"), ReasoningPiece("m"), TextPiece("hi"), TextPiece("!"),
        ReasoningPiece("so"), RefusalPiece("no"), Ended("length"),
    ]  # fmt: skip


def test_what_nobody_needs_is_passed_over() -> None:
    assert read(
        {"id": "", "choices": [], "prompt_filter_results": []},
        chunk({"content": None}, prompt_progress={"total": 9, "cache": 1}),
        chunk({"content": "x"}, timings={"predicted_n": 1}),
        chunk({"content": "again"}, choices=[{"index": 1, "delta": {"content": "other"}}]),
        chunk({}, "stop"), chunk({"content": "late"}, "stop"),
    ) == [STARTED, TextPiece("x"), Ended("stop")]  # fmt: skip


def test_usage_is_read_wherever_it_stands() -> None:
    used = {"prompt_tokens": 2, "completion_tokens": 1}
    last = used | {"completion_tokens": 2}
    assert read(
        chunk({"content": "x"}, usage=used), chunk({}, "stop", usage=used),
        {"id": "a", "choices": [], "usage": last}, {"choices": [], "usage": None},
    ) == [
        STARTED, TextPiece("x"), Used(Usage(input_tokens=2, output_tokens=1)), Ended("stop"),
        Used(Usage(input_tokens=2, output_tokens=2)),
    ]  # fmt: skip


def test_signatures_close_the_thought_they_belong_to() -> None:
    text = {"type": "reasoning.text", "index": 0}
    events = read(
        chunk({"reasoning": "h", "reasoning_details": [text | {"text": "h"}]}),
        chunk({"reasoning_details": [text | {"signature": "s"}]}),
        chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 1}]}),
        chunk({"content": "hi"}, "stop"),
    )
    assert folded(events).parts == (Thinking("h", "s"), Thinking(encrypted="x"), Text("hi"))


ERRORS = [
    ({"error": {"message": "broken", "code": 500}}, "broken"),
    ({"error": "broken"}, "broken"),
    ({"object": "error", "message": "broken"}, "broken"),
    (chunk({}, "error"), "the upstream gave up and did not say why"),
]


@pytest.mark.parametrize(("event", "message"), ERRORS)
def test_errors_inside_a_stream_are_failures(event: Any, message: str) -> None:
    assert read(event) == [Failed(message, json.dumps(event).encode())]


NO_CHUNKS = [b"", b"[]", b"1", b"{", b'{"choices":1}', b'{"choices":[1]}', b'{"choices":' * 99_999,
             b'{"choices":[{"delta":{"content":[{}]}}]}']  # fmt: skip


@pytest.mark.parametrize("data", NO_CHUNKS)
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        CHAT.reader().feed(data)


def function(name: str | None = None, arguments: Any = None, **members: Any) -> Any:
    said = {"name": name, "arguments": arguments}
    return members | {"function": {k: v for k, v in said.items() if v is not None}}


F = ToolCall("1", "f", '{"a":1}')
G = ToolCall("2", "g", "{}")
STYLES = [
    ("as OpenAI does", (F, G), [
        function("f", "", index=0, id="1"), function(None, '{"a"', index=0),
        function(None, ":1}", index=0), function("g", "", index=1, id="2"),
        function(None, "{}", index=1)]),
    ("pieces in turn", (F, G), [
        function("f", "", index=0, id="1"), function("g", "", index=1, id="2"),
        function(None, '{"a"', index=0), function(None, "{}", index=1),
        function(None, ":1}", index=0)]),
    ("whole, without a number", (F, G), [function("f", '{"a":1}', id="1"),
                                         function("g", "{}", id="2")]),
    ("whole, as objects", (ToolCall("1", "f", '{"a": 1}'),), [function("f", {"a": 1}, id="1")]),
    ("all of the number 0", (F, G), [function("f", '{"a":1}', index=0, id="1"),
                                     function("g", "{}", index=0, id="2")]),
    ("id and name with each piece", (F,), [
        function("f", '{"a"', index=0, id="1"), function("f", ":1}", index=0, id="1")]),
    ("id and name with each piece, no number", (F, G), [
        function("f", '{"a"', id="1"), function("f", ":1}", id="1"), function("g", "{}", id="2")]),
    ("a new id with each piece", (F,), [
        function("f", "", index=0, id="1"), function(None, '{"a"', index=0, id="x"),
        function(None, ":1}", index=0, id="y")]),
    ("a new id with each piece, no number", (F,), [
        function("f", '{"a"', id="1"), function(None, ":1}", id="x")]),
    ("the id late", (F,), [
        function("f", index=0), function(None, None, index=0, id="1"),
        function(None, '{"a":1}', index=0)]),
    ("the name late", (F,), [function(None, '{"a"', index=0, id="1"),
                             function("f", ":1}", index=0)]),
    ("the whole once more at the end", (F,), [
        function("f", '{"a"', index=0, id="1"), function(None, ":1}", index=0),
        function("f", '{"a":1}', index=0, id="1")]),
    ("neither number nor id", (ToolCall("call_a_0", "f", '{"a":1}'), ToolCall("call_a_1", "g", "")),
     [function("f", '{"a"'), function(None, ":1}"), function("g")]),
    ("the same twice, no number and no id",
     (ToolCall("call_a_0", "f", "{}"), ToolCall("call_a_1", "f", "{}")),
     [function("f", "{}"), function("f", "{}")]),
    ("the name with each piece, no number and no id", (ToolCall("call_a_0", "f", '{"a":1}'),),
     [function("f", '{"a"'), function("f", ":1}")]),
    ("no name at all", (ToolCall("1", "unnamed", "{}"),), [function(None, "{}", index=0, id="1")]),
    ("custom", (ToolCall("1", "c", "free", custom=True),), [
        {"index": 0, "id": "1", "type": "custom", "custom": {"name": "c", "input": ""}},
        {"index": 0, "custom": {"input": "fr"}}, {"index": 0, "custom": {"input": "ee"}}]),
]  # fmt: skip


@pytest.mark.parametrize(("style", "calls", "deltas"), STYLES)
def test_calls_are_put_together_however_they_are_cut(style: str, calls: Any, deltas: Any) -> None:
    assert calls_of(*deltas) == calls, style


def test_a_function_call_from_before_tools_is_read() -> None:
    assert read(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}), chunk({}, "function_call"),
    ) == [
        STARTED, CallBegun(0, "call_a_0", "f"), CallPiece(0, "{}"), Ended("tool_calls"),
    ]  # fmt: skip


ARGUMENTS = st.dictionaries(st.text(max_size=3), st.integers(), min_size=1, max_size=3)


@st.composite
def cut(draw: st.DrawFn) -> tuple[str, list[str]]:
    whole = json.dumps(draw(ARGUMENTS))
    places = sorted(draw(st.sets(st.integers(1, len(whole) - 1), max_size=4)))
    ends = [0, *places, len(whole)]
    return whole, [whole[a:b] for a, b in pairwise(ends)]


@given(st.lists(cut(), min_size=1, max_size=3), st.booleans(), st.booleans(), st.booleans())
def test_no_argument_is_lost_or_doubled(
    calls: list[tuple[str, list[str]]], numbered: bool, named: bool, named_again: bool
) -> None:
    deltas = []
    for at, (_, pieces) in enumerate(calls):
        for number, piece in enumerate(pieces):
            is_first = number == 0
            members: dict[str, Any] = {"index": at} if numbered else {}
            if named and (is_first or named_again):
                members["id"] = str(at)
            deltas.append(function("f" if is_first or named_again else None, piece, **members))
    assert [call.arguments for call in calls_of(*deltas)] == [whole for whole, _ in calls]


@given(st.binary(max_size=40) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["choices", "delta", "content", "tool_calls", "function", "arguments",
                         "index", "id", "usage", "error", "reasoning_details", "finish_reason"]),
        inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_anything_is_a_chunk_or_refused(data: bytes) -> None:
    try:
        events = CHAT.reader().feed(data)
    except Invalid as error:
        assert error.message
    else:
        assert isinstance(events, list)


def stream(events: Iterable[Event], request: Request, end: bool = True) -> list[Any]:
    """The chunks that these make; `[DONE]` as None."""
    writer = CHAT.writer(request, "r1", 5)
    written = b"".join([*map(writer.write, events), writer.end() if end else b""])
    splitter = EventSplitter()
    datas = [data for _, data in splitter.feed(written)]
    assert not splitter.pending
    for data in datas:
        if data != b"[DONE]":
            legal(json.loads(data))
    return [None if data == b"[DONE]" else json.loads(data) for data in datas]


def legal(value: Any) -> None:
    """OpenAI's types know functions alone in streams; custom calls are shaped after answers'."""
    assert all(
        set(choice) == {"index", "delta", "logprobs", "finish_reason"}
        for choice in value["choices"]
    )
    if '"custom"' not in json.dumps(value):
        ChatCompletionChunk.model_validate(value)


def deltas(chunks: list[Any]) -> list[Any]:
    return [choice["delta"] for one in chunks if one for choice in one["choices"]]


def test_a_stream_is_written_whole() -> None:
    events = [STARTED, TextPiece("hi"), Used(Usage(input_tokens=1, output_tokens=2)), Ended("stop")]
    head = {"id": "a", "object": "chat.completion.chunk", "created": 7, "model": "m"}

    def one(delta: Any, finish: str | None = None) -> Any:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}

    said = [one({"role": "assistant", "content": ""}), one({"content": "hi"}), one({}, "stop")]
    plain = [head | {"choices": [choice]} for choice in said]
    assert stream(events, asked()) == [*plain, None]
    used = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert stream(events, asked(include_usage=True)) == [
        *(chunk | {"usage": None} for chunk in plain), head | {"choices": [], "usage": used}, None,
    ]  # fmt: skip


def test_what_the_upstream_did_not_name_is_named() -> None:
    (first, *_) = stream([TextPiece("x"), Ended("stop")], asked())
    assert (first["id"], first["created"], first["model"]) == ("r1", 5, "asked")


def test_an_end_that_nobody_told_is_written() -> None:
    assert [one and one["choices"][0]["finish_reason"] for one in stream([TextPiece("x")], asked())
            ] == [None, None, "stop", None]  # fmt: skip
    call = [CallBegun(0, "c", "f"), CallPiece(0, "{}")]
    assert stream(call, asked())[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert stream([], asked())[-1] is None


def test_a_stream_that_broke_off_has_no_proper_end() -> None:
    writer = CHAT.writer(asked(include_usage=True), "r1", 5)
    writer.write(TextPiece("x"))
    told = Told(502, "gone", "upstream_error", "upstream_broken")
    error = {"message": "gone", "type": "upstream_error", "param": None, "code": "upstream_broken"}
    assert (
        writer.fail(told)
        == b"data: %b\n\n" % json.dumps({"error": error}, separators=(",", ":")).encode()
    )
    assert writer.end() == writer.fail(told) == writer.write(TextPiece("y")) == b""


def test_parts_of_other_dialects_and_failures_are_nothing_here() -> None:
    writer = CHAT.writer(asked(), "r1", 5)
    assert writer.write(Foreign("messages", "server_tool_use", msgspec.Raw(b"{}"))) == b""
    assert writer.write(Failed("broken")) == b""
    assert writer.write(Used(Usage())) == b""


def test_calls_are_written_in_pieces() -> None:
    events = [CallBegun(0, "c", "f"), CallPiece(0, '{"a"'), CallPiece(0, ":1}"),
              CallBegun(1, "", "g"), CallPiece(9, "lost"), Ended("tool_calls")]  # fmt: skip
    assert deltas(stream(events, asked()))[1:-1] == [
        {"tool_calls": [{"index": 0, "id": "c", "type": "function",
                         "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {"tool_calls": [{"index": 1, "id": "call_r1_1", "type": "function",
                         "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ]  # fmt: skip


def test_custom_tools_are_called_as_such_in_streams() -> None:
    request = asked(tools=(Tool("g", custom=True),))
    events = [CallBegun(0, "c", "g"), CallPiece(0, '{"inp'), CallPiece(0, 'ut":"x"}'),
              CallBegun(1, "d", "h", True), CallPiece(1, "free"), Ended("tool_calls")]  # fmt: skip
    assert folded(read(*(one for one in stream(events, request) if one))).parts == (
        ToolCall("c", "g", "x", custom=True), ToolCall("d", "h", "free", custom=True),
    )  # fmt: skip


def test_clients_from_before_tools_get_one_function_call_in_streams() -> None:
    request = asked(tools=(Tool("f"),), legacy_functions=True)
    events = [CallBegun(0, "c", "f"), CallPiece(0, "{}"), CallBegun(1, "d", "f"),
              CallPiece(1, "{}"), Ended("tool_calls")]  # fmt: skip
    chunks = stream(events, request)
    assert deltas(chunks)[1:-1] == [
        {"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}},
    ]  # fmt: skip
    assert chunks[-2]["choices"][0]["finish_reason"] == "function_call"


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
SECRETS = st.text("abc123", max_size=4)
CALLS = st.builds(
    lambda at, name, custom: ToolCall(f"call_{at}", name, '{"a": 1}', custom),
    st.integers(0, 9), WORDS, st.booleans(),
)  # fmt: skip
THOUGHTS = st.lists(
    st.builds(Thinking, WORDS, SECRETS, SECRETS, SECRETS, st.booleans()), max_size=3
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    calls = draw(st.lists(CALLS, max_size=3, unique_by=lambda call: call.id))
    return Answer(
        id=draw(SECRETS.filter(bool)),
        model=draw(WORDS),
        created_s=draw(st.integers(1, 1 << 40)),
        parts=(*draw(THOUGHTS), *draw(st.lists(st.builds(Text, WORDS), max_size=1)), *calls),
        finish="tool_calls" if calls else draw(st.sampled_from(["stop", "length"])),
        usage=draw(st.none() | st.builds(Usage, input_tokens=st.integers(0, 99))),
    )


@given(answers())
def test_an_answer_comes_back_from_its_stream(answer: Answer) -> None:
    chunks = stream(unfolded(answer), asked(include_usage=True))
    assert chunks.pop() is None
    assert folded(read(*chunks)) == answer
