"""Anthropic's streams: legal whatever an endpoint says, and the same answer on both sides."""

import json
from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from modelyard.domain.chat import (
    Answer,
    CallBegun,
    CallPiece,
    Ended,
    Event,
    ReasoningPiece,
    Request,
    Started,
    Text,
    TextPiece,
    Thinking,
    ToolCall,
    Usage,
    Used,
    unfolded,
)
from modelyard.domain.chat.folding import folded
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.messages import MESSAGES
from modelyard.gateway.dialects.messages.metering import Tally
from modelyard.lib.sse import EventSplitter

ASKED = Request(dialect="messages", model="bot", messages=())
EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
OBJECTS = st.dictionaries(WORDS, st.integers(0, 99) | WORDS, max_size=3)
PARTS = st.one_of(
    st.builds(Text, WORDS),
    st.builds(Thinking, WORDS, WORDS),
    st.builds(Thinking, encrypted=WORDS),
    st.builds(ToolCall, WORDS, WORDS, OBJECTS.map(json.dumps)),
)
USAGES = st.builds(
    lambda fresh, read, wrote, hour, out, think: Usage(
        input_tokens=fresh + read + wrote + hour, output_tokens=out, cache_read_tokens=read,
        cache_write_tokens=wrote, cache_write_1h_tokens=hour,
    ),
    *[st.integers(0, 1000)] * 6,
)  # fmt: skip
ANSWERS = st.builds(
    Answer,
    id=st.just("msg_1"),
    model=WORDS,
    parts=st.lists(PARTS, max_size=5).map(tuple),
    finish=st.sampled_from(["stop", "length", "tool_calls", "refusal", "pause"]),
    usage=USAGES,
)


def written(events: list[Event]) -> list[dict[str, Any]]:
    """The stream for a client, checked for the form of its events."""
    writer = MESSAGES.writer(ASKED, "req_1", 1)
    raw = b"".join(writer.write(event) for event in events) + writer.end()
    found = []
    for block, data in EventSplitter().feed(raw):
        event = json.loads(data)
        assert block.startswith(f"event: {event['type']}\n".encode())
        EVENTS.validate_python(event)
        found.append(event)
    return found


def check_order(events: list[dict[str, Any]]) -> None:
    """What the documentation of streaming promises, by a machine of its own."""
    assert [event["type"] for event in events[:1]] == ["message_start"]
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    open_kind, index = "", -1
    for event in events[1:-2]:
        match event["type"]:
            case "content_block_start":
                assert not open_kind
                index += 1
                assert event["index"] == index
                open_kind = event["content_block"]["type"]
            case "content_block_delta":
                assert event["index"] == index
                wanted = {
                    "text_delta": "text", "thinking_delta": "thinking",
                    "signature_delta": "thinking", "input_json_delta": "tool_use",
                }  # fmt: skip
                assert wanted[event["delta"]["type"]] == open_kind
            case "content_block_stop":
                assert open_kind
                assert event["index"] == index
                open_kind = ""
            case kind:
                raise AssertionError(kind)
    assert not open_kind


def reread(events: list[dict[str, Any]]) -> Answer:
    reader = MESSAGES.reader()
    return folded(said for event in events for said in reader.feed(json.dumps(event).encode()))


def plain(answer: Answer) -> list[Any]:
    """The parts, with arguments as the values that they are."""
    return [
        (part.id, part.name, json.loads(part.arguments or "{}"))
        if isinstance(part, ToolCall)
        else part
        for part in answer.parts
    ]


@given(ANSWERS)
def test_an_answer_comes_through_a_stream_and_back(answer: Answer) -> None:
    events = written(list(unfolded(answer)))
    check_order(events)
    again = reread(events)
    assert plain(again) == plain(answer)
    assert (again.finish, again.model, again.usage) == (answer.finish, answer.model, answer.usage)


@given(ANSWERS)
def test_a_whole_answer_is_a_message_of_the_official_client(answer: Answer) -> None:
    body = MESSAGES.write_answer(answer, ASKED)
    Message.model_validate_json(body)
    again = MESSAGES.read_answer(body)
    assert plain(again) == plain(answer)
    assert (again.finish, again.usage) == (answer.finish, answer.usage)


PIECES = st.one_of(
    st.builds(TextPiece, WORDS, st.integers(0, 1)),
    st.builds(ReasoningPiece, WORDS, st.just("") | WORDS, part=st.integers(0, 1)),
    st.builds(CallBegun, st.integers(0, 2), WORDS, WORDS),
    st.builds(CallPiece, st.integers(0, 2), WORDS),
    st.builds(Used, USAGES),
)


@given(st.lists(PIECES, max_size=20))
def test_any_order_of_pieces_is_a_legal_stream(pieces: list[Event]) -> None:
    seen: set[int] = set()
    events = []
    for piece in pieces:  # a call begins once, and before its arguments
        if isinstance(piece, CallBegun):
            if piece.index in seen:
                continue
            seen.add(piece.index)
        if isinstance(piece, CallPiece) and piece.index not in seen:
            continue
        events.append(piece)
    check_order(written([Started("a", "m"), *events, Ended("stop")]))


def test_pieces_of_calls_that_are_mixed_are_told_one_call_after_the_other() -> None:
    events = written([
        CallBegun(0, "c0", "f"), CallBegun(1, "c1", "g"), CallPiece(1, '{"b":'),
        CallPiece(0, '{"a":1}'), CallPiece(1, "2}"), Ended("tool_calls"), Used(Usage()),
    ])  # fmt: skip
    check_order(events)
    assert plain(reread(events)) == [("c0", "f", {"a": 1}), ("c1", "g", {"b": 2})]


def test_a_stream_without_a_word_is_legal() -> None:
    check_order(written([]))


def test_a_stream_that_breaks_off_ends_with_its_error_and_nothing_more() -> None:
    writer = MESSAGES.writer(ASKED, "req_1", 1)
    writer.write(TextPiece("a"))
    told = writer.fail(Told(503, "gone", "x", "y", None, "req_1"))
    ((raw, data),) = EventSplitter().feed(told)
    assert raw.startswith(b"event: error\n")
    assert json.loads(data)["error"] == {"type": "overloaded_error", "message": "gone"}
    assert writer.end() == writer.write(TextPiece("b")) == b""


@given(ANSWERS)
def test_what_passes_through_is_counted(answer: Answer) -> None:
    tally, kinds = Tally(), []
    for event in written(list(unfolded(answer))):
        kinds.append(tally.see(json.dumps(event).encode()).kind)
    assert kinds[-1] == "end"
    assert kinds.count("end") == 1
    assert (tally.usage, tally.finish) == (answer.usage, answer.finish)
    whole = Tally()
    whole.see_whole(MESSAGES.write_answer(answer, ASKED))
    assert (whole.usage, whole.finish) == (answer.usage, answer.finish)


def test_blocks_of_the_providers_own_tools_are_kept_whole() -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    reader = MESSAGES.reader()
    events = [
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0,
         "delta": {"type": "input_json_delta", "partial_json": '{"query":'}},
        {"type": "content_block_delta", "index": 0,
         "delta": {"type": "input_json_delta", "partial_json": '"x"}'}},
        {"type": "content_block_stop", "index": 0},
        {"type": "ping"},
        {"type": "something_new"},
    ]  # fmt: skip
    (foreign,) = [said for one in events for said in reader.feed(json.dumps(one).encode())]
    assert json.loads(bytes(foreign.value)) == {**block, "input": {"query": "x"}}  # type: ignore[union-attr]
