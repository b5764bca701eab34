"""The probes that gateways in the field fail, each as a test (regressions 7 to 10 hold others).

Over real processes, with a client that sees every byte. Kept elsewhere: what two servers might read
differently and a head without end in `tests/e2e/test_gateway.py` and `test_protocol_fuzz.py`; the
official client in `test_official_client.py`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.platform import Platform
from tests.regression.clients import (
    Line,
    Reply,
    ask,
    body,
    lines,
    new_key,
    port_of,
    read,
    request,
    served,
    talk,
)
from tests.unit.gateway.rig import KEY, endpoint, rig

from modelyard.testing.echo import Behaviour, EchoServer

pytestmark = pytest.mark.anyio
OVERFLOWS = {
    "OpenAI": (400, {"error": {"message": "x", "type": "invalid_request_error", "param": "messages",
                               "code": "context_length_exceeded"}}),
    "vLLM": (400, {"object": "error", "type": "BadRequestError", "param": None, "code": 400,
                   "message": "This model's maximum context length is 4096 tokens. However, you "
                              "requested 9000 tokens."}),
    "SGLang": (400, {"error": {"message": "The input (9000 tokens) is longer than the model's "
                                          "context length (4096 tokens).", "type": "BadRequest"}}),
    "llama.cpp": (500, {"error": {"code": 500, "type": "server_error", "message": "the request "
                                  "exceeds the available context size. try increasing it"}}),
    "TGI": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be "
                           "<= 4096", "error_type": "validation"}),
    "Anthropic": (400, {"error": {"type": "invalid_request_error",
                                  "message": "prompt is too long: 9000 tokens > 4096 maximum"}}),
}  # fmt: skip


class Recorded(EchoServer):
    """An upstream that keeps what came to it as it came."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self.seen: list[bytes] = []

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        feed = reader.feed_data

        def kept(data: bytes) -> None:
            if data.startswith(b"POST "):  # the control plane looks whether it is there by GET
                self.seen.append(data)
            feed(data)

        reader.feed_data = kept  # type: ignore[method-assign]
        await super()._accept(reader, writer)


@pytest.fixture
async def one(three: Platform) -> AsyncIterator[tuple[Line, Recorded]]:
    """A connection to a gateway process that serves `echo` from one upstream."""
    server = Recorded()
    async with served(three, "echo", server), lines(three) as found:
        yield found[0], server


def keyed(three: Platform, content: bytes, *fields: bytes) -> bytes:
    return request(content, *fields, key=three.key.encode())


# --- heads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_both_framings_at_once_are_refused_and_the_connection_ends(
    three: Platform, tail: bytes
) -> None:
    data = keyed(three, b"5\r\nhello\r\n0\r\n\r\n" + tail, b"Transfer-Encoding: chunked")
    reply, rest = read(await talk(port_of(three), data))
    assert (reply.status, rest) == (400, b""), "the tail is no second request"
    assert reply.headers["connection"] == "close"
    assert reply.error["type"] == "invalid_request_error"


async def test_a_head_of_300_kb_is_too_large(three: Platform) -> None:
    data = keyed(three, body(), b"X-Long: " + b"y" * 300_000)
    reply, rest = read(await talk(port_of(three), data))
    assert (reply.status, rest) == (431, b"")
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize("field", [b"X Y: z", b"Content-Length : 0", b" X: y", b"X: a\x00b"])
async def test_a_header_name_with_a_space_is_malformed(three: Platform, field: bytes) -> None:
    reply, rest = read(await talk(port_of(three), keyed(three, body(), field)))
    assert (reply.status, rest) == (400, b"")


# --- who asks, and for what ----------------------------------------------------------------------


async def test_a_wrong_key_is_told_nothing_but_that_it_is_wrong(
    three: Platform, one: tuple[Line, Recorded]
) -> None:
    line, server = one
    revoked = await new_key(three, "echo")
    key_id = revoked.decode().split("_")[1]
    await asyncio.to_thread(three.client.revoke_key, key_id)
    while (await line.ask(body(), revoked)).status == 200:
        await asyncio.sleep(0.02)
    calls = len(server.calls)
    wrong = (
        revoked,  # it existed
        b"my_%b_%b" % (key_id.encode(), b"x" * 40),  # its id does, its secret does not
        b"my_nobody_" + b"x" * 40,
        b"sk-1234",
        b"",
        b"\xff\xfe",
        three.key.encode() + b"x",
        three.key.encode()[:-1],
    )
    replies = [await line.ask(body(), key) for key in wrong]
    replies.append(await line.send(request(body()).replace(b"Authorization", b"X-Nothing")))
    assert {(reply.status, reply.body) for reply in replies} == {(401, replies[0].body)}
    assert replies[0].error["code"] == "invalid_api_key"
    for reply in replies:
        assert "www-authenticate" not in reply.headers or reply.headers == replies[0].headers
    assert len(server.calls) == calls, "no upstream was asked"
    unknown = await line.ask(body("nobody"), b"my_nobody_x")
    assert unknown.body == replies[0].body, "not even whether the model exists"


async def test_a_model_that_is_unknown_or_not_for_this_key(
    three: Platform, one: tuple[Line, Recorded]
) -> None:
    line, server = one
    key = await new_key(three, "echo", services=["echo"])
    for name in ("nobody", "Echo", "echo ", "../echo", "", "x" * 5000, "echo\n", "écho"):
        reply = await line.ask(body(name), key)
        assert (reply.status, reply.error["code"]) == (404, "model_not_found"), name
        assert reply.error["param"] is None or reply.error["param"] == "model"
        assert "x-ratelimit-limit-requests" not in reply.headers
    assert server.calls == []


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"\xff", b'{"model":', b'{"model":"echo"',
        b'{"model":"echo"}}', b'{"model":"echo",}', b"{'model':'echo'}", b'{"model":1}',
        b'{"model":null}', b'{"messages":[]}', b'{"model":"echo","stream":"yes"}',
        b'{"model":"echo","max_tokens":"1"}', b'{"model":"echo","n":[]}',
        b'{"model":"echo","x":NaN}', b'{"model":"echo","x":"\xc3\x28"}',
        b'{"model":"echo","x":"\\ud800"}', b"[" * 100_000, b'{"a":' * 5_000,
        b"\xef\xbb\xbf" + b'{"model":"echo"}',
    ],
)  # fmt: skip
async def test_bad_json_is_a_400_and_takes_nothing_from_the_ledger(
    three: Platform, one: tuple[Line, Recorded], content: bytes
) -> None:
    line, server = one
    key = await new_key(three, "echo", limits={"requests_per_minute": 2, "tokens_per_minute": 9999})
    replies = [await line.ask(content, key) for _ in range(5)]
    assert {(reply.status, reply.whole) for reply in replies} == {(400, True)}
    assert replies[0].error["type"] == "invalid_request_error"
    assert server.calls == []
    reply = await line.ask(body(), key)
    assert (reply.status, reply.headers["x-ratelimit-remaining-requests"]) == (200, "1")
    assert reply.headers["x-ratelimit-remaining-tokens"] == str(9999 - 6)


async def test_paths_and_methods(three: Platform, one: tuple[Line, Recorded]) -> None:
    line, _ = one
    for start, status in {
        b"GET /v1/chat/completions": 405,
        b"PUT /v1/completions": 405,
        b"POST /v1/models": 405,
        b"POST /healthz": 405,
        b"POST /": 405,
        b"GET /v1": 404,
        b"POST /v1/chat/completions/": 404,
        b"POST /v1/nothing": 404,
        b"GET /internal/snapshot": 404,
        b"GET /api/services": 404,
        b"GET /v1/models/nobody": 404,
        b"GET /v1/../v1/models": 404,
        b"GET /v1/%6dodels": 404,
    }.items():
        fields = b"Host: x\r\nAuthorization: Bearer %b\r\n" % three.key.encode()
        reply = await line.send(start + b" HTTP/1.1\r\n" + fields + b"\r\n")
        assert reply.status == status, start
        assert set(reply.error) == {"message", "type", "param", "code"}
        assert ("allow" in reply.headers) == (status == 405)
    root = await line.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert root.json["name"] == "modelyard"
    models = await line.send(b"GET /v1/models HTTP/1.1\r\n" + fields + b"\r\n")
    assert "echo" in [model["id"] for model in models.json["data"]]
    assert {model["object"] for model in models.json["data"]} == {"model"}


# --- what reaches the upstream -------------------------------------------------------------------


async def test_the_request_travels_byte_for_byte_but_for_the_models_name(
    three: Platform, one: tuple[Line, Recorded]
) -> None:
    """Unknown fields, `user`, big integers, number formats, spaces and the order of keys."""
    line, server = one
    content = (
        b'{ "zebra":{"mode":"inner","n":1.50e+0},"user":"u-1",\t"seed":9007199254740993,'
        b'"messages":[{"role":"user","content":"\\u00e9\xc3\xa9 \\"model\\": \\"x\\""}],'
        b'"top_k":40, "big":123456789012345678901234567890,"max_tokens":7,"model" : "echo",'
        b'"logit_bias":{"50256":-100},"empty":{},"a":null }\n'
    )
    assert (await line.ask(content, three.key.encode())).status == 200
    (sent,) = server.seen
    assert sent.partition(b"\r\n\r\n")[2] == content
    # Where the word is there twice, keys could hide behind each other: the top level is written
    # anew, and every value keeps its bytes.
    content = content.replace(b'"mode"', b'"model"')
    assert (await line.ask(content, three.key.encode())).status == 200
    again = server.seen[-1].partition(b"\r\n\r\n")[2]
    assert list(json.loads(again)) == list(json.loads(content))
    for value in (b'{"model":"inner","n":1.50e+0}', b"9007199254740993", b"{\"50256\":-100}",
                  b"123456789012345678901234567890", b"\\u00e9\xc3\xa9"):  # fmt: skip
        assert value in again


@pytest.mark.parametrize("stream", [False, True])
async def test_the_clients_key_and_headers_stay_here(
    three: Platform, one: tuple[Line, Recorded], stream: bool
) -> None:
    line, server = one
    fields = (b"X-Api-Key: my_other_key", b"Cookie: secret=1", b"X-Forwarded-For: 10.0.0.1",
              b"OpenAI-Organization: org-1", b"Proxy-Authorization: Basic eA==")  # fmt: skip
    reply = await line.send(keyed(three, body(stream=stream), *fields))
    assert reply.status == 200
    (sent,) = server.seen
    head = sent.partition(b"\r\n\r\n")[0].lower()
    for secret in (three.key.encode().lower(), b"my_", b"authorization", b"cookie", b"org-1",
                   b"10.0.0.1", b"x-api-key"):  # fmt: skip
        assert secret not in head
    identity = reply.headers["x-request-id"].encode()
    assert b"x-request-id: " + identity in head


async def test_a_request_id_of_the_clients_own_is_not_taken(
    three: Platform, one: tuple[Line, Recorded]
) -> None:
    line, _ = one
    reply = await line.send(keyed(three, body(), b"X-Request-Id: forged"))
    assert reply.headers["x-request-id"].startswith("req_")


# --- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "wait"), [(400, 0), (404, 0), (422, 0), (429, 17), (503, 9)])
async def test_an_upstreams_refusal_stays_what_it_is(
    three: Platform, one: tuple[Line, Recorded], status: int, wait: int, stream: bool
) -> None:
    line, _ = one
    fault = {"fault": "error", "status": status, "retry_after_s": wait}
    reply = await line.ask(body(echo=fault, stream=stream), three.key.encode())
    assert (reply.status, reply.error["message"]) == (status, "as told")
    assert reply.headers.get("retry-after") == (str(wait) if wait else None)
    assert reply.headers["x-modelyard-error-source"] == "upstream"


async def test_the_end_mark_comes_once_and_usage_only_if_asked_for(
    three: Platform, one: tuple[Line, Recorded]
) -> None:
    line, _ = one
    key = three.key.encode()
    for _ in range(3):
        plain = await line.ask(body(stream=True), key)
        assert (plain.whole, plain.done) == (True, 1)
        assert plain.body.endswith(b"data: [DONE]\n\n")
        assert all(event["choices"] and "usage" not in event for event in plain.events)
        asked = await line.ask(body(stream=True, stream_options={"include_usage": True}), key)
        assert [bool(event.get("usage")) for event in asked.events].count(True) == 1
        assert asked.events[-1]["usage"]["total_tokens"] == 6
        assert asked.done == 1


async def test_a_truncated_stream_never_ends_as_a_whole_one(
    three: Platform, one: tuple[Line, Recorded]
) -> None:
    for after in range(1, 4):
        fault = {"fault": "truncate", "fault_after_tokens": after, "tokens": 9}
        reply = await ask(port_of(three), body(stream=True, echo=fault), key=three.key.encode())
        assert (reply.status, reply.whole, reply.done) == (200, False, 0)
        assert "error" in reply.events[-1]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("engine", OVERFLOWS)
async def test_a_context_overflow_is_one_error_whatever_the_wording(
    tmp_path: Path, engine: str, stream: bool
) -> None:
    status, said = OVERFLOWS[engine]

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        told = json.dumps(said).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n" % status)
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(told), told))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with rig(tmp_path) as here:
        here.serve(echo=[endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")])
        reply = await ask(here.port, body(stream=stream), key=KEY)
        assert reply.status == 400
        error = reply.error
        assert (error["code"], error["type"]) == (
            "context_length_exceeded",
            "invalid_request_error",
        )
        assert error["param"] == "messages"
    server.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_one_dead_replica_of_two_is_not_noticed(three: Platform, stream: bool) -> None:
    """40 of 40, at once and also right after the other one answered 500 for a while."""
    dead, alive = EchoServer(), EchoServer()
    async with served(three, "half", dead, alive), lines(three, 2) as found:
        await dead.stop()
        key = three.key.encode()
        flaky = Behaviour(fault="error", fault_share=0.2)
        for phase, behaviour in enumerate((Behaviour(), flaky, Behaviour())):
            alive.behaviour = behaviour

            async def one(number: int) -> Reply:
                return await found[number % len(found)].ask(body("half", stream=stream), key)

            replies: list[Any] = [await one(number) for number in range(40)]
            if behaviour is not flaky:
                assert [reply.status for reply in replies] == [200] * 40, phase
