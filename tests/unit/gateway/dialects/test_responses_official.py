"""The official client reads what is written here: its own bookkeeping of streams agrees."""

from collections.abc import Iterable
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from tests.unit.gateway.dialects.responses_rig import CODEX, answers, asked

from modelyard.domain.chat import (
    Answer,
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Started,
    Text,
    TextPiece,
    ToolCall,
    Usage,
    Used,
    unfolded,
)
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.responses import RESPONSES

TOLD = Told(429, "slow down", "rate_limit_error", "limited")


def official_client(status: int, content: bytes, kind: str = "application/json") -> openai.OpenAI:
    """The official client, before a server that answers this."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == RESPONSES.route
        return httpx.Response(status, content=content, headers={"content-type": kind})

    return openai.OpenAI(
        api_key="k",
        base_url="http://gateway/v1",
        max_retries=0,
        http_client=httpx.Client(transport=httpx.MockTransport(answer)),
    )


def stream_of(events: Iterable[Event], request: Any = None) -> bytes:
    writer = RESPONSES.writer(request or asked(), "req-1", 77)
    return b"".join([*map(writer.write, events), writer.end()])


@given(answers())
@settings(max_examples=40, deadline=None)
def test_a_stream_is_followed_to_its_end(answer: Answer) -> None:
    content = stream_of(unfolded(answer))
    with (
        official_client(200, content, "text/event-stream") as client,
        client.responses.stream(model="m", input="hi") as stream,
    ):
        seen = [event.type for event in stream]
        cut = answer.finish in ("length", "content_filter")
        assert seen[-1] == ("response.incomplete" if cut else "response.completed")
        if not cut:
            whole = stream.get_final_response()
            said = "".join(part.text for part in answer.parts if isinstance(part, Text))
            assert whole.output_text == said


def test_what_codex_would_see() -> None:
    request = RESPONSES.read_request(httpx.Request("POST", "http://x", json=CODEX).content)
    content = stream_of(
        [
            Started("chatcmpl-1", "coder", 5), TextPiece("I patch."),
            CallBegun(0, "c1", "apply_patch"), CallPiece(0, '{"input":"*** Begin'),
            CallPiece(0, ' Patch"}'), CallBegun(1, "c2", "exec_command"), CallPiece(1, "{}"),
            Used(Usage(input_tokens=3, output_tokens=2)), Ended("tool_calls"),
        ],
        request,
    )  # fmt: skip
    with (
        official_client(200, content, "text/event-stream") as client,
        client.responses.stream(model="m", input="hi") as stream,
    ):
        done = [event.item for event in stream if event.type == "response.output_item.done"]
        assert [item.type for item in done] == ["message", "custom_tool_call", "function_call"]
        assert done[1].type == "custom_tool_call"
        assert (done[1].input, done[1].call_id) == ("*** Begin Patch", "c1")
        usage = stream.get_final_response().usage
        assert usage is not None
        assert usage.total_tokens == 5


def test_a_whole_answer() -> None:
    answer = Answer(id="a", parts=(Text("hi"), ToolCall("c", "f", "{}")), finish="tool_calls")
    content = RESPONSES.write_answer(answer, asked())
    with official_client(200, content) as client:
        whole = client.responses.create(model="m", input="hi")
    assert whole.output_text == "hi"
    assert whole.status == "completed"


def test_an_error_is_the_clients_own() -> None:
    with (
        official_client(429, RESPONSES.envelope(TOLD)) as client,
        pytest.raises(openai.RateLimitError) as raised,
    ):
        client.responses.create(model="m", input="hi")
    assert raised.value.code == "limited"


def test_a_stream_that_breaks_off_is_a_failed_response() -> None:
    writer = RESPONSES.writer(asked(), "req-1", 77)
    content = writer.write(TextPiece("a")) + writer.fail(TOLD)
    with (
        official_client(200, content, "text/event-stream") as client,
        client.responses.create(model="m", input="hi", stream=True) as stream,
    ):
        *_, last = stream
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.message == "slow down"
