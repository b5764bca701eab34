"""The official `anthropic` client, sync and async, against endpoints that speak only chat: our own
llama.cpp replica, and the echo engine for tools, thinking and faults."""

from collections.abc import Iterator

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam
from tests.platform import Platform, platform

pytestmark = pytest.mark.anyio
QUESTION: list[MessageParam] = [{"role": "user", "content": "How do I cancel my order?"}]
ANSWER = "Open My Orders and choose Cancel."
TOOL: ToolParam = {
    "name": "find_order",
    "description": "Find an order",
    "input_schema": {
        "type": "object",
        "properties": {"words": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["words"],
    },
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("anthropic") / "data") as one:
        one.serve_shipped(replicas=1)
        one.serve_echo()
        yield one


@pytest.fixture
def client(running: Platform) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=running.gateway_url, api_key=running.key) as one:
        yield one


def test_a_whole_answer(running: Platform, client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="support", max_tokens=100, messages=QUESTION)
    assert answer.type == "message"
    assert answer.content[0].type == "text"
    assert answer.content[0].text.startswith(ANSWER)
    assert answer.stop_reason == "end_turn"
    record = running.record(answer._request_id or "")["request"]
    assert record["route"] == "/v1/messages"
    assert record["outcome"] == "completed"
    cached = answer.usage.cache_read_input_tokens or 0
    assert record["tokens_input"] == answer.usage.input_tokens + cached
    assert record["tokens_output"] == answer.usage.output_tokens


def test_a_stream_has_the_same_text(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(model="support", max_tokens=100, messages=QUESTION)
    with client.messages.stream(model="support", max_tokens=100, messages=QUESTION) as stream:
        text = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert whole.content[0].type == "text"
    assert text == whole.content[0].text
    assert last.stop_reason == "end_turn"
    assert last.usage.output_tokens == whole.usage.output_tokens


async def test_the_async_client(running: Platform) -> None:
    async with (
        anthropic.AsyncAnthropic(base_url=running.gateway_url, api_key=running.key) as client,
        client.messages.stream(model="support", max_tokens=9, messages=QUESTION) as stream,
    ):
        last = await stream.get_final_message()
    assert last.stop_reason == "max_tokens"
    assert last.usage.output_tokens == 9


def test_questions_are_counted_by_the_engine(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(model="support", max_tokens=1, messages=QUESTION)
    counted = client.messages.count_tokens(model="support", messages=QUESTION)
    cached = whole.usage.cache_read_input_tokens or 0
    assert counted.input_tokens == whole.usage.input_tokens + cached


def test_where_the_engine_cannot_count_an_estimate_is_marked(client: anthropic.Anthropic) -> None:
    answer = client.messages.with_raw_response.count_tokens(model="echo", messages=QUESTION)
    assert answer.headers["x-modelyard-estimated"] == "true"
    assert answer.parse().input_tokens > 5


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_answered(client: anthropic.Anthropic, stream: bool) -> None:
    ask = {"model": "echo", "max_tokens": 100, "tools": [TOOL], "tool_choice": {"type": "any"}}
    if stream:
        with client.messages.stream(messages=QUESTION, **ask) as events:  # type: ignore[call-overload]
            answer = events.get_final_message()
    else:
        answer = client.messages.create(messages=QUESTION, **ask)  # type: ignore[call-overload]
    assert answer.stop_reason == "tool_use"
    (call,) = answer.content
    assert (call.type, call.name) == ("tool_use", "find_order")
    assert call.input == {"words": "How do I cancel my order?", "count": 0}
    after: list[MessageParam] = [
        *QUESTION,
        {"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": call.name,
                                           "input": call.input}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id,
                                      "content": "found nothing"}]},
    ]  # fmt: skip
    last = client.messages.create(model="echo", max_tokens=100, messages=after, tools=[TOOL])
    assert last.content[0].type == "text"
    assert last.content[0].text.strip() == "found nothing"


def test_thinking_comes_in_blocks_of_its_own(client: anthropic.Anthropic) -> None:
    kinds: list[str] = []
    with client.messages.stream(
        model="echo",
        max_tokens=100,
        messages=QUESTION,
        extra_body={"echo": {"reasoning_tokens": 3}},
    ) as stream:
        for event in stream:
            if event.type == "content_block_delta":
                block = stream.current_message_snapshot.content[event.index]
                kinds.append(f"{block.type}:{event.delta.type}")
        answer = stream.get_final_message()
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert set(kinds) == {
        "thinking:thinking_delta", "thinking:signature_delta", "text:text_delta",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "kind"),
    [
        ({"model": "nope"}, anthropic.NotFoundError, "not_found_error"),
        ({"messages": []}, anthropic.BadRequestError, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]},
         anthropic.BadRequestError, "invalid_request_error"),
        ({"extra_body": {"echo": {"fault": "error", "status": 429}}},
         anthropic.RateLimitError, "rate_limit_error"),
        ({"extra_body": {"echo": {"fault": "error", "status": 500}}},
         anthropic.InternalServerError, "api_error"),
    ],
)  # fmt: skip
def test_errors_are_the_clients_own_classes(
    running: Platform, changes: dict[str, object], error: type[anthropic.APIStatusError], kind: str
) -> None:
    client = anthropic.Anthropic(base_url=running.gateway_url, api_key=running.key, max_retries=0)
    asked = {"model": "echo", "max_tokens": 10, "messages": QUESTION, **changes}
    with client, pytest.raises(error) as raised:
        client.messages.create(**asked)  # type: ignore[call-overload]
    body = raised.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert body["error"]["type"] == kind


def test_a_bad_key_is_an_authentication_error(running: Platform) -> None:
    with (
        anthropic.Anthropic(base_url=running.gateway_url, api_key="my_bad_key") as client,
        pytest.raises(anthropic.AuthenticationError) as raised,
    ):
        client.messages.create(model="echo", max_tokens=1, messages=QUESTION)
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["error"]["type"] == "authentication_error"


def test_an_error_after_the_first_token_reaches_the_reader(client: anthropic.Anthropic) -> None:
    with (
        pytest.raises(anthropic.APIStatusError, match="gave up"),
        client.messages.stream(
            model="echo", max_tokens=100, messages=QUESTION,
            extra_body={"echo": {"fault": "error_event", "fault_after_tokens": 2}},
        ) as stream,
    ):  # fmt: skip
        for _ in stream:
            continue


def test_models_are_listed_in_its_form(client: anthropic.Anthropic) -> None:
    listed = list(client.models.list())
    assert [(one.id, one.type) for one in listed] == [("echo", "model"), ("support", "model")]
    assert client.models.retrieve("echo").display_name == "echo"
