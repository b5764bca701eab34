"""The gateway over raw HTTP: what is refused, retried, cancelled, relayed and recorded."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.platform import Platform, platform

from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio
QUESTION = {"role": "user", "content": "one two three four"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("gateway") / "data") as one:
        one.serve_echo()
        yield one


@pytest.fixture
async def http(running: Platform) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {running.key}"}
    async with httpx.AsyncClient(
        base_url=running.gateway_url, headers=headers, timeout=30
    ) as client:
        yield client


@asynccontextmanager
async def outside(
    running: Platform, name: str, *behaviours: Behaviour
) -> AsyncIterator[list[EchoServer]]:
    """Upstreams in this process, served under `name`."""
    servers = [EchoServer(behaviour) for behaviour in behaviours]
    urls = [await server.start() for server in servers]
    await asyncio.to_thread(running.apply, name, engine={"name": "openai", "urls": urls})
    try:
        yield servers
    finally:
        await asyncio.to_thread(running.client.delete_service, name)
        for server in servers:
            await server.stop()


def body(model: str = "echo", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [QUESTION], **more}


async def record_of(running: Platform, answer: httpx.Response) -> dict[str, Any]:
    return await asyncio.to_thread(running.record, answer.headers["x-request-id"])


# --- one record whatever happens -------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "stream", "status", "outcome"),
    [
        ({}, False, 200, "completed"),
        ({}, True, 200, "completed"),
        ({"fault": "error", "status": 400}, False, 400, "rejected"),
        ({"fault": "error", "status": 500}, True, 500, "failed"),
        ({"fault": "refuse"}, False, 502, "failed"),
        ({"fault": "truncate"}, False, 502, "failed"),
        ({"fault": "truncate", "fault_after_tokens": 2}, True, 200, "failed"),
        ({"fault": "garbage", "fault_after_tokens": 2}, True, 200, "failed"),
        ({"fault": "error_event", "fault_after_tokens": 2}, True, 200, "failed"),
    ],
)
async def test_every_ending_has_one_record(
    running: Platform, http: httpx.AsyncClient, fault: dict[str, Any], stream: bool,
    status: int, outcome: str,
) -> None:  # fmt: skip
    try:
        answer = await http.post("/v1/chat/completions", json=body(echo=fault, stream=stream))
        text = answer.text
    except httpx.RemoteProtocolError:  # the broken stream closes without the mark of its end
        async with http.stream(
            "POST", "/v1/chat/completions", json=body(echo=fault, stream=stream)
        ) as answer:
            text = await _until_broken(answer)
    assert answer.status_code == status
    if outcome == "failed" and stream and status == 200:
        assert text.rstrip().splitlines()[-1].startswith('data: {"error"')
        assert "[DONE]" not in text
        assert "not json" not in text
    record = (await record_of(running, answer))["request"]
    assert (record["outcome"], record["status"]) == (outcome, status)
    assert bool(record["error_code"]) == (outcome != "completed")
    if outcome == "completed":
        assert (record["tokens_input"], record["tokens_output"]) == (4, 4)
        assert (record["ttft_us"] is not None) == stream
        assert (record["ttft_us"] or 0) <= record["duration_us"]
    rows = await asyncio.to_thread(running.client.requests, 500)
    assert [row["request_id"] for row in rows].count(record["request_id"]) == 1


async def _until_broken(answer: httpx.Response) -> str:
    pieces = []
    with pytest.raises(httpx.RemoteProtocolError):
        async for piece in answer.aiter_text():
            pieces.append(piece)
    return "".join(pieces)


async def test_a_body_that_is_too_large_is_recorded_too(
    running: Platform, http: httpx.AsyncClient
) -> None:
    async def chunked() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b" " * (1024 * 1024)

    for content in (b" " * (50 * 1024 * 1024), chunked()):
        answer = await http.post("/v1/chat/completions", content=content)
        assert answer.status_code == 413
        record = (await record_of(running, answer))["request"]
        assert (record["outcome"], record["status"]) == ("rejected", 413)
        assert record["error_code"] == "body_too_large"
        assert record["key_id"]


async def test_a_bad_key_is_recorded_where_an_admin_sees_it(
    running: Platform, http: httpx.AsyncClient
) -> None:
    bad = {"authorization": "Bearer my_bad_key"}
    answer = await http.post("/v1/chat/completions", json=body(), headers=bad)
    assert answer.status_code == 401
    record = (await record_of(running, answer))["request"]
    assert (record["outcome"], record["error_code"]) == ("rejected", "invalid_api_key")
    assert record["key_id"] == ""


# --- retries before the first byte -----------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["refuse", "error"])
async def test_another_endpoint_answers_before_the_first_byte(
    running: Platform, http: httpx.AsyncClient, fault: str, stream: bool
) -> None:
    bad, good = Behaviour(fault=fault, status=503), Behaviour()
    async with outside(running, "mixed", bad, good):
        answers = [
            await http.post("/v1/chat/completions", json=body("mixed", stream=stream))
            for _ in range(4)
        ]
        assert [answer.status_code for answer in answers] == [200] * 4
        found = await record_of(running, answers[0])
        traces = [await record_of(running, answer) for answer in answers]
    attempts = [len(trace["attempts"]) for trace in traces]
    assert max(attempts) == 2, "one of them met the bad endpoint first"
    assert found["request"]["outcome"] == "completed"


async def test_a_stream_that_has_said_nothing_yet_can_be_tried_elsewhere(
    running: Platform, http: httpx.AsyncClient
) -> None:
    mute = Behaviour(fault="truncate")
    async with outside(running, "mute", mute, Behaviour()):
        for _ in range(4):
            answer = await http.post("/v1/chat/completions", json=body("mute", stream=True))
            assert answer.text.count('"role":"assistant"') == 1
            assert answer.text.endswith("data: [DONE]\n\n")
    async with outside(running, "mute", mute):
        answer = await http.post("/v1/chat/completions", json=body("mute", stream=True))
        assert answer.status_code == 502, "an error before the first token has its status"
        assert answer.json()["error"]["code"] == "upstream_closed"


@pytest.mark.parametrize(("status", "outcome"), [(400, "rejected"), (500, "failed")])
async def test_an_error_inside_a_stream_has_its_status_before_the_first_token(
    running: Platform, http: httpx.AsyncClient, status: int, outcome: str
) -> None:
    bad = Behaviour(fault="error_event", status=status)
    async with outside(running, "inner", bad, bad) as servers:
        answer = await http.post("/v1/chat/completions", json=body("inner", stream=True))
        assert answer.status_code == (400 if status == 400 else 502)
        assert answer.json()["error"]["message"] == "the engine gave up"
        calls = sum(len(server.calls) for server in servers)
        assert calls == (1 if status == 400 else 2), "a client's mistake is not tried again"
        record = (await record_of(running, answer))["request"]
    assert record["outcome"] == outcome
    assert record["error_message"] == "the engine gave up"


async def test_all_endpoints_dead_is_said_and_recorded(
    running: Platform, http: httpx.AsyncClient
) -> None:
    bad = Behaviour(fault="refuse")
    async with outside(running, "dead", bad, bad):
        answer = await http.post("/v1/chat/completions", json=body("dead"))
        assert answer.status_code == 502
        assert answer.headers["x-modelyard-error-source"] == "upstream"
        found = await record_of(running, answer)
    assert len(found["attempts"]) == 2
    assert found["request"]["outcome"] == "failed"


async def test_nothing_is_tried_again_after_the_first_byte(
    running: Platform, http: httpx.AsyncClient
) -> None:
    bad = Behaviour(fault="truncate", fault_after_tokens=1)
    async with outside(running, "late", bad, bad) as servers:
        async with http.stream(
            "POST", "/v1/chat/completions", json=body("late", stream=True)
        ) as answer:
            text = await _until_broken(answer)
        assert sum(len(server.calls) for server in servers) == 1
    assert '"error"' in text


# --- cancellation ----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_stops_the_upstream(
    running: Platform, http: httpx.AsyncClient, stream: bool
) -> None:
    slow = Behaviour(tokens=1000, token_interval_s=0.05)
    async with outside(running, "slow", slow) as (server,):
        task = asyncio.create_task(
            http.post("/v1/chat/completions", json=body("slow", stream=stream))
        )
        await _until(lambda: server.active == 1)
        task.cancel()
        await _until(lambda: server.cancelled == 1 and server.active == 0)
        await asyncio.gather(task, return_exceptions=True)
        rows: list[dict[str, Any]] = []
        while not rows:
            rows = await asyncio.to_thread(
                running.client.requests, 5, service="slow", outcome="cancelled"
            )
    assert rows[0]["error_code"] == "client_closed"


async def _until(condition: Any) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


# --- load ------------------------------------------------------------------------------------


async def test_the_least_loaded_endpoint_is_chosen(
    running: Platform, http: httpx.AsyncClient
) -> None:
    slow = Behaviour(tokens=4, first_token_s=0.3)
    async with outside(running, "pair", slow, slow) as servers:
        await asyncio.gather(
            *(http.post("/v1/chat/completions", json=body("pair")) for _ in range(12))
        )
        assert [len(server.calls) for server in servers] == [6, 6]


async def test_two_gateway_processes_share_a_port(tmp_path: Any) -> None:
    with platform(tmp_path / "data", "--workers", "2") as one:
        await asyncio.to_thread(one.serve_echo)
        seen = set()
        headers = {"authorization": f"Bearer {one.key}", "connection": "close"}
        async with asyncio.timeout(30):
            while len(seen) < 2:
                async with httpx.AsyncClient(base_url=one.gateway_url, headers=headers) as http:
                    answers = await asyncio.gather(
                        *(http.post("/v1/chat/completions", json=body()) for _ in range(8))
                    )
                for answer in answers:
                    if answer.status_code == 200:
                        seen.add((await record_of(one, answer))["request"]["process"])
        assert seen == {"gateway-0", "gateway-1"}


# --- bytes -----------------------------------------------------------------------------------


async def test_what_the_client_wrote_reaches_the_upstream_unchanged(
    running: Platform, http: httpx.AsyncClient
) -> None:
    async with outside(running, "bytes", Behaviour()) as (server,):
        raw = (
            b'{ "messages":[{"role":"user","content":"\\u00e9 \\ud83d\\ude00 model"}],'
            b'"seed":12345678901234567890, "temperature":1e0,"x":{"model":"inner"},'
            b'"model" : "bytes" }'
        )
        answer = await http.post("/v1/chat/completions", content=raw)
        assert answer.status_code == 200
        call = server.calls[0]
    assert call["seed"] == 12345678901234567890
    assert call["x"] == {"model": "inner"}
    assert call["messages"][0]["content"] == "é 😀 model"


async def test_usage_is_always_asked_for_and_shown_only_to_who_asked(
    running: Platform, http: httpx.AsyncClient
) -> None:
    async with outside(running, "usage", Behaviour()) as (server,):
        plain = await http.post("/v1/chat/completions", json=body("usage", stream=True))
        asked = await http.post(
            "/v1/chat/completions",
            json=body("usage", stream=True, stream_options={"include_usage": True}),
        )
        assert all(call["stream_options"]["include_usage"] for call in server.calls)
    assert '"usage":' not in plain.text.replace(" ", "")
    assert plain.text.endswith("data: [DONE]\n\n")
    events = [json.loads(line[6:]) for line in asked.text.split("\n\n")[:-2]]
    assert events[-1]["usage"]["total_tokens"] == 8


# --- HTTP ------------------------------------------------------------------------------------


def connect(running: Platform) -> socket.socket:
    host, port = running.gateway_url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=15)


def read_all(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def talk(running: Platform, data: bytes) -> bytes:
    """All that comes back on one raw connection."""
    with connect(running) as connection:
        connection.sendall(data)
        return read_all(connection)


def request(running: Platform, payload: bytes, extra: bytes = b"") -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
        b"Content-Length: %d\r\n%b\r\n%b" % (running.key.encode(), len(payload), extra, payload)
    )


def test_requests_may_be_sent_ahead(running: Platform) -> None:
    payload = json.dumps(body()).encode()
    one = request(running, payload)
    last = request(running, payload, b"Connection: close\r\n")
    answers = talk(running, one * 3 + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length : 5\r\n",
        b" folded: x\r\n",
    ],
)
def test_what_two_servers_might_read_differently_is_refused(running: Platform, head: bytes) -> None:
    data = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + head + b"\r\nhello"
    answer = talk(running, data)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1, "the connection ends there"


def test_a_head_without_end_is_refused(running: Platform) -> None:
    answer = talk(running, b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 70_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_paths_and_methods(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.head("/healthz")).status_code == 200
    assert (await http.get("/readyz")).json() == {"ready": True}
    assert (await http.get("/v1/chat/completions")).status_code == 405
    unknown = await http.post("/v1/nothing", json={})
    assert unknown.status_code == 404
    assert "POST /v1/chat/completions" in unknown.json()["error"]["message"]
    keyless = await http.get("/v1/models", headers={"authorization": ""})
    assert keyless.status_code == 401
    by_other_header = await http.get(
        "/v1/models",
        headers={"authorization": "", "x-api-key": http.headers["authorization"][7:]},
    )
    assert by_other_header.status_code == 200


def test_a_body_that_is_announced_waits_for_the_go(running: Platform) -> None:
    payload = json.dumps(body()).encode()
    announced = request(running, payload, b"Expect: 100-continue\r\nConnection: close\r\n")
    with connect(running) as connection:
        connection.sendall(announced.removesuffix(payload))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(payload)
        assert read_all(connection).startswith(b"HTTP/1.1 200 OK")


async def test_metrics_are_what_prometheus_reads(
    running: Platform, http: httpx.AsyncClient
) -> None:
    await http.post("/v1/chat/completions", json=body())
    text = (await http.get("/metrics")).text
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
    assert len(values) == len(lines), "no sample occurs twice"
    assert any(name.startswith("modelyard_") and "echo" in name for name in values)
    documented = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    for name in values:
        plain = name.partition("{")[0]
        bases = {plain, plain.removesuffix("_bucket"), plain.removesuffix("_sum"),
                 plain.removesuffix("_count")}  # fmt: skip
        assert bases & documented, name
