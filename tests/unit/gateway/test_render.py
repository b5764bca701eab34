"""A kept answer, told as a stream, is the answer that was kept."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState

from modelyard.gateway.assemble import Assembler
from modelyard.gateway.render import as_stream, as_whole
from modelyard.gateway.stream import StreamRelay, Tally
from modelyard.lib.sse import EventSplitter

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
USAGE = {
    "prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 4},
}  # fmt: skip
TOKEN = {"token": "a", "bytes": [97], "logprob": -0.25, "top_logprobs": []}


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    function = {"name": draw(TEXTS), "arguments": draw(TEXTS)}
    return {"id": draw(TEXTS), "type": "function", "function": function}


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": draw(st.none() | TEXTS)}
    for name in draw(st.sets(st.sampled_from(["reasoning_content", "refusal", "x"]))):
        message[name] = draw(TEXTS)
    if tool_calls := draw(st.lists(calls(), max_size=3)):
        message["tool_calls"] = tool_calls
    return message


def answer(chat: bool, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    kind = "chat.completion" if chat else "text_completion"
    frame = {"id": "c-1", "object": kind, "created": 1, "model": "m"}
    return {**frame, "choices": choices, "usage": USAGE, "system_fingerprint": "f", **more}


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    chat = draw(st.booleans())
    choices = [
        {
            "index": index,
            **({"message": draw(messages())} if chat else {"text": draw(TEXTS)}),
            "logprobs": draw(st.none() | st.just({"content": [TOKEN]} if chat else {"tokens": []})),
            "finish_reason": draw(st.sampled_from(["stop", "tool_calls"])),
            **draw(st.sampled_from([{}, {"stop_reason": 5}, {"stop_reason": "###"}])),
        }
        for index in range(draw(st.integers(1, 3)))
    ]
    return answer(chat, choices)


def events_of(stream: bytes) -> list[Any]:
    splitter = EventSplitter()
    *events, last = [data for _, data in splitter.feed(stream)]
    assert last == b"[DONE]"
    assert not splitter.pending
    return [json.loads(event) for event in events]


def told(whole: Mapping[str, Any], *, include_usage: bool) -> bytes:
    return as_stream(json.dumps(whole).encode(), include_usage=include_usage)


@given(answers())
def test_put_together_again_it_is_the_same(whole: dict[str, Any]) -> None:
    assembler = Assembler()
    for event in events_of(told(whole, include_usage=True)):
        assembler.add(json.dumps(event).encode())
    assert json.loads(assembler.result()) == whole


@given(answers(), st.booleans())
def test_usage_comes_last_and_only_where_it_was_asked_for(
    whole: dict[str, Any], asked: bool
) -> None:
    events = events_of(told(whole, include_usage=asked))
    assert [event["usage"] for event in events if event.get("usage")] == [USAGE] * asked
    assert all(len(event["choices"]) == 1 for event in events[: len(events) - asked])
    if asked:
        assert events[-1]["choices"] == []
    ends = [event["choices"][0]["finish_reason"] for event in events if event["choices"]]
    assert len([end for end in ends if end]) == len(whole["choices"])


@given(answers())
def test_our_own_relay_finds_nothing_wrong_with_it(whole: dict[str, Any]) -> None:
    relay = StreamRelay(Tally(), keep_usage=True)
    stream = told(whole, include_usage=True)
    assert relay.feed(stream) == stream
    assert relay.done
    assert relay.tally.usage is not None
    assert relay.tally.usage.prompt_tokens == 7


def test_values_keep_their_bytes() -> None:
    raw = b'{"choices":[{"message":{"content":"\\u00e4"},"x":1e400}],"big":12345678901234567890123}'
    stream = as_stream(raw, include_usage=False)
    assert b'"\\u00e4"' in stream
    assert b'"x":1e400' in stream
    assert b"12345678901234567890123" in stream
    assert as_whole(raw) is raw


class Kept(httpx.BaseTransport):
    """An upstream that has only this answer."""

    def __init__(self, whole: Mapping[str, Any]) -> None:
        self._whole = whole

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        options = json.loads(request.content).get("stream_options") or {}
        stream = told(self._whole, include_usage=bool(options.get("include_usage")))
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)


@pytest.mark.parametrize("include_usage", [False, True])
def test_the_official_client_reads_the_same_answer(include_usage: bool) -> None:
    call = {"id": "call-1", "type": "function",
            "function": {"name": "find", "arguments": '{"text": "x"}'}}  # fmt: skip
    spoken = {"role": "assistant", "content": "hello", "refusal": None}
    calling = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call, call]}
    whole = answer(
        True,
        [
            {"index": 0, "message": spoken, "logprobs": None, "finish_reason": "stop"},
            {"index": 1, "message": calling, "logprobs": None, "finish_reason": "tool_calls"},
        ],
    )
    state = ChatCompletionStreamState()
    with (
        httpx.Client(transport=Kept(whole)) as http,
        openai.OpenAI(base_url="http://kept/v1", api_key="x", http_client=http) as client,
    ):
        stream = client.chat.completions.create(
            model="m", messages=[], stream=True, stream_options={"include_usage": include_usage}
        )
        for chunk in stream:
            state.handle_chunk(chunk)
    read = state.get_final_completion()
    first, second = (choice.message for choice in read.choices)
    assert (first.content, first.tool_calls) == ("hello", None)
    assert second.content is None
    assert [one.function.arguments for one in second.tool_calls or ()] == ['{"text": "x"}'] * 2
    assert [choice.finish_reason for choice in read.choices] == ["stop", "tool_calls"]
    assert (read.usage is not None) is include_usage


def test_the_official_client_reads_text_completions() -> None:
    whole = answer(False, [{"index": 0, "text": "hello", "finish_reason": "stop"}])
    with (
        httpx.Client(transport=Kept(whole)) as http,
        openai.OpenAI(base_url="http://kept/v1", api_key="x", http_client=http) as client,
    ):
        chunks = list(client.completions.create(model="m", prompt="x", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "hello"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_what_comes_in_pieces_goes_on_and_is_not_replaced() -> None:
    assembler = Assembler()
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "function_call": {"name": "f", "arguments": '{"a"'}},
        {"role": "assistant", "function_call": {"arguments": ":1}"}},
        {"audio": {"id": "au", "data": "QU"}, "annotations": [{"at": 1}]},
        {"audio": {"id": "au", "data": "JD", "expires_at": 9}, "annotations": [{"at": 2}]},
    ]
    for delta in deltas:
        assembler.add(json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode())
    (choice,) = json.loads(assembler.result())["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "f", "arguments": '{"a":1}'},
        "audio": {"id": "au", "data": "QUJD", "expires_at": 9},
        "annotations": [{"at": 1}, {"at": 2}],
    }
