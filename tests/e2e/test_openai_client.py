"""The official `openai` client, sync and async, with no setting but the address and the key."""

from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tests.platform import Platform, platform

pytestmark = pytest.mark.anyio
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "How do I cancel my order?"}
]
ANSWER = "Open My Orders and choose Cancel."


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("openai") / "data", "--workers", "2") as one:
        one.serve_shipped(replicas=1)
        one.serve_echo()
        yield one


@pytest.fixture
def client(running: Platform) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.gateway_url}/v1", api_key=running.key) as one:
        yield one


@pytest.fixture
def async_client(running: Platform) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{running.gateway_url}/v1", api_key=running.key)


def test_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="support", messages=QUESTION)
    assert (answer.choices[0].message.content or "").startswith(ANSWER)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_streamed_answer_has_the_same_text(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="support", messages=QUESTION)
    stream = client.chat.completions.create(model="support", messages=QUESTION, stream=True)
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks), "usage was not asked for"
    assert all(chunk.choices for chunk in chunks)


def test_usage_of_a_stream_where_it_is_asked_for(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="support", messages=QUESTION)
    stream = client.chat.completions.create(
        model="support", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens


def test_of_an_answer_that_breaks_off_the_question_is_counted_by_the_engine(
    running: Platform, client: openai.OpenAI
) -> None:
    long = QUESTION * 7
    whole = client.chat.completions.create(model="support", messages=long, max_tokens=1)
    stream = client.chat.completions.create(
        model="support", messages=long, stream=True, max_tokens=1500,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    seen = [next(stream) for _ in range(3)]
    stream.close()
    record = running.record(stream.response.headers["x-request-id"])["request"]
    assert whole.usage is not None
    assert record["outcome"] == "cancelled"
    assert record["tokens_input"] == whole.usage.prompt_tokens
    assert record["tokens_cached"] is not None
    assert record["tokens_output"] >= 2
    assert not any("prompt_progress" in str(chunk) for chunk in seen)


def test_progress_is_shown_to_who_asked_for_it(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="support", messages=QUESTION, stream=True, extra_body={"return_progress": True}
    )
    assert any("prompt_progress" in str(chunk) for chunk in stream)


async def test_the_async_client(async_client: openai.AsyncOpenAI) -> None:
    async with async_client as client:
        answer = await client.chat.completions.create(model="support", messages=QUESTION)
        assert (answer.choices[0].message.content or "").startswith(ANSWER)
        stream = await client.chat.completions.create(
            model="support", messages=QUESTION, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert text == answer.choices[0].message.content


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="echo", prompt="one two three")
    assert answer.choices[0].text == "one two three "
    stream = client.completions.create(model="echo", prompt="one two three", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "one two three "


async def test_async_completions(async_client: openai.AsyncOpenAI) -> None:
    async with async_client as client:
        stream = await client.completions.create(model="echo", prompt="one two", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "one two "


def test_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"echo", "support"}
    assert client.models.retrieve("support").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_limits_and_stops_reach_the_engine(client: openai.OpenAI) -> None:
    short = client.chat.completions.create(model="support", messages=QUESTION, max_tokens=3)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 3


def test_errors_are_the_clients_own_classes(running: Platform, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="nobody", messages=QUESTION)
    assert unknown.value.code == "model_not_found"
    with (
        openai.OpenAI(base_url=f"{running.gateway_url}/v1", api_key="my_no_key") as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        stranger.models.list()
    assert refused.value.code == "invalid_api_key"
    with pytest.raises(openai.InternalServerError) as broken:
        client.with_options(max_retries=0).chat.completions.create(
            model="echo", messages=QUESTION, extra_body={"echo": {"fault": "error"}}
        )
    assert broken.value.status_code == 500


def test_an_error_after_the_first_token_reaches_the_reader(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="echo", messages=QUESTION, stream=True,
        extra_body={"echo": {"fault": "error_event", "fault_after_tokens": 2}},
    )  # fmt: skip
    seen = []
    with pytest.raises(openai.APIError, match="the engine gave up"):
        for chunk in stream:
            seen.append(chunk.choices[0].delta.content or "")
    assert "".join(seen) == "How do "


def test_what_a_client_brings_is_in_the_record(running: Platform) -> None:
    key = running.client.create_key(role="caller", team="blue", person="ada")["key"]
    with openai.OpenAI(
        base_url=f"{running.gateway_url}/v1", api_key=key,
        default_headers={"x-modelyard-session": "s-17"},
    ) as client:  # fmt: skip
        # A key just made is known to every gateway process a moment later; the client retries.
        wait_until_known(client)
        answer = client.chat.completions.with_raw_response.create(
            model="support", messages=QUESTION
        )
    record = running.record(answer.headers["x-request-id"])["request"]
    assert (record["team"], record["person"], record["session"]) == ("blue", "ada", "s-17")
    assert record["client"].startswith("OpenAI/Python")
    assert record["model_version"] == "support-bot:1"
    usage = answer.parse().usage
    assert usage is not None
    assert record["tokens_input"] == usage.prompt_tokens
    assert record["tokens_output"] == usage.completion_tokens


def wait_until_known(client: openai.OpenAI) -> None:
    for _ in range(100):
        try:
            client.models.list()
        except openai.AuthenticationError:
            continue
        return
    raise AssertionError("the key stays unknown")
