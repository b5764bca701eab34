"""Whole answers, read and written."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from modelyard.domain.chat import (
    FINISHES,
    Answer,
    Foreign,
    Message,
    Refusal,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    Usage,
)
from modelyard.errors import Invalid
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.chat import CHAT

ASKED = Request(dialect="chat", model="m", messages=(Message("user", (Text("hi"),)),))


def read(message: Any, finish: str | None = "stop", **members: Any) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish}
    chosen = choice | members.pop("choice", {})
    return CHAT.read_answer(json.dumps({"id": "a", "choices": [chosen]} | members).encode())


def written(answer: Answer, asked: Request = ASKED) -> Any:
    body = CHAT.write_answer(answer, asked)
    ChatCompletion.model_validate_json(body)
    return json.loads(body)


def message_of(answer: Answer, asked: Request = ASKED) -> Any:
    return written(answer, asked)["choices"][0]["message"]


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGES = [
    ({"content": "hi"}, (Text("hi"),)),
    ({"content": None}, ()),
    ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                  {"type": "text", "text": "hi"}]}, (Thinking("hm"), Text("hi"))),
    ({"content": "hi", "reasoning_content": "hm"}, (Thinking("hm"), Text("hi"))),
    ({"content": "hi", "reasoning": "hm", "reasoning_content": "hm"}, (Thinking("hm"), Text("hi"))),
    ({"content": "hi", "reasoning": None}, (Text("hi"),)),
    ({"content": "hi", "reasoning": "a b", "reasoning_details": [
        {"type": "reasoning.text", "text": "a", "signature": "s", "index": 0},
        {"type": "reasoning.text", "text": "b", "signature": "t", "index": 1},
        {"type": "reasoning.encrypted", "data": "x", "index": 2}]},
     (Thinking("a", "s"), Thinking("b", "t"), Thinking(encrypted="x"), Text("hi"))),
    ({"content": None, "tool_calls": [CALL]}, (ToolCall("c", "f", "{}"),)),
    ({"tool_calls": [CALL, CALL | {"id": "d"}]},
     (ToolCall("c", "f", "{}"), ToolCall("d", "f", "{}"))),
    ({"tool_calls": [CALL, CALL]}, (ToolCall("c", "f", "{}"), ToolCall("c", "f", "{}"))),
    ({"tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
     (ToolCall("call_a_0", "f", '{"x": 1}'),)),
    ({"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "g", "input": "free"}}]},
     (ToolCall("c", "g", "free", custom=True),)),
    ({"function_call": {"name": "f", "arguments": "{}"}}, (ToolCall("call_a_0", "f", "{}"),)),
    ({"content": "", "refusal": "no"}, (Refusal("no"),)),
]  # fmt: skip


@pytest.mark.parametrize(("message", "parts"), MESSAGES)
def test_messages_of_engines_are_read(message: Any, parts: Any) -> None:
    assert read(message).parts == parts


FINISHED = [
    ("stop", {"content": "x"}, {}, "stop", ""),
    (None, {"content": "x"}, {}, "stop", ""),
    ("eos_token", {"content": "x"}, {}, "stop", ""),
    ("something new", {"content": "x"}, {}, "stop", ""),
    ("length", {"content": "x"}, {}, "length", ""),
    ("content_filter", {"content": "x"}, {}, "content_filter", ""),
    ("tool_calls", {"tool_calls": [CALL]}, {}, "tool_calls", ""),
    ("function_call", {"function_call": {"name": "f", "arguments": "{}"}}, {}, "tool_calls", ""),
    ("stop", {"tool_calls": [CALL]}, {}, "tool_calls", ""),
    ("length", {"tool_calls": [CALL]}, {}, "length", ""),
    ("stop", {"content": "x"}, {"stop_reason": "END"}, "stop_sequence", "END"),
    ("stop", {"content": "x"}, {"matched_stop": "END"}, "stop_sequence", "END"),
    ("stop", {"content": "x"}, {"stop_reason": 151645}, "stop", ""),
    ("stop", {"content": "x"}, {"stop_reason": "stop"}, "stop", ""),
    ("stop", {"refusal": "no"}, {}, "refusal", ""),
]


@pytest.mark.parametrize(("reason", "message", "choice", "finish", "text"), FINISHED)
def test_ends_are_read(reason: Any, message: Any, choice: Any, finish: str, text: str) -> None:
    answer = read(message, reason, choice=choice)
    assert (answer.finish, answer.stop_sequence) == (finish, text)


ENDS = [
    ("stop", (), "stop"), ("length", (), "length"), ("tool_calls", (), "tool_calls"),
    ("content_filter", (), "content_filter"), ("stop_sequence", (), "stop"),
    ("pause", (), "stop"), ("refusal", (), "content_filter"), ("refusal", (Refusal("no"),), "stop"),
]  # fmt: skip


@pytest.mark.parametrize(("finish", "parts", "word"), ENDS)
def test_ends_are_written(finish: str, parts: Any, word: str) -> None:
    assert written(Answer(parts=parts, finish=finish))["choices"][0]["finish_reason"] == word


def test_every_end_has_a_word() -> None:
    assert {finish for finish, _, _ in ENDS} == set(FINISHES)


USED = [
    ({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
     Usage(input_tokens=7, output_tokens=3)),
    (
        {
            "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 5, "image_tokens": 6,
                                      "text_tokens": 89, "cache_write_tokens": 20},
            "completion_tokens_details": {
                "reasoning_tokens": 10, "audio_tokens": 4, "image_tokens": 2,
                "accepted_prediction_tokens": 3, "rejected_prediction_tokens": 9,
            },
        },
        Usage(input_tokens=100, output_tokens=50, cache_read_tokens=30, cache_write_tokens=20,
              audio_input_tokens=5, image_input_tokens=6, reasoning_tokens=10,
              audio_output_tokens=4, image_output_tokens=2),
    ),
    ({"prompt_tokens": 9, "completion_tokens": 1, "cache_creation_input_tokens": 5,
      "cache_read_input_tokens": 2,
      "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 2}},
     Usage(input_tokens=9, output_tokens=1, cache_read_tokens=2, cache_write_tokens=3,
           cache_write_1h_tokens=2)),
    ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4,
      "prompt_cache_miss_tokens": 5},
     Usage(input_tokens=9, output_tokens=1, cache_read_tokens=4)),
    ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 15,
      "completion_tokens_details": {"reasoning_tokens": 5}},
     Usage(input_tokens=9, output_tokens=6, reasoning_tokens=5)),
    ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 15},
     Usage(input_tokens=9, output_tokens=1, unknown={"total_tokens": 5})),
    ({"prompt_tokens": 9, "completion_tokens": 1, "cost": 1, "is_byok": True, "odd_tokens": 4,
      "none_tokens": 0, "prompt_tokens_details": {"video_tokens": 8, "cached_tokens": None},
      "server_tool_use": {"web_search_requests": 2}},
     Usage(input_tokens=9, output_tokens=1, server_tools={"web_search": 2},
           unknown={"odd_tokens": 4, "prompt_tokens_details.video_tokens": 8})),
    ({"prompt_tokens": 9}, Usage(input_tokens=9)),
    (None, None),
    ({}, None),
    ([], None),
]  # fmt: skip


@pytest.mark.parametrize(("told", "usage"), USED)
def test_usage_is_read(told: Any, usage: Usage | None) -> None:
    assert read({"content": "x"}, usage=told).usage == usage


def test_the_tier_that_answered_is_part_of_the_usage() -> None:
    answer = read({"content": "x"}, usage={"prompt_tokens": 1}, service_tier="flex")
    assert answer.usage == Usage(input_tokens=1, service_tier="flex")
    assert written(answer)["service_tier"] == "flex"
    assert "service_tier" not in written(Answer(usage=Usage(service_tier="standard")))


def test_what_the_upstream_did_not_say_is_not_said() -> None:
    assert written(Answer(usage=Usage(input_tokens=1, output_tokens=2)))["usage"] == {
        "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
    }  # fmt: skip
    assert "usage" not in written(Answer())


NO_ANSWERS = [
    b"", b"[]", b"null", b"{}", b'{"choices":[]}', b'{"choices":[{"index":0}]}',
    b'{"choices":[{"index":1,"message":{"content":"x"}}]}', b'{"choices":3}',
    b'{"choices":[{"message":{"content":3}}]}', b'{"error":{"message":"broken"}}',
    b'{"object":"error","message":"broken","code":400}', b'{"choices":' * 100_000,
    b'{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}',
    b'{"choices":[{"message":{"content":[{"text":"no type"}]}}]}',
    b'{"choices":[{"message":{"content":"\xff"}}]}',
]  # fmt: skip


@pytest.mark.parametrize("body", NO_ANSWERS)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        CHAT.read_answer(body)


def test_what_the_error_says_is_told() -> None:
    with pytest.raises(Invalid, match="broken"):
        CHAT.read_answer(b'{"object":"error","message":"broken","code":400}')


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_anything_is_an_answer_or_refused(body: bytes) -> None:
    try:
        assert isinstance(CHAT.read_answer(body), Answer)
    except Invalid as error:
        assert error.message


def test_an_answer_is_written_whole() -> None:
    answer = Answer(
        id="a", created_s=5, parts=(Thinking("hm"), Text("It is "), Text("so.")),
        usage=Usage(input_tokens=1, output_tokens=2, cache_read_tokens=0, reasoning_tokens=1),
    )  # fmt: skip
    assert written(answer) == {
        "id": "a", "object": "chat.completion", "created": 5, "model": "m",
        "choices": [{
            "index": 0, "logprobs": None, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "It is so.", "refusal": None,
                        "reasoning_content": "hm"},
        }],
        "usage": {
            "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }  # fmt: skip


def test_parts_of_other_dialects_are_left_out() -> None:
    search = Foreign("messages", "server_tool_use", msgspec.Raw(b"{}"))
    assert message_of(Answer(parts=(search, Text("x")))) == {
        "role": "assistant", "content": "x", "refusal": None,
    }  # fmt: skip


def test_custom_tools_are_called_as_such() -> None:
    asked = Request(
        dialect="chat", model="m", messages=ASKED.messages, tools=(Tool("g", custom=True),)
    )
    calls = (
        ToolCall("1", "g", '{"input":"a \\"b\\""}'), ToolCall("2", "g", "free", custom=True),
        ToolCall("3", "g", '{"other":1}'), ToolCall("4", "f", ""),
    )  # fmt: skip
    told = message_of(Answer(parts=calls, finish="tool_calls"), asked)
    assert told["content"] is None
    assert [call.get("custom", call.get("function")) for call in told["tool_calls"]] == [
        {"name": "g", "input": 'a "b"'}, {"name": "g", "input": "free"},
        {"name": "g", "input": '{"other":1}'}, {"name": "f", "arguments": "{}"},
    ]  # fmt: skip


def test_clients_from_before_tools_get_one_function_call() -> None:
    asked = Request(
        dialect="chat", model="m", messages=ASKED.messages, tools=(Tool("f"),),
        legacy_functions=True,
    )  # fmt: skip
    calls = (ToolCall("1", "f", '{"a":1}'), ToolCall("2", "f", "{}"))
    choice = written(Answer(parts=calls, finish="tool_calls"), asked)["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert "tool_calls" not in choice["message"]


def test_errors_have_openais_envelope() -> None:
    told = Told(429, "too fast", "rate_limit_error", "", "model")
    assert json.loads(CHAT.envelope(told)) == {
        "error": {"message": "too fast", "type": "rate_limit_error", "param": "model",
                  "code": None},
    }  # fmt: skip


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
SECRETS = st.text("abc123", max_size=4)
THOUGHTS = st.builds(Thinking, WORDS, SECRETS, SECRETS, SECRETS, st.booleans())
CALLS = st.builds(
    lambda at, name, custom: ToolCall(f"call_{at}", name, '{"a": 1}', custom),
    st.integers(0, 9), WORDS, st.booleans(),
)  # fmt: skip
COUNTS = st.integers(0, 1 << 40)
USAGES = st.builds(
    Usage,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cache_read_tokens=st.none() | COUNTS,
    cache_write_tokens=COUNTS,
    audio_input_tokens=COUNTS,
    image_input_tokens=COUNTS,
    reasoning_tokens=st.none() | COUNTS,
    audio_output_tokens=COUNTS,
    image_output_tokens=COUNTS,
    server_tools=st.dictionaries(st.sampled_from(["web_search", "x"]), st.integers(1, 9)),
    service_tier=st.sampled_from(["", "default", "flex"]),
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """In the order in which chat can say it; thoughts either all signed or one bare text."""
    bare = st.builds(lambda text: [Thinking(text)], WORDS)
    signed = st.lists(THOUGHTS.filter(lambda t: bool(t.signature or t.encrypted)), max_size=3)
    calls = draw(st.lists(CALLS, max_size=3))
    texts = draw(st.lists(st.builds(Text, WORDS), max_size=1))
    return Answer(
        id=draw(SECRETS),
        model=draw(WORDS),
        created_s=draw(st.integers(0, 1 << 40)),
        parts=(*draw(bare | signed | st.just([])), *texts, *calls),
        finish="tool_calls" if calls else draw(st.sampled_from(["stop", "length"])),
        usage=draw(st.none() | USAGES),
    )


@given(answers())
def test_an_answer_comes_back_from_what_is_written(answer: Answer) -> None:
    assert CHAT.read_answer(CHAT.write_answer(answer, ASKED)) == answer
