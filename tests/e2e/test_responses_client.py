"""The official `openai` client's responses, sync and async, over endpoints that speak only chat."""

from collections.abc import Iterator

import openai
import pytest
from openai.types.responses import FunctionToolParam
from tests.platform import Platform, platform

pytestmark = pytest.mark.anyio
QUESTION = "How do I cancel my order?"
ANSWER = "Open My Orders and choose Cancel."
TOOL: FunctionToolParam = {
    "type": "function",
    "name": "find_order",
    "description": "Find an order",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"words": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["words"],
    },
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("responses") / "data") as one:
        one.serve_shipped(replicas=1)
        one.serve_echo()
        yield one


@pytest.fixture
def client(running: Platform) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.gateway_url}/v1", api_key=running.key) as one:
        yield one


def test_a_whole_answer(running: Platform, client: openai.OpenAI) -> None:
    answer = client.responses.create(model="support", input=QUESTION, max_output_tokens=100)
    assert answer.output_text.startswith(ANSWER)
    assert answer.status == "completed"
    assert answer.usage is not None
    record = running.record(answer._request_id or "")["request"]
    assert record["route"] == "/v1/responses"
    assert record["tokens_input"] == answer.usage.input_tokens
    assert record["tokens_output"] == answer.usage.output_tokens


def test_a_stream_has_the_same_text(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="support", input=QUESTION, max_output_tokens=100)
    events = list(client.responses.create(model="support", input=QUESTION, stream=True,
                                          max_output_tokens=100))  # fmt: skip
    assert events[0].type == "response.created"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == text
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(events)))


async def test_the_async_client(running: Platform) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{running.gateway_url}/v1", api_key=running.key
    ) as client:
        answer = await client.responses.create(
            model="support", input=QUESTION, max_output_tokens=9, instructions="Be short."
        )
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_a_tool_is_called_and_answered(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model="echo", input=QUESTION, tools=[TOOL], tool_choice="required"
    )
    (call,) = answer.output
    assert call.type == "function_call"
    assert call.name == "find_order"
    last = client.responses.create(
        model="echo",
        tools=[TOOL],
        input=[
            {"role": "user", "content": QUESTION},
            {"type": "function_call", "call_id": call.call_id, "name": call.name,
             "arguments": call.arguments},
            {"type": "function_call_output", "call_id": call.call_id, "output": "found nothing"},
        ],
    )  # fmt: skip
    assert last.output_text.strip() == "found nothing"


def test_reasoning_is_an_item_of_its_own(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model="echo", input=QUESTION, extra_body={"echo": {"reasoning_tokens": 3}}
    )
    assert [item.type for item in answer.output] == ["reasoning", "message"]


def test_errors_are_the_clients_own_classes(running: Platform) -> None:
    with openai.OpenAI(
        base_url=f"{running.gateway_url}/v1", api_key=running.key, max_retries=0
    ) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.responses.create(model="nope", input=QUESTION)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError, match="input"):
            client.responses.create(model="echo", input=[{"type": "message"}])  # type: ignore[list-item]
        fault = {"fault": "error", "status": 429}
        with pytest.raises(openai.RateLimitError):
            client.responses.create(model="echo", input=QUESTION, extra_body={"echo": fault})


def test_an_error_after_the_first_token_is_a_failed_response(client: openai.OpenAI) -> None:
    fault = {"fault": "error_event", "fault_after_tokens": 2}
    stream = client.responses.create(
        model="echo", input=QUESTION, stream=True, extra_body={"echo": fault}
    )
    events = list(stream)
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None
    assert "gave up" in events[-1].response.error.message
    assert not any(event.type == "response.completed" for event in events)
