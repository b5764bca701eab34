"""Limits on real requests: what is admitted, what headers say, what is settled."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.rig import Rig, endpoint, post, question, rig, service, until

from modelyard.domain.snapshot import Bounds, Fallback, Limit, Price
from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio
DOLLAR = 1_000_000_000
PRICE = Price(input=DOLLAR, output=DOLLAR)


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    server = EchoServer()
    yield server
    await server.stop()


async def ask(one: Rig, **more: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers with lower-case names, and the error or the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(post(question(**more), b"Connection: close"))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(lines[0].split(" ")[1]), headers, body


async def test_requests_per_minute_and_what_every_answer_says(
    tmp_path: Path, echo: EchoServer
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        one.offer(service("echo", endpoint(url)), bounds=Bounds(requests_per_minute=3))
        told = []
        for _ in range(3):
            status, headers, _ = await ask(one)
            assert status == 200
            told.append(headers["x-ratelimit-remaining-requests"])
        assert told == ["2", "1", "0"]
        status, headers, body = await ask(one)
        error = json.loads(body)["error"]
        assert (status, error["code"], error["type"]) == (
            429,
            "rate_limit_exceeded",
            "rate_limit_error",
        )
        assert 1 <= int(headers["retry-after"]) <= 61
        assert headers["x-ratelimit-limit-requests"] == "3"
        assert "x-should-retry" not in headers
        assert (await ask(one, model="nobody"))[0] == 404
        assert len(echo.calls) == 3
        outcomes = [record["outcome"] for record in one.records()]
    assert outcomes == ["completed"] * 3 + ["rejected"] * 2


async def test_what_was_reserved_and_not_used_is_given_back(
    tmp_path: Path, echo: EchoServer
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        one.offer(service("echo", endpoint(url)), bounds=Bounds(tokens_per_minute=300))
        for _ in range(10):
            status, headers, _ = await ask(one, max_tokens=200)
            assert status == 200
        assert headers["x-ratelimit-remaining-tokens"] == str(300 - 10 * 6)
        status, headers, body = await ask(one, max_tokens=500)
        assert status == 429
        assert "lower max_tokens" in json.loads(body)["error"]["message"]
        assert headers["x-should-retry"] == "false", "it never fits"


@pytest.mark.parametrize("stream", [False, True])
async def test_open_requests_are_bounded_and_come_back_however_they_end(
    tmp_path: Path, echo: EchoServer, stream: bool
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        one.offer(service("echo", endpoint(url)), bounds=Bounds(concurrency=2))
        echo.behaviour = Behaviour(first_token_s=3600)
        wires = [await one.connect() for _ in range(2)]
        for wire in wires:
            wire.writer.write(post(question(stream=stream)))
        await until(lambda: echo.active == 2)
        assert (await ask(one))[0] == 429
        wires[0].close()
        await until(lambda: echo.active == 1)
        echo.behaviour = Behaviour(fault="refuse")
        assert (await ask(one, stream=stream))[0] == 502
        echo.behaviour = Behaviour()
        assert (await ask(one, stream=stream))[0] == 200
        wires[1].close()


async def test_a_budget_is_spent_to_the_last_reservation_and_then_it_is_over(
    tmp_path: Path, echo: EchoServer
) -> None:
    url = await echo.start()
    echo.behaviour = Behaviour(first_token_s=0.5)
    async with rig(tmp_path) as one:
        price = Price(output=1_000_000 * 1_000_000)  # nano-dollars: 1,000,000 a token
        bounds = Bounds(budget_nano_usd=150_000_000, budget_per="total")
        one.offer(service("echo", endpoint(url), price=price), bounds=bounds)
        found = await asyncio.gather(*(ask(one, max_tokens=50) for _ in range(64)))
        answered = [one for one in found if one[0] == 200]
        assert len(answered) == 3, "64 first requests reserve no more than the budget"
        refused = next(one for one in found if one[0] == 429)
        assert json.loads(refused[2])["error"]["code"] == "insufficient_quota"
        assert "x-should-retry" not in refused[1], "open requests hold the rest"
        spent = sum(record["cost_nano_usd"] or 0 for record in one.records())
        assert spent == 3 * 3 * 1_000_000, "three tokens each"
        echo.behaviour = Behaviour()
        rest = (150_000_000 - spent) // 1_000_000
        assert (await ask(one, max_tokens=rest + 1))[0] == 429
        assert (await ask(one, max_tokens=rest))[0] == 200
        while (await ask(one, max_tokens=1))[0] == 200:
            continue
        status, headers, _ = await ask(one, max_tokens=1)
        assert (status, headers["x-should-retry"]) == (429, "false")
        assert int(headers["retry-after"]) <= 120


@pytest.mark.parametrize(("rule", "status"), [("refuse", 429), ("allow", 200)])
async def test_a_price_that_nobody_knows(
    tmp_path: Path, echo: EchoServer, rule: str, status: int
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        bounds = Bounds(budget_nano_usd=DOLLAR, unknown_price=rule)
        one.offer(service("echo", endpoint(url)), bounds=bounds)
        got, _, body = await ask(one)
        assert got == status
        assert (b"price_unknown" in body) is (status == 429)


async def test_endpoints_of_a_provider_have_prices_of_their_own(
    tmp_path: Path, echo: EchoServer
) -> None:
    """What answered is charged; what may answer is reserved, and the dearest of all."""
    url = await echo.start()
    cheap, dear = (Price(input=0, output=usd * 10**15) for usd in (1, 100))
    ends = (
        endpoint(url, "cheap", price=cheap, weight=1000.0),
        endpoint(url, "dear", price=dear, weight=1.0),
    )
    budget = Bounds(budget_nano_usd=1000 * DOLLAR, budget_per="total")
    async with rig(tmp_path) as one:
        one.offer(service("echo", *ends), bounds=budget)
        assert (await ask(one, max_tokens=11))[0] == 429, "100 dollars a token and 11 of them"
        assert (await ask(one, max_tokens=9))[0] == 200
        (answered,) = [row for row in one.records() if row["outcome"] == "completed"]
        rate = {"cheap": DOLLAR, "dear": 100 * DOLLAR}[answered["endpoint"]]
        assert answered["cost_nano_usd"] == answered["tokens_output"] * rate
        one.offer(service("echo", ends[0], endpoint(url, "unknown")), bounds=budget)
        status, _, body = await ask(one, max_tokens=1)
        assert (status, b"price_unknown" in body) == (429, True), "one of them has no price"


async def test_limits_of_a_team_and_a_service_hold_beside_the_keys_own(
    tmp_path: Path, echo: EchoServer
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        limits = (
            Limit(tenant="default", name="blue", team="blue", bounds=Bounds(requests_per_minute=3)),
            Limit(tenant="default", name="one", service="a", bounds=Bounds(requests_per_minute=1)),
            Limit(tenant="default", name="red", team="red", bounds=Bounds(requests_per_minute=1)),
        )
        services = (service(name, endpoint(url, name)) for name in ("a", "b"))
        bounds = Bounds(requests_per_minute=100)
        one.offer(*services, limits=limits, team="blue", bounds=bounds)
        got = [(await ask(one, model=name))[0] for name in ("a", "a", "b", "b", "b")]
        assert got == [200, 429, 200, 200, 429]
        _, headers, body = await ask(one, model="b")
        assert headers["x-ratelimit-limit-requests"] == "3", "of the tightest counter"
        assert "limit blue" in json.loads(body)["error"]["message"]


async def test_an_aborted_stream_is_charged_for_what_came(tmp_path: Path, echo: EchoServer) -> None:
    url = await echo.start()
    echo.behaviour = Behaviour(tokens=1000, token_interval_s=0.01)
    async with rig(tmp_path) as one:
        bounds = Bounds(budget_nano_usd=DOLLAR, tokens_per_minute=10_000)
        one.offer(service("echo", endpoint(url), price=PRICE), bounds=bounds)
        wire = await one.connect()
        wire.writer.write(post(question(stream=True)))
        await wire.reader.readuntil(b'"content":"three')
        wire.close()
        await until(lambda: not echo.active)
        await until(lambda: not one.gateway.active)
        (record,) = one.records()
        assert record["outcome"] == "cancelled"
        assert 3 <= record["tokens_output"] <= 20
        assert record["tokens_input"] > 0
        assert record["usage_estimated"]
        assert record["cost_nano_usd"] == (record["tokens_input"] + record["tokens_output"]) * 1000
        _, headers, _ = await ask(one, echo={"tokens": 1})
        left = 10_000 - record["tokens_input"] - record["tokens_output"]
        assert 0 <= left - int(headers["x-ratelimit-remaining-tokens"]) < 20


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": -5000}, {"max_completion_tokens": -1}, {"n": -5}, {"n": 0}]
)
async def test_a_number_below_nothing_is_refused_and_counts_nowhere(
    tmp_path: Path, echo: EchoServer, wrong: dict[str, int]
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        bounds = Bounds(concurrency=1, tokens_per_minute=1000, requests_per_minute=3)
        one.offer(service("echo", endpoint(url)), bounds=bounds)
        for _ in range(3):
            status, _, body = await ask(one, **wrong)
            assert status == 400
            assert next(iter(wrong)) in json.loads(body)["error"]["message"]
        status, headers, _ = await ask(one, max_tokens=0)
        assert status == 200
        assert headers["x-ratelimit-remaining-requests"] == "2"


async def test_a_budget_reserves_for_the_dearest_that_may_answer(
    tmp_path: Path, echo: EchoServer
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        cheap, dear = Price(output=1_000_000), Price(output=1_000_000 * 10_000_000)
        spare = (Fallback(service="dear"),)
        one.offer(
            service("cheap", price=cheap, fallbacks=spare),
            service("unpriced", price=cheap, fallbacks=(Fallback(service="free"),)),
            service("dear", endpoint(url, "d"), price=dear),
            service("free", endpoint(url, "f")),
            bounds=Bounds(budget_nano_usd=100_000_000, budget_per="total"),
        )
        status, _, body = await ask(one, model="cheap", max_tokens=50)
        assert (status, json.loads(body)["error"]["code"]) == (429, "insufficient_quota")
        assert (await ask(one, model="cheap", max_tokens=5))[0] == 200
        status, _, body = await ask(one, model="unpriced", max_tokens=5)
        assert (status, json.loads(body)["error"]["code"]) == (429, "price_unknown")
