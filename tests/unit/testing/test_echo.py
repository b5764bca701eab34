"""The echo engine behaves like an engine: streams and whole answers agree, prompts queue, faults
come when told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from modelyard.gateway.assemble import Assembler
from modelyard.lib.sse import EventSplitter
from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio

QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "one two three"},
]
TOOLS = [
    {"type": "function", "function": {"name": "first"}},
    {
        "type": "function",
        "function": {
            "name": "find",
            "parameters": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "limit": {"type": "integer"}},
            },
        },
    },
]
NAMED = {"type": "function", "function": {"name": "find"}}


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    server = EchoServer()
    yield server
    await server.stop()


@pytest.fixture
async def http(echo: EchoServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=await echo.start(), timeout=10) as client:
        yield client


async def ask(http: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await http.post("/chat/completions", json={"messages": QUESTION, **more})


def events_of(body: bytes) -> list[bytes]:
    return [data for _, data in EventSplitter().feed(body)]


def assembled(body: bytes) -> Any:
    assembler = Assembler()
    *events, last = events_of(body)
    assert last == b"[DONE]"
    for event in events:
        assembler.add(event)
    return json.loads(assembler.result())


@pytest.mark.parametrize(
    ("path", "more", "completion_tokens", "reason"),
    [
        ("/chat/completions", {}, 3, "stop"),
        ("/chat/completions", {"n": 3}, 9, "stop"),
        ("/chat/completions", {"max_tokens": 2}, 2, "length"),
        ("/chat/completions", {"echo": {"reasoning_tokens": 5, "tokens": 2}}, 7, "stop"),
        ("/chat/completions", {"echo": {"reasoning_tokens": 5}, "max_tokens": 4}, 4, "length"),
        ("/chat/completions", {"tools": TOOLS, "tool_choice": "required"}, 1, "tool_calls"),
        ("/chat/completions", {"tools": TOOLS, "tool_choice": NAMED, "n": 2}, 6, "tool_calls"),
        ("/chat/completions", {"tools": TOOLS, "tool_choice": "auto"}, 3, "stop"),
        ("/completions", {"prompt": "one two", "messages": None, "n": 2}, 4, "stop"),
    ],
)
async def test_a_stream_says_and_counts_what_the_whole_answer_does(
    http: httpx.AsyncClient, path: str, more: dict[str, Any], completion_tokens: int, reason: str
) -> None:
    body = {"messages": QUESTION, **more}
    whole = (await http.post(path, json=body)).json()
    streamed = await http.post(
        path, json={**body, "stream": True, "stream_options": {"include_usage": True}}
    )
    same = assembled(streamed.content)
    for answer in (whole, same):
        del answer["created"], answer["id"]
        for choice in answer["choices"]:
            for call in choice.get("message", {}).get("tool_calls", ()):
                del call["id"]
    assert same == whole
    assert whole["usage"]["completion_tokens"] == completion_tokens
    assert whole["usage"]["prompt_tokens"] == (2 if "prompt" in more else 5)
    assert {choice["finish_reason"] for choice in whole["choices"]} == {reason}


async def test_choices_are_interleaved_and_differ(http: httpx.AsyncClient) -> None:
    answer = await ask(http, n=2, stream=True)
    choices = [json.loads(event)["choices"][0] for event in events_of(answer.content)[:-1]]
    said = [(one["index"], one["delta"].get("content")) for one in choices]
    assert said[2:6] == [(0, "one "), (1, "two "), (0, "two "), (1, "three ")]


async def test_a_tool_call_comes_in_pieces_and_fits_its_schema(echo: EchoServer) -> None:
    async with openai.AsyncOpenAI(base_url=await echo.start(), api_key="x") as client:
        stream = await client.chat.completions.create(
            model="echo", messages=QUESTION, stream=True,
            tools=TOOLS, tool_choice=NAMED,
        )  # fmt: skip
        calls = [call async for chunk in stream for call in chunk.choices[0].delta.tool_calls or ()]
    assert (calls[0].function.name, calls[0].function.arguments) == ("find", "")
    assert len(calls) > 3
    arguments = json.loads("".join(call.function.arguments for call in calls))
    assert arguments == {"text": "one two three", "limit": 0}


# --- prefill and cache -----------------------------------------------------------------------


def long_prompt(words: int, last: str) -> list[dict[str, str]]:
    text = " ".join(f"w{number}" for number in range(words - 1))
    return [{"role": "user", "content": f"{text} {last}"}]


async def test_what_is_in_the_cache_is_not_computed_again(
    echo: EchoServer, http: httpx.AsyncClient
) -> None:
    echo.behaviour = Behaviour(tokens=1, cache_blocks=20, block_tokens=10)
    for last, cached in (("a", 0), ("b", 90), ("b", 90)):
        answer = (await ask(http, messages=long_prompt(100, last))).json()
        assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": cached}
    await ask(http, messages=[{"role": "user", "content": "x " * 200}])  # pushes all else out
    answer = (await ask(http, messages=long_prompt(100, "b"))).json()
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_prompts_are_computed_in_the_order_of_arrival(
    echo: EchoServer, http: httpx.AsyncClient
) -> None:
    echo.behaviour = Behaviour(tokens=1, prefill_tokens_per_s=2000)
    began_s = time.monotonic()
    ended_s: dict[str, float] = {}

    async def one(last: str) -> None:
        await ask(http, messages=long_prompt(100, last))
        ended_s[last] = time.monotonic() - began_s

    async with asyncio.TaskGroup() as group:
        for number, last in enumerate("abc"):
            group.create_task(one(last))
            while len(echo.calls) <= number:
                await asyncio.sleep(0.001)
        metrics = (await http.get(str(http.base_url).replace("/v1/", "/metrics"))).text
        assert 'vllm:num_requests_running{model_name="echo"} 1.0' in metrics
        assert 'vllm:num_requests_waiting{model_name="echo"} 2.0' in metrics
    assert list(ended_s) == ["a", "b", "c"]
    assert ended_s["a"] >= 0.05
    assert ended_s["c"] >= 0.15


async def test_who_leaves_the_queue_is_not_computed(
    echo: EchoServer, http: httpx.AsyncClient
) -> None:
    echo.behaviour = Behaviour(tokens=1, prefill_tokens_per_s=100)
    slow = asyncio.ensure_future(ask(http, messages=long_prompt(1000, "a")))
    waiting = asyncio.ensure_future(ask(http, messages=long_prompt(1000, "b")))
    while echo.prefill.waiting < 1:
        await asyncio.sleep(0.001)
    for request in (slow, waiting):
        request.cancel()
    while echo.active:
        await asyncio.sleep(0.001)
    async with asyncio.timeout(5):
        assert (await ask(http)).status_code == 200
    assert echo.cancelled == 2


# --- embeddings, metrics ---------------------------------------------------------------------


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


async def test_texts_with_the_same_words_have_near_embeddings(echo: EchoServer) -> None:
    texts = ["how do I reset my password?", "How do I reset my password", "when does it open", ""]
    async with openai.AsyncOpenAI(base_url=await echo.start(), api_key="x") as client:
        packed = await client.embeddings.create(model="echo", input=texts)
        plain = await client.embeddings.create(model="echo", input=texts, encoding_format="float")
    a, b, c, d = (one.embedding for one in plain.data)
    assert echo.calls[0]["encoding_format"] == "base64"
    assert packed.data[0].embedding == pytest.approx(a, abs=1e-6)
    assert cosine(a, b) == pytest.approx(1.0)
    assert cosine(a, c) < 0.5
    assert cosine(d, d) == pytest.approx(1.0)
    assert plain.usage.prompt_tokens == 16


@pytest.mark.parametrize("given", ["7 8", [7, 8], ["7 8"], [[7, 8]]])
async def test_every_form_of_input(http: httpx.AsyncClient, given: Any) -> None:
    answer = (await http.post("/embeddings", json={"input": given, "dimensions": 8})).json()
    (row,) = answer["data"]
    assert len(row["embedding"]) == 8
    assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


async def test_metrics_have_vllms_names(echo: EchoServer, http: httpx.AsyncClient) -> None:
    echo.behaviour = Behaviour(cache_blocks=10, block_tokens=2, first_token_s=3600)
    asking = asyncio.ensure_future(ask(http))
    while not echo.active:
        await asyncio.sleep(0.001)
    text = (await http.get(str(http.base_url).replace("/v1/", "/metrics"))).text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    name = 'vllm:%s{model_name="echo"}'
    assert values[name % "num_requests_running"] == "1.0"
    assert values[name % "num_requests_waiting"] == "0.0"
    assert values[name % "kv_cache_usage_perc"] == "0.3"
    asking.cancel()


# --- faults ----------------------------------------------------------------------------------


async def test_an_error_before_the_first_token_of_a_stream(http: httpx.AsyncClient) -> None:
    fault = {"fault": "error_first", "status": 503, "retry_after_s": 7}
    streamed = await ask(http, stream=True, echo=fault)
    assert streamed.status_code == 200
    error, done = events_of(streamed.content)
    assert json.loads(error)["error"]["status"] == 503
    assert done == b"[DONE]", "vLLM ends its broken streams like that"
    whole = await ask(http, echo=fault)
    assert (whole.status_code, whole.headers["retry-after"]) == (503, "7")


async def test_retry_after_belongs_to_some_statuses(http: httpx.AsyncClient) -> None:
    answer = await ask(http, echo={"fault": "error", "status": 500, "retry_after_s": 7})
    assert (answer.status_code, answer.headers.get("retry-after")) == (500, None)


@pytest.mark.parametrize("stream", [False, True])
async def test_compressed_whether_asked_or_not(http: httpx.AsyncClient, stream: bool) -> None:
    http.headers["accept-encoding"] = "identity"
    answer = await ask(http, stream=stream, echo={"fault": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert b"three" in answer.content, "httpx has decompressed it"


@pytest.mark.parametrize("stream", [False, True])
async def test_byte_by_byte(http: httpx.AsyncClient, stream: bool) -> None:
    slow = {"fault": "slow", "token_interval_s": 0.0001, "tokens": 1}
    async with http.stream(
        "POST", "/chat/completions", json={"messages": QUESTION, "stream": stream, "echo": slow}
    ) as answer:
        pieces = [piece async for piece in answer.aiter_raw()]
    assert len(pieces) > 20
    assert b"one " in b"".join(pieces)


async def test_only_a_share_is_faulty(http: httpx.AsyncClient) -> None:
    fault = {"fault": "error", "fault_share": 0.25}
    statuses = [(await ask(http, echo=fault)).status_code for _ in range(8)]
    assert statuses == [200, 200, 200, 500] * 2


async def test_it_knows_when_it_was_cancelled(echo: EchoServer, http: httpx.AsyncClient) -> None:
    echo.behaviour = Behaviour(first_token_s=3600)
    asking = asyncio.ensure_future(ask(http))
    while not echo.active:
        await asyncio.sleep(0.001)
    closed_at_s = time.monotonic()
    asking.cancel()
    while echo.active:
        await asyncio.sleep(0.001)
    (at_s,) = echo.cancelled_at_s
    assert closed_at_s <= at_s <= time.monotonic()


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"echo":{"fault":"x"}}', b'{"echo":{"y":1}}', b'{"echo":{"block_tokens":0}}'],
)
async def test_what_it_cannot_read_is_the_clients_fault(
    http: httpx.AsyncClient, body: bytes
) -> None:
    answer = await http.post("/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


async def test_it_says_what_it_is_told_one_text_after_the_other(http: httpx.AsyncClient) -> None:
    told = {"say": ["{ no", '{"a":  1}']}
    first = (await ask(http, echo=told)).json()["choices"][0]
    assert (first["message"]["content"], first["finish_reason"]) == ("{ no", "stop")
    more = [*QUESTION, {"role": "assistant", "content": "{ no"}, {"role": "user", "content": "?"}]
    for messages in (more, [*more, *more]):
        second = await http.post("/chat/completions", json={"messages": messages, "echo": told})
        assert second.json()["choices"][0]["message"]["content"] == '{"a":  1}'


async def test_it_may_be_told_to_misbehave(http: httpx.AsyncClient) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    asked: dict[str, Any] = {"tools": tools, "tool_choice": "required"}
    deaf = await ask(http, **asked, echo={"ignore": ["tool_choice"], "finish": "length"})
    choice = deaf.json()["choices"][0]
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "length"
    other = await ask(http, **asked, echo={"call": "g", "say": ["[]"]})
    (call,) = other.json()["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "g", "arguments": "[]"}
