"""Answers that must have a form, from a tiny model on llama.cpp, through the official clients."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import openai
import pytest
from anthropic.types import ToolParam
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, ConfigDict, Field
from tests.platform import Platform, platform

QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "How do I cancel my order?"}
]


# Llama.cpp lets a model write white space between tokens, of which this one is fond, and its
# context has 512 of them.
TERSE: Any = {"temperature": 0, "frequency_penalty": 1.0}


class Ticket(BaseModel):
    """Nothing in it is free text: a model this small would go on for ever."""

    model_config = ConfigDict(extra="forbid")
    topic: Literal["order", "parcel"]
    level: int = Field(ge=0, le=9)


TOOLS: list[Any] = [
    openai.pydantic_function_tool(Ticket, name="open_ticket", description="Open"),
    {"type": "function", "function": {"name": "close", "strict": True, "parameters": {
        "type": "object", "properties": {}, "additionalProperties": False}}},
]  # fmt: skip
NAMED: Any = {"type": "function", "function": {"name": "open_ticket"}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("guarantees") / "data") as one:
        one.serve_shipped(replicas=1)
        one.serve_echo()
        yield one


@pytest.fixture
def client(running: Platform) -> Iterator[openai.OpenAI]:
    url = f"{running.gateway_url}/v1"
    with openai.OpenAI(base_url=url, api_key=running.key, max_retries=0) as one:
        yield one


def test_an_answer_is_parsed_into_a_model(running: Platform, client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.parse(
        model="support", messages=QUESTION, response_format=Ticket
    )
    parsed = answer.parse().choices[0].message.parsed
    assert isinstance(parsed, Ticket)
    record = running.record(answer.headers["x-request-id"])["request"]
    assert record["guarantee"] == "json_schema native"


def test_a_streamed_answer_is_parsed_into_a_model(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="support", messages=QUESTION, response_format=Ticket
    ) as stream:
        kinds = [event.type for event in stream]
        completion = stream.get_final_completion()
    assert kinds.count("content.delta") > 3, "it passes as it comes"
    assert isinstance(completion.choices[0].message.parsed, Ticket)


def test_json_mode(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="support", messages=QUESTION, response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_tool_must_be_called(running: Platform, client: openai.OpenAI, choice: Any) -> None:
    answer = client.chat.completions.with_raw_response.parse(
        model="support", messages=QUESTION, tools=TOOLS, tool_choice=choice, **TERSE
    )
    (completed,) = answer.parse().choices
    (call,) = completed.message.tool_calls or ()
    assert completed.finish_reason == "tool_calls"
    assert call.id
    if choice == NAMED or call.function.name == "open_ticket":
        assert isinstance(call.function.parsed_arguments, Ticket)
    else:
        assert json.loads(call.function.arguments) == {}
    record = running.record(answer.headers["x-request-id"])["request"]
    assert record["guarantee"].startswith("tool_choice emulated")
    assert record["translated_to"] == ""


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_tool_must_be_called_in_a_stream(client: openai.OpenAI, choice: Any) -> None:
    with client.chat.completions.stream(
        model="support", messages=QUESTION, tools=TOOLS, tool_choice=choice,
        stream_options={"include_usage": True}, **TERSE,
    ) as stream:  # fmt: skip
        completion = stream.get_final_completion()
    (call,) = completion.choices[0].message.tool_calls or ()
    assert call.function.name in ("open_ticket", "close")
    assert isinstance(json.loads(call.function.arguments), dict)
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 5


def test_what_the_tool_said_goes_on(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(
        model="support", messages=QUESTION, tools=TOOLS, tool_choice="required", **TERSE
    )
    said = first.choices[0].message
    assert said.tool_calls
    result: Any = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "done"}
    second = client.chat.completions.create(
        model="support",
        messages=[*QUESTION, said.model_dump(), result],
        tools=TOOLS,  # type: ignore[list-item]
    )
    assert second.choices[0].message.content


def test_an_answer_that_stays_invalid(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as broken:
        client.chat.completions.parse(
            model="echo", messages=QUESTION, response_format=Ticket,
            extra_body={"echo": {"say": ['{"topic": "weather", "level": 3}']}},
        )  # fmt: skip
    assert broken.value.status_code == 502
    assert broken.value.code == "output_invalid"
    assert "$.topic" in broken.value.message


def test_an_answer_that_was_repaired(running: Platform, client: openai.OpenAI) -> None:
    good = '{"topic": "order", "level": 3}'
    answer = client.chat.completions.with_raw_response.parse(
        model="echo", messages=QUESTION, response_format=Ticket,
        extra_body={"echo": {"say": ["not yet", good]}},
    )  # fmt: skip
    assert answer.parse().choices[0].message.parsed == Ticket(topic="order", level=3)
    told = running.record(answer.headers["x-request-id"])
    assert told["request"]["guarantee"] == "json_schema asked in words, repaired"
    assert [one["outcome"] for one in told["attempts"]] == ["output_invalid", "ok"]


def test_what_an_engine_cannot_do_is_said(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="echo", messages=QUESTION, logprobs=True)
    assert refused.value.code == "unsupported_parameter"
    answer = client.chat.completions.create(model="support", messages=QUESTION, logprobs=True)
    assert answer.choices[0].logprobs is not None


def test_stop_of_an_engine_without(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="echo", messages=QUESTION, stop="my", stream=True)
    chunks = list(stream)
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "How do I cancel "
    assert chunks[-1].choices[0].finish_reason == "stop"


# --- other dialects ------------------------------------------------------------------------

TOOL: ToolParam = {
    "name": "open_ticket",
    "description": "Open a ticket",
    "input_schema": Ticket.model_json_schema(),
}


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "open_ticket"}])
@pytest.mark.parametrize("stream", [False, True])
def test_an_anthropic_client_forces_a_tool(running: Platform, choice: Any, stream: bool) -> None:
    asked: Any = {
        "model": "support", "max_tokens": 400, "tools": [TOOL], "tool_choice": choice,
        "messages": [{"role": "user", "content": "How do I cancel my order?"}],
        "extra_body": TERSE,
    }  # fmt: skip
    url = running.gateway_url
    with anthropic.Anthropic(base_url=url, api_key=running.key, max_retries=0) as client:
        if stream:
            with client.messages.stream(**asked) as events:
                answer: Any = events.get_final_message()
        else:
            answer = client.messages.create(**asked)
    (block,) = answer.content
    assert (block.type, block.name, answer.stop_reason) == ("tool_use", "open_ticket", "tool_use")
    Ticket.model_validate(block.input)


def test_a_response_is_parsed_into_a_model(client: openai.OpenAI) -> None:
    answer = client.responses.parse(
        model="support", input="How do I cancel my order?", text_format=Ticket
    )
    assert isinstance(answer.output_parsed, Ticket)


def test_a_response_must_call_a_tool(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "open_ticket", "strict": True,
                 "parameters": Ticket.model_json_schema()}  # fmt: skip
    answer = client.responses.create(
        model="support",
        input="How do I cancel my order?",
        tools=[tool],
        tool_choice="required",
        extra_body=TERSE,
    )
    (item,) = answer.output
    assert item.type == "function_call"
    Ticket.model_validate_json(item.arguments)


# --- documents -----------------------------------------------------------------------------


def test_a_service_may_say_what_its_engine_does(running: Platform, client: openai.OpenAI) -> None:
    running.apply(
        "loose",
        engine={"name": "echo", "lacks": ["n"], "keeps": ["json_schema"]},
        guarantees={"json_schema": "off"},
    )
    answer = client.chat.completions.create(
        model="loose", messages=QUESTION, response_format={"type": "json_object"}, stop="my"
    )
    assert (answer.choices[0].message.content or "").split() == QUESTION[0]["content"].split()
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="loose", messages=QUESTION, n=2)
