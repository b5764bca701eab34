"""Where requests go: retries, fallbacks, queue, canary, shadow; each on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.rig import Rig, endpoint, post, question, rig, service, until

from modelyard.domain.snapshot import (
    Canary,
    Fallback,
    Queue,
    Retries,
    Revision,
    Shadow,
    Timeouts,
)
from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def echoes(*behaviours: Behaviour) -> AsyncIterator[tuple[list[EchoServer], list[str]]]:
    """Echo servers and their URLs."""
    servers = [EchoServer(behaviour) for behaviour in behaviours]
    try:
        yield servers, [await server.start() for server in servers]
    finally:
        for server in servers:
            await server.stop()


async def ask(one: Rig, **more: Any) -> tuple[int, bytes, bytes]:
    """Status, head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(post(question(**more), b"Connection: close"))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split(b" ")[1]), head, body


def calls(servers: list[EchoServer]) -> list[int]:
    return [len(server.calls) for server in servers]


# --- retries and fallbacks -----------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "bad",
    [
        Behaviour(fault="refuse"),
        Behaviour(fault="error", status=500),
        Behaviour(fault="error", status=429),
        Behaviour(fault="error", status=401),
        Behaviour(fault="garbage"),
    ],
)
async def test_another_endpoint_answers(tmp_path: Path, bad: Behaviour, stream: bool) -> None:
    async with echoes(bad, Behaviour()) as (servers, urls), rig(tmp_path) as one:
        ends = [endpoint(url, f"e{n}", slots=1) for n, url in enumerate(urls)]
        one.offer(service("echo", *ends))
        for _ in range(12):
            status, _, body = await ask(one, stream=stream)
            assert status == 200
            assert body.count(b"[DONE]") == stream
        assert calls(servers)[1] == 12
        assert calls(servers)[0] < 6, "what fails is left alone"


async def test_retries_keep_to_their_number_and_their_budget(tmp_path: Path) -> None:
    bad = Behaviour(fault="error", status=503)
    async with echoes(bad, bad, bad, bad) as (servers, urls), rig(tmp_path) as one:
        ends = [endpoint(url, f"e{n}") for n, url in enumerate(urls)]
        one.offer(service("echo", *ends, retries=Retries(attempts=2, budget=0.0)))
        status, head, body = await ask(one)
        assert status == 503
        assert sum(calls(servers)) == 2
        assert b"upstream" in head.lower()
        assert json.loads(body)["error"]["message"]
        for _ in range(40):
            await ask(one)
        spent = sum(calls(servers)) - 42
        assert spent <= 11, "ten saved at the start, and one a second"


async def test_an_error_of_the_upstream_passes_with_its_wait(tmp_path: Path) -> None:
    bad = Behaviour(fault="error", status=429, retry_after_s=7)
    async with echoes(bad) as (servers, urls), rig(tmp_path) as one:
        one.offer(service("echo", endpoint(urls[0])))
        status, head, _ = await ask(one)
        assert status == 429
        assert b"Retry-After: 7" in head
        assert calls(servers) == [1]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_service_falls_back_by_the_class_of_its_failure(
    tmp_path: Path, stream: bool
) -> None:
    down, late, long = (
        Behaviour(fault="error", status=503),
        Behaviour(first_token_s=3600),
        Behaviour(fault="error", status=400),
    )
    async with echoes(down, late, long, Behaviour()) as (servers, urls), rig(tmp_path) as one:
        stands_in = (Fallback(service="spare"),)
        for_long = (Fallback(service="spare", on=("context_length",)),)
        hasty = Timeouts(first_token_s=0.1) if stream else Timeouts(total_s=30)
        one.offer(
            service("down", endpoint(urls[0], "d"), fallbacks=stands_in),
            service("late", endpoint(urls[1], "l"), fallbacks=stands_in, timeouts=hasty),
            service("long", endpoint(urls[2], "c"), fallbacks=for_long),
            service("nothing", fallbacks=stands_in),
            service("spare", endpoint(urls[3], "s")),
        )
        for name in ("down", "nothing", *(["late"] if stream else [])):
            status, head, _ = await ask(one, model=name, stream=stream)
            assert status == 200, name
            assert b"X-Modelyard-Revision: spare-1" in head
            record = one.records()[-1]
            assert (record["service"], record["fallback"]) == (name, "spare")
        assert servers[3].calls[0]["model"] == "spare"
        status, _, _ = await ask(one, model="long", stream=stream)
        assert status == 400, "a mistake of the client's is no reason to ask somebody else"


async def test_a_context_that_is_too_long_is_asked_elsewhere_and_blames_nobody(
    tmp_path: Path,
) -> None:
    async def too_long(_: bytes, writer: asyncio.StreamWriter) -> bool:
        body = b'{"error":{"message":"maximum context length is 8 tokens","code":400}}'
        writer.write(b"HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        return True

    from tests.unit.gateway.rig import upstream

    async with (
        upstream(too_long) as url,
        echoes(Behaviour()) as (servers, urls),
        rig(tmp_path) as one,
    ):
        one.offer(
            service("short", endpoint(url, "a"), endpoint(url, "b"),
                    fallbacks=(Fallback(service="long", on=("context_length",)),)),
            service("long", endpoint(urls[0], "l")),
            service("alone", endpoint(url, "c")),
        )  # fmt: skip
        assert (await ask(one, model="short"))[0] == 200
        assert one.records()[-1]["attempts"] == 2, "one endpoint says it for all"
        assert not one.gateway.catalog.endpoints.by_id["a"].breaker.failures
        status, _, body = await ask(one, model="alone")
        assert (status, json.loads(body)["error"]["code"]) == (400, "context_length_exceeded")
        assert calls(servers) == [1]


async def test_a_total_limit_ends_a_request_whatever_it_does(tmp_path: Path) -> None:
    drips = Behaviour(tokens=10_000, token_interval_s=0.02)
    async with echoes(drips, drips) as (servers, urls), rig(tmp_path) as one:
        ends = [endpoint(url, f"e{n}") for n, url in enumerate(urls)]
        one.offer(service("echo", *ends, timeouts=Timeouts(total_s=0.3)))
        status, _, body = await ask(one)
        assert (status, json.loads(body)["error"]["code"]) == (504, "total_timeout")
        status, _, body = await ask(one, stream=True)
        assert status == 200
        assert b"total_timeout" in body
        assert b"[DONE]" not in body
        assert sum(calls(servers)) == 2, "there is no time left for another try"


# --- queue ---------------------------------------------------------------------------------


async def test_no_more_than_the_slots_are_sent_at_once_and_all_are_answered(tmp_path: Path) -> None:
    busy = Behaviour(first_token_s=0.05)
    async with echoes(busy) as (servers, urls), rig(tmp_path) as one:
        one.offer(service("echo", endpoint(urls[0], slots=2), queue=Queue(per_slot=1.0)))
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, servers[0].active)
                await asyncio.sleep(0.002)

        watching = asyncio.create_task(watch())
        found = await asyncio.gather(*(ask(one) for _ in range(10)))
        watching.cancel()
        assert [status for status, _, _ in found] == [200] * 10
        assert most == 2
        waits = sorted(record["queue_us"] or 0 for record in one.records())
    assert waits[:2] == [0, 0]
    assert waits[-1] > 100_000


async def test_a_full_queue_says_how_long_and_a_late_turn_is_given_up(tmp_path: Path) -> None:
    async with echoes(Behaviour(first_token_s=3600)) as (servers, urls), rig(tmp_path) as one:
        rules = Queue(per_slot=1.0, limit=1, timeout_s=0.3)
        one.offer(service("echo", endpoint(urls[0], slots=1), queue=rules))
        wires = [await one.connect() for _ in range(2)]
        wires[0].writer.write(post(question()))
        await until(lambda: servers[0].active)
        wires[1].writer.write(post(question()))
        await until(lambda: len(one.gateway.active) == 2)
        status, head, body = await ask(one)
        assert (status, json.loads(body)["error"]["code"]) == (429, "queue_full")
        assert b"Retry-After: " in head
        status, answer = await wires[1].answer()
        assert (status, json.loads(answer)["error"]["code"]) == (503, "queue_timeout")
        wires[0].close()


async def test_whoever_waits_and_leaves_gives_up_the_place(tmp_path: Path) -> None:
    async with echoes(Behaviour(first_token_s=0.2)) as (servers, urls), rig(tmp_path) as one:
        one.offer(service("echo", endpoint(urls[0], slots=1), queue=Queue(per_slot=1.0)))
        wires = [await one.connect() for _ in range(3)]
        for number, wire in enumerate(wires):
            wire.writer.write(post(question()))
            await until(lambda number=number: len(one.gateway.active) == number + 1)
        wires[1].close()
        assert (await wires[2].answer())[0] == 200
        assert calls(servers) == [2]
        outcomes = sorted(record["outcome"] for record in one.records())
    assert outcomes == ["cancelled", "completed", "completed"]


async def test_those_who_wait_survive_a_new_snapshot(tmp_path: Path) -> None:
    async with echoes(Behaviour(first_token_s=0.2)) as (_, urls), rig(tmp_path) as one:
        rules = [Queue(per_slot=1.0), Queue(per_slot=1.0, limit=7), Queue()]
        offers = [service("echo", endpoint(urls[0], slots=1), queue=rule) for rule in rules]
        one.offer(offers[0])
        asking = [asyncio.create_task(ask(one)) for _ in range(4)]
        await until(lambda: len(one.gateway.active) == 4)
        one.offer(offers[1])
        await asyncio.sleep(0.05)
        one.offer(offers[2])
        assert [(await one)[0] for one in asking] == [200] * 4


# --- canary and shadow ---------------------------------------------------------------------


async def test_a_canary_answers_its_share_under_its_own_revision(tmp_path: Path) -> None:
    async with echoes(Behaviour(), Behaviour()) as (servers, urls), rig(tmp_path) as one:
        other = Revision(id="echo-2", endpoints=(endpoint(urls[1], "canary"),), model="m2")
        split = Canary(revision=other, weight=0.5, sticky="none")
        one.offer(service("echo", endpoint(urls[0], "stable"), canary=split))
        for _ in range(60):
            assert (await ask(one))[0] == 200
        share = len(servers[1].calls) / 60
        assert 0.25 < share < 0.75
        rows = {(row["revision"], row["model"], row["endpoint"]) for row in one.records()}
    assert rows == {("echo-1", "", "stable"), ("echo-2", "m2", "canary")}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_shadow_gets_a_copy_and_its_answer_is_only_recorded(
    tmp_path: Path, stream: bool
) -> None:
    slow = Behaviour(first_token_s=0.1, tokens=7)
    async with echoes(Behaviour(), slow) as (servers, urls), rig(tmp_path) as one:
        one.offer(
            service("echo", endpoint(urls[0], "a"), shadow=Shadow(service="dark")),
            service("dark", endpoint(urls[1], "b")),
        )
        status, _, body = await ask(one, stream=stream, user="somebody")
        assert status == 200
        assert b"dark" not in body
        await until(lambda: not one.gateway.active)
        first, copy = one.records()
        assert (first["service"], first["tokens_output"], first["caused_by"]) == ("echo", 3, "")
        assert (copy["service"], copy["tokens_output"]) == ("dark", 7)
        assert copy["caused_by"] == first["request_id"]
        assert servers[1].calls[0] == {**servers[0].calls[0], "model": "dark"}
        assert one.gateway.shadows == 0


async def test_a_dead_shadow_hurts_nobody_and_does_not_pile_up(tmp_path: Path) -> None:
    hangs = Behaviour(first_token_s=3600)
    async with echoes(Behaviour(), hangs) as (servers, urls), rig(tmp_path) as one:
        one.offer(
            service("echo", endpoint(urls[0], "a"), shadow=Shadow(service="dark")),
            service("dark", endpoint(urls[1], "b", slots=1000)),
        )
        for _ in range(80):
            assert (await ask(one))[0] == 200
        assert one.gateway.shadows == 64
        await until(lambda: servers[1].active == 64)
        for exchange in list(one.gateway.active):
            exchange.cancel()
        assert one.gateway.shadows == 0
