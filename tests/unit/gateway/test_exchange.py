"""One request, one ending, one record: whatever the upstream does, however long it takes."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.rig import KEY, Rig, endpoint, post, question, rig, until, upstream

from modelyard.gateway.shared import SLOTS
from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    server = EchoServer()
    yield server
    await server.stop()


async def ask(one: Rig, body: bytes) -> tuple[int, bytes]:
    """Status and body; a stream's status is that of its head."""
    wire = await one.connect()
    wire.writer.write(post(body, b"Connection: close"))
    head, _, rest = (await wire.rest()).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), rest


def only_record(one: Rig) -> dict[str, Any]:
    (record,) = one.records()
    assert one.in_flight() == 0, "nothing is counted as in flight any more"
    assert list(one.gateway.region.open_slots()) == []
    return record


@pytest.mark.parametrize("assembled", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_streamed_and_whole_answers_have_equal_text_and_usage(
    tmp_path: Path, echo: EchoServer, stream: bool, assembled: bool
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        one.serve(echo=[endpoint(url, cancels_without_stream=not assembled)])
        status, body = await ask(one, question(stream=stream))
        assert status == 200
        if not stream:
            choice = json.loads(body)["choices"][0]
            assert choice["message"] == {"role": "assistant", "content": "one two three "}
            assert choice["finish_reason"] == "stop"
            assert json.loads(body)["object"] == "chat.completion"
        record = only_record(one)
    assert (record["tokens_input"], record["tokens_output"]) == (3, 3)
    assert record["finish_reason"] == "stop"
    assert record["outcome"] == "completed"
    assert bool(echo.calls[0].get("stream")) is (stream or assembled)


@pytest.mark.parametrize(
    ("behaviour", "limit", "code", "status"),
    [
        (Behaviour(first_token_s=3600), "first_byte_timeout_s", "first_byte_timeout", 504),
        (Behaviour(fault="stall", fault_after_tokens=1), "stream_idle_timeout_s",
         "upstream_stalled", 200),
    ],
)  # fmt: skip
async def test_an_upstream_that_dawdles_is_given_up(
    tmp_path: Path, echo: EchoServer, behaviour: Behaviour, limit: str, code: str, status: int
) -> None:
    echo.behaviour = behaviour
    url = await echo.start()
    streamed = status == 200
    async with rig(tmp_path, **{limit: 0.1}) as one:
        one.serve(echo=[endpoint(url)])
        got, body = await ask(one, question(stream=streamed))
        assert got == status
        assert code in body.decode()
        assert b"[DONE]" not in body
        record = only_record(one)
        await until(lambda: echo.active == 0)
    assert (record["outcome"], record["error_code"], record["status"]) == ("failed", code, status)
    assert echo.cancelled == 1


async def test_a_time_out_is_tried_elsewhere_before_the_first_byte(
    tmp_path: Path, echo: EchoServer
) -> None:
    stalled = EchoServer(Behaviour(first_token_s=3600))
    slow, good = await stalled.start(), await echo.start()
    async with rig(tmp_path, first_byte_timeout_s=0.1) as one:
        one.serve(echo=[endpoint(slow, "slow", slots=1000), endpoint(good, "good", slots=1)])
        found = one.gateway.catalog.named("default", "echo")
        assert found is not None
        variant = found.stable
        busy = variant.router.dispatch(variant.candidates[1], b"", 0.0)
        assert (await ask(one, question()))[0] == 200
        busy.cancelled(1.0)
        attempts = one.records("attempt")
        assert [attempt["outcome"] for attempt in attempts] == ["first_byte_timeout", "ok"]
        assert only_record(one)["attempts"] == 2
    await stalled.stop()


async def test_nobody_listens(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    server.close()
    await server.wait_closed()
    async with rig(tmp_path) as one:
        one.serve(echo=[endpoint(url)], empty=[])
        status, body = await ask(one, question())
        assert (status, json.loads(body)["error"]["code"]) == (502, "connect_failed")
        status, body = await ask(one, question("empty"))
        assert (status, json.loads(body)["error"]["code"]) == (503, "no_endpoint")
        assert [record["outcome"] for record in one.records()] == ["failed", "failed"]


async def test_a_kept_connection_that_just_closed_is_no_failure(tmp_path: Path) -> None:
    calls = []

    async def once(_: bytes, writer: asyncio.StreamWriter) -> bool:
        calls.append(writer)
        if calls.index(writer) != len(calls) - 1:
            return False  # the second call on a connection finds it closed
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        return True

    async with upstream(once) as url, rig(tmp_path) as one:
        one.serve(echo=[endpoint(url)])
        for _ in range(3):
            assert (await ask(one, question()))[0] == 200
        assert len(calls) == 5
        assert [record["attempts"] for record in one.records()] == [1] * 3


async def test_slots_taken_or_spool_full_refuses_and_recovers(
    tmp_path: Path, echo: EchoServer
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        one.serve(echo=[endpoint(url)])
        region = one.gateway.region
        slots = [region.open_slot(b"{}") for _ in range(SLOTS)]
        status, body = await ask(one, question())
        assert (status, json.loads(body)["error"]["code"]) == (503, "overloaded")
        for slot in slots:
            region.close_slot(slot)
        one.gateway.recorder.full = True
        status, body = await ask(one, question())
        assert (status, json.loads(body)["error"]["code"]) == (503, "records_spool_full")
        one.gateway.recorder.check()
        assert (await ask(one, question()))[0] == 200


async def test_an_open_request_is_in_its_slot(tmp_path: Path, echo: EchoServer) -> None:
    echo.behaviour = Behaviour(first_token_s=3600)
    url = await echo.start()
    async with rig(tmp_path) as one:
        one.serve(echo=[endpoint(url)])
        wire = await one.connect()
        wire.writer.write(post(question()))
        await until(lambda: echo.active)
        ((_, payload),) = one.gateway.region.open_slots()
        held, told = payload[0], json.loads(payload[1 + payload[0] :])
        assert held == 0, "nothing is reserved for a key without limits"
        assert told["service"] == "echo"
        assert told["key_id"] == KEY.decode().split("_")[1]
        wire.close()
        await until(lambda: not echo.active)
        record = only_record(one)
    assert (record["outcome"], record["status"]) == ("cancelled", 499)


async def test_a_reader_that_stops_slows_the_upstream_down(tmp_path: Path) -> None:
    event = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"x" * 64_000)
    written = 0

    async def flood(_: bytes, writer: asyncio.StreamWriter) -> bool:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for _number in range(800):
            writer.write(event)
            await writer.drain()
            written += 1
        writer.write(b"data: [DONE]\n\n")
        return False

    async with upstream(flood) as url, rig(tmp_path) as one:
        one.serve(echo=[endpoint(url)])
        wire = await one.connect()
        wire.writer.write(post(question(stream=True), b"Connection: close"))
        await settled(lambda: written)
        assert written < 700, "it waits for the reader"
        answer = await wire.rest()
        assert answer.count(b"x" * 64_000) == 800
        assert answer.endswith(b"0\r\n\r\n")
        assert only_record(one)["outcome"] == "completed"


async def settled(number: Any) -> None:
    """Wait until it is over 0 and has not changed for a while."""
    seen, since = 0, 0
    async with asyncio.timeout(20):
        while since < 20:
            await asyncio.sleep(0.02)
            since = since + 1 if number() and number() == seen else 0
            seen = number()


async def test_a_fault_of_ours_is_a_500_with_a_record_and_harms_no_other_request(
    tmp_path: Path, echo: EchoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await echo.start()
    async with rig(tmp_path) as one:
        one.serve(echo=[endpoint(url)])
        with monkeypatch.context() as broken:
            broken.setattr("modelyard.gateway.dispatch.rewrite", lambda *_, **__: 1 / 0)
            status, body = await ask(one, question())
            assert status == 500
            assert json.loads(body)["error"]["code"] == "internal"
            assert only_record(one)["error_code"] == "internal"
        assert (await ask(one, question()))[0] == 200


@pytest.mark.parametrize("claimed", [10**30, -5])
async def test_a_usage_that_cannot_be_is_cut(tmp_path: Path, claimed: int) -> None:
    async def say(_: bytes, writer: asyncio.StreamWriter) -> bool:
        usage = b'{"prompt_tokens":%d,"completion_tokens":%d}' % (claimed, claimed)
        answer = b'{"choices":[],"usage":%b}' % usage
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        return True

    async with upstream(say) as url, rig(tmp_path) as one:
        one.serve(echo=[endpoint(url)])
        assert (await ask(one, question()))[0] == 200
        record = only_record(one)
    assert 0 <= record["tokens_input"] < 2**63
    assert 0 <= record["tokens_output"] < 2**63
