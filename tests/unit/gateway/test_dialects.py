"""Clients and endpoints of the same dialect, and of different ones, byte by byte."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.unit.gateway.rig import KEY, Rig, endpoint, post, question, rig, service, upstream

pytestmark = pytest.mark.anyio
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]]
RESPONSES = b"/v1/responses"


def sse(*events: dict[str, Any], done: bool = False) -> bytes:
    lines = [f"event: {event['type']}\n" if "type" in event else "" for event in events]
    pairs = zip(lines, events, strict=True)
    said = "".join(f"{line}data: {json.dumps(event)}\n\n" for line, event in pairs)
    return said.encode() + (b"data: [DONE]\n\n" if done else b"")


def streams(body: bytes) -> Answer:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        writer.write(head + body)
        return False

    return answer


def says(status: int, body: dict[str, Any]) -> Answer:
    data = json.dumps(body).encode()
    kind = b"Content-Type: application/json\r\n"

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> bool:
        head = b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n" % (status, kind, len(data))
        writer.write(head + data)
        return True

    return answer


class Told(NamedTuple):
    """What a client was told, what the endpoint was asked, and the one record of it."""

    head: bytes
    body: bytes
    asked: list[Any]
    record: dict[str, Any]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def tell(
    folder: Path, answer: Answer, body: dict[str, Any], path: bytes = RESPONSES, **options: Any
) -> Told:
    """One request to a service of one endpoint that answers so."""
    seen: list[Any] = []

    async def listens(asked: bytes, writer: asyncio.StreamWriter) -> bool:
        seen.append(json.loads(asked))
        return await answer(asked, writer)

    async with rig(folder) as one, upstream(listens) as url:
        one.serve(bot=[endpoint(url, **options)])
        head, said = await ask(one, body, path)
        (record,) = one.records()
    return Told(head, said, seen, record)


async def ask(one: Rig, body: dict[str, Any], path: bytes = RESPONSES) -> tuple[bytes, bytes]:
    """Head and body of the answer, chunks joined."""
    raw = await one.talk(post(json.dumps(body).encode(), b"Connection: close", path=path))
    head, _, rest = raw.partition(b"\r\n\r\n")
    if b"chunked" in head:
        rest = b"".join(piece for number, piece in enumerate(rest.split(b"\r\n")) if number % 2)
    return head, rest


def chunk(**more: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **more}


def delta(**said: Any) -> dict[str, Any]:
    return chunk(choices=[{"index": 0, "delta": said, "finish_reason": None}])


END = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USED = chunk(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
SPOKEN = sse(
    delta(role="assistant"), delta(content="Hel"), delta(content="lo"), END, USED, done=True
)
COMPLETED = {
    "type": "response.completed",
    "response": {
        "id": "resp_1", "object": "response", "status": "completed", "output": [],
        "usage": {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14,
                  "input_tokens_details": {"cached_tokens": 4},
                  "output_tokens_details": {"reasoning_tokens": 2}},
    },
}  # fmt: skip
NATIVE = sse(
    {"type": "response.created", "response": {"id": "resp_1"}, "sequence_number": 0},
    {"type": "response.output_text.delta", "delta": "hi", "sequence_number": 1, "x_own": 1e2},
    COMPLETED,
)


async def test_the_bytes_of_ones_own_dialect_pass_unchanged(tmp_path: Path) -> None:
    body = {"model": "bot", "input": "hi", "stream": True, "unknown": 12345678901234567890}
    told = await tell(
        tmp_path, streams(NATIVE), body, dialects=("responses",), upstream_model="big-1"
    )
    assert b" 200 " in told.head
    assert told.body == NATIVE
    assert told.asked == [{**body, "model": "big-1"}]
    record = told.record
    assert (record["tokens_input"], record["tokens_output"]) == (11, 3)
    assert (record["tokens_cached"], record["tokens_reasoning"]) == (4, 2)
    assert record["finish_reason"] == "stop"
    assert record["translated_to"] == ""


async def test_a_whole_answer_passes_unchanged(tmp_path: Path) -> None:
    response = COMPLETED["response"]
    assert isinstance(response, dict)
    body = {"model": "bot", "input": "hi"}
    told = await tell(tmp_path, says(200, response), body, dialects=("responses",))
    assert told.json == response
    assert told.record["tokens_input"] == 11


CREATED = {"type": "response.created", "response": {}}


@pytest.mark.parametrize(
    ("body", "status", "last"),
    [
        (sse(CREATED, {"type": "error", "code": "rate_limit", "message": "wait", "status": 429}),
         b" 429 ", b"wait"),
        (NATIVE[: NATIVE.index(b"event: response.completed")], b" 200 ", b'"type":"error"'),
        (sse(CREATED), b" 502 ", b"upstream_truncated"),
        (sse({"type": "response.output_text.delta", "delta": "a"}) + b"data: {no\n\n",
         b" 200 ", b'"type":"error"'),
    ],
)  # fmt: skip
async def test_streams_that_break_off_are_told_so(
    tmp_path: Path, body: bytes, status: bytes, last: bytes
) -> None:
    asked = {"model": "bot", "input": "hi", "stream": True}
    told = await tell(tmp_path, streams(body), asked, dialects=("responses",))
    assert status in told.head
    assert last in told.body
    assert b"response.completed" not in told.body
    assert told.record["outcome"] == "failed"


async def test_an_endpoint_of_another_dialect_is_asked_in_its_own(tmp_path: Path) -> None:
    tools = [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": {}}]
    body = {"model": "bot", "input": "hi", "instructions": "Be short.", "tools": tools}
    told = await tell(tmp_path, streams(SPOKEN), body)
    assert b"X-Modelyard-Dropped: tools.web_search\r\n" in told.head
    assert told.json["output"][0]["content"][0]["text"] == "Hello"
    assert told.json["usage"]["total_tokens"] == 9
    (asked,) = told.asked
    assert asked["messages"] == [
        {"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"},
    ]  # fmt: skip
    assert asked["stream_options"] == {"include_usage": True}
    record = told.record
    assert (record["translated_to"], record["route"]) == ("chat", "/v1/responses")
    assert (record["tokens_input"], record["tokens_output"]) == (7, 2)
    assert record["ttft_us"] is not None


async def test_a_chat_client_is_answered_by_an_endpoint_of_responses(tmp_path: Path) -> None:
    said = {"type": "output_text", "text": "hi"}
    item = {"type": "message", "role": "assistant", "content": [said]}
    native = NATIVE.replace(b'"output": []', b'"output": [%b]' % json.dumps(item).encode())
    body = json.loads(question("bot"))
    told = await tell(
        tmp_path, streams(native), body, b"/v1/chat/completions", dialects=("responses",)
    )
    assert told.json["choices"][0]["message"]["content"] == "hi"
    assert told.json["usage"]["prompt_tokens"] == 11


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"model": "bot", "input": [{"type": "message"}]}, "invalid_request_error", "input[0]"),
        ({"model": "bot", "input": "hi", "previous_response_id": "resp_1"},
         "unsupported_parameter", "previous_response_id"),
    ],
)  # fmt: skip
async def test_what_cannot_be_said_is_refused_before_anything_is_sent(
    tmp_path: Path, body: dict[str, Any], code: str, said: str
) -> None:
    told = await tell(tmp_path, streams(SPOKEN), body)
    assert b" 400 " in told.head
    assert told.json["error"]["code"] == code
    assert said in told.json["error"]["message"]
    assert told.asked == []
    assert told.record["outcome"] == "rejected"


async def test_errors_of_endpoints_are_put_into_the_clients_words(tmp_path: Path) -> None:
    refusal = {"message": "the request exceeds the available context size", "type": "x"}
    told = await tell(tmp_path, says(400, {"error": refusal}), {"model": "bot", "input": "hi"})
    assert b" 400 " in told.head
    assert told.json["error"]["code"] == "context_length_exceeded"


async def test_a_stream_that_breaks_off_while_it_is_translated_fails_in_words(
    tmp_path: Path,
) -> None:
    cut = sse(delta(role="assistant"), delta(content="Hel"))
    told = await tell(tmp_path, streams(cut), {"model": "bot", "input": "hi", "stream": True})
    assert b" 200 " in told.head
    assert b"event: response.failed" in told.body
    assert b"response.completed" not in told.body
    record = told.record
    assert (record["outcome"], record["error_code"]) == ("failed", "upstream_truncated")
    assert record["tokens_output"] == 1
    assert record["usage_estimated"]


async def test_what_was_said_before_an_error_is_said_to_the_client(tmp_path: Path) -> None:
    """However the network cuts them: here the words and the error come in one piece."""
    error = {"error": {"message": "gave up", "code": 500}}
    spoken = sse(delta(role="assistant"), delta(content="Hel"), error)
    body = {"model": "bot", "input": "hi", "stream": True}
    told = await tell(tmp_path, streams(spoken), body)
    assert b" 200 " in told.head
    assert b'"delta":"Hel"' in told.body
    assert b"response.failed" in told.body
    assert b"gave up" in told.body


async def test_another_endpoint_answers_whatever_it_speaks(tmp_path: Path) -> None:
    async with (
        rig(tmp_path) as one,
        upstream(says(500, {"error": {"message": "down"}})) as bad,
        upstream(streams(NATIVE)) as good,
    ):
        one.serve(bot=[endpoint(bad, "bad"), endpoint(good, "good", dialects=("responses",))])
        for _ in range(4):
            head, answer = await ask(one, {"model": "bot", "input": "hi", "stream": True})
            assert b" 200 " in head
            assert answer == NATIVE


async def test_a_websocket_is_refused_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.serve()
        raw = await one.talk(
            b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer " + KEY
            + b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )  # fmt: skip
    assert raw.startswith(b"HTTP/1.1 426 ")
    assert b'"upgrade_not_supported"' in raw


async def test_the_question_is_counted_by_bytes_where_nobody_counts_it(tmp_path: Path) -> None:
    body = json.loads(question("bot"))
    told = await tell(tmp_path, streams(SPOKEN), body, b"/v1/messages/count_tokens")
    assert b"X-Modelyard-Estimated: true" in told.head
    assert told.json["input_tokens"] > 5
    assert told.asked == []
    assert (told.record["outcome"], told.record["cost_nano_usd"]) == ("completed", None)


async def test_a_trusted_key_speaks_for_persons(tmp_path: Path) -> None:
    async with rig(tmp_path) as one, upstream(streams(SPOKEN)) as url:
        for trusted in (False, True):
            one.offer(service("bot", endpoint(url)), trusted=trusted)
            for user in ("ada", "grace", "ada"):
                await ask(one, {"model": "bot", "input": "hi", "user": user})
        persons = [row["person"] for row in one.records()]
    assert persons == ["", "", "", "ada", "grace", "ada"]


ANTHROPIC = sse(
    {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
     "content": [], "model": "claude", "usage": {"input_tokens": 5, "output_tokens": 1,
     "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
)  # fmt: skip
MESSAGES = b"/v1/messages"


async def test_anthropics_bytes_pass_and_its_headers_go_along(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + ANTHROPIC)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    body = json.loads(question("bot", max_tokens=9, stream=True))
    async with rig(tmp_path) as one, server:
        one.serve(bot=[endpoint(url, dialects=("messages",), auth="x-api-key", api_key="sk",
                                headers=(("anthropic-version", "2023-06-01"),))])  # fmt: skip
        raw = await one.talk(
            post(json.dumps(body).encode(), b"Connection: close", b"anthropic-beta: a,b",
                 b"anthropic-version: 2099-01-01", path=MESSAGES)
        )  # fmt: skip
        (record,) = one.records()
    (head,) = heads
    assert b"anthropic-beta: a,b\r\n" in head
    assert head.lower().count(b"anthropic-version:") == 1
    assert b"2099-01-01" in head
    assert b"x-api-key: sk\r\n" in head.replace(b"X-Api-Key", b"x-api-key")
    assert b"request-id: " in raw.lower()
    assert b"message_stop" in raw
    assert (record["tokens_input"], record["tokens_output"]) == (10, 4)
    assert (record["tokens_cached"], record["tokens_cache_write"]) == (3, 2)


async def test_of_a_message_that_breaks_off_the_question_is_known(tmp_path: Path) -> None:
    cut = ANTHROPIC[: ANTHROPIC.index(b"event: content_block_stop")]
    body = json.loads(question("bot", max_tokens=9, stream=True))
    told = await tell(tmp_path, streams(cut), body, MESSAGES, dialects=("messages",))
    assert told.body.startswith(cut)
    assert b"event: error\n" in told.body
    assert b"message_stop" not in told.body
    record = told.record
    assert (record["tokens_input"], record["tokens_output"]) == (10, 1)
    assert record["usage_estimated"]


async def test_a_chat_client_is_answered_by_anthropic(tmp_path: Path) -> None:
    body = json.loads(question("bot"))
    told = await tell(
        tmp_path, streams(ANTHROPIC), body, b"/v1/chat/completions", dialects=("messages",)
    )
    assert told.json["choices"][0]["message"]["content"] == "hi"
    assert told.json["usage"]["prompt_tokens"] == 10
    assert told.asked[0]["max_tokens"] == 8192
    assert told.record["translated_to"] == "messages"
