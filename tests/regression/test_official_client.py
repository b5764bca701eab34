"""What the official `openai` client makes of every refusal: its own classes, its own retries.

Beside `tests/e2e/test_openai_client.py`, which holds answers; here are errors, and that the client
stops where it must and comes back when it is told to.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tests.unit.gateway.rig import KEY, Rig, endpoint, rig, service, until

from modelyard.domain.snapshot import Bounds, Price
from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "one two three"}]
DOLLAR = 1_000_000_000


class Desk:
    """A client, the gateway it talks to, and the upstream behind it."""

    def __init__(self, one: Rig, server: EchoServer, client: openai.AsyncOpenAI) -> None:
        self.one = one
        self.server = server
        self.client = client

    async def ask(self, model: str = "echo", **more: Any) -> str:
        """What it says."""
        answer = await self.client.chat.completions.create(model=model, messages=QUESTION, **more)
        return answer.choices[0].message.content or ""

    @property
    def requests(self) -> int:
        """How many came to the gateway."""
        return len(self.one.records())


@asynccontextmanager
async def desk(
    folder: Path, bounds: Bounds | None = None, price: Price | None = None, key: bytes = KEY,
    **client: Any,
) -> AsyncIterator[Desk]:  # fmt: skip
    server = EchoServer()
    async with rig(folder) as one:
        target = endpoint(await server.start())
        one.offer(service("echo", target, price=price), **({"bounds": bounds} if bounds else {}))
        url = f"http://127.0.0.1:{one.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=key.decode(), **client) as found:
            yield Desk(one, server, found)
    await server.stop()


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ({"fault": "error", "status": 400}, openai.BadRequestError, "server_error"),
        ({"fault": "error", "status": 401}, openai.InternalServerError, "upstream_credentials"),
        ({"fault": "error", "status": 404}, openai.NotFoundError, "server_error"),
        ({"fault": "error", "status": 409}, openai.ConflictError, "server_error"),
        ({"fault": "error", "status": 422}, openai.UnprocessableEntityError, "server_error"),
        ({"fault": "error", "status": 429}, openai.RateLimitError, "server_error"),
        ({"fault": "error", "status": 500}, openai.InternalServerError, "server_error"),
        ({"fault": "refuse"}, openai.InternalServerError, "upstream_closed"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstreams_error_is_a_class_of_the_clients(
    tmp_path: Path, fault: dict[str, Any], kind: type[openai.APIStatusError], code: str,
    stream: bool,
) -> None:  # fmt: skip
    async with desk(tmp_path, max_retries=0) as one:
        with pytest.raises(kind) as raised:
            await one.ask(stream=stream, extra_body={"echo": fault})
        assert raised.value.code == code
        assert raised.value.request_id == one.one.records()[0]["request_id"]


async def test_our_own_refusals_are_classes_of_the_clients(tmp_path: Path) -> None:
    async with desk(tmp_path, max_retries=2) as one:
        with pytest.raises(openai.NotFoundError) as unknown:
            await one.ask("nobody")
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as bad:
            await one.ask(max_tokens="many")
        assert bad.value.type == "invalid_request_error"
        assert one.requests == 2, "the client did not try again what cannot get better"
        large = "x" * (one.one.gateway.settings.max_body_bytes + 1)
        with pytest.raises(openai.APIStatusError) as over:
            await one.ask(user=large)
        assert (over.value.status_code, over.value.code) == (413, "body_too_large")
        with pytest.raises(openai.BadRequestError, match="provide a `model`"):
            await one.client.images.generate(prompt="x")
        with pytest.raises(openai.NotFoundError):
            await one.client.vector_stores.list()


async def test_a_wrong_key_is_not_tried_twice(tmp_path: Path) -> None:
    async with desk(tmp_path, key=b"my_abc_wrong", max_retries=2) as one:
        with pytest.raises(openai.AuthenticationError) as refused:
            await one.ask()
        assert refused.value.code == "invalid_api_key"
        assert one.requests == 1


async def test_a_spent_budget_stops_the_client(tmp_path: Path) -> None:
    """429 alone would be tried again; `x-should-retry: false` says that it is of no use."""
    bounds = Bounds(budget_nano_usd=3 * DOLLAR, budget_per="total")
    price = Price(output=1_000_000 * DOLLAR)
    async with desk(tmp_path, bounds, price, max_retries=5) as one:
        assert await one.ask(max_tokens=3) == "one two three "
        with pytest.raises(openai.RateLimitError) as spent:
            await one.ask(max_tokens=3)
        assert spent.value.code == "insufficient_quota"
        assert one.requests == 2


async def test_a_full_place_is_waited_for_and_then_it_works(tmp_path: Path) -> None:
    """The client comes back after as long as it is told, and finds a place."""
    async with desk(tmp_path, Bounds(concurrency=1), max_retries=2) as one:
        one.server.behaviour = Behaviour(first_token_s=0.3)
        first = asyncio.create_task(one.ask())
        await until(lambda: one.server.active)
        began_s = time.monotonic()
        assert await one.ask() == "one two three "
        assert time.monotonic() - began_s >= 1.0, "not before `retry-after-ms`"
        assert await first == "one two three "
        assert [row["status"] for row in one.one.records()] == [429, 200, 200]


async def test_a_minute_that_is_full_is_told_in_time_the_client_believes(tmp_path: Path) -> None:
    async with desk(tmp_path, Bounds(requests_per_minute=1), max_retries=0) as one:
        raw = await one.client.chat.completions.with_raw_response.create(
            model="echo", messages=QUESTION
        )
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as full:
            await one.ask()
        headers = full.value.response.headers
        assert full.value.code == "rate_limit_exceeded"
        assert 0 < int(headers["retry-after"]) <= 61 <= 120
        assert 0 <= int(headers["retry-after"]) * 1000 - int(headers["retry-after-ms"]) < 1000


async def test_the_wait_of_an_upstream_reaches_the_client(tmp_path: Path) -> None:
    async with desk(tmp_path, max_retries=1) as one:
        one.server.behaviour = Behaviour(
            fault="error", status=429, retry_after_s=1, fault_share=0.5
        )
        assert await one.ask() == "one two three "
        began_s = time.monotonic()
        assert await one.ask() == "one two three "
        assert time.monotonic() - began_s >= 1.0
        assert one.requests == 3


@pytest.mark.parametrize("fault", ["truncate", "garbage", "error_event"])
async def test_a_stream_that_breaks_off_raises_and_never_just_ends(
    tmp_path: Path, fault: str
) -> None:
    async with desk(tmp_path, max_retries=2) as one:
        behaviour = {"fault": fault, "fault_after_tokens": 2}
        stream = await one.client.chat.completions.create(
            model="echo", messages=QUESTION, stream=True, extra_body={"echo": behaviour}
        )
        said = ""
        with pytest.raises(openai.APIError):
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
        assert said == "one two "
        assert one.requests == 1, "what was begun is not begun again"
        await stream.close()


async def test_a_client_that_breaks_out_of_a_stream_stops_the_upstream(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        behaviour = {"tokens": 5000, "token_interval_s": 0.01}
        stream = await one.client.chat.completions.create(
            model="echo", messages=QUESTION, stream=True, extra_body={"echo": behaviour}
        )
        async for _ in stream:
            break
        await stream.close()
        await until(lambda: one.server.cancelled == 1)
        await until(lambda: one.requests)
        assert one.one.records()[0]["outcome"] == "cancelled"
