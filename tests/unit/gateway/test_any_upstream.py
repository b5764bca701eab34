"""Whatever bytes an upstream sends, a request ends once, with a record, and nothing breaks."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.gateway.rig import endpoint, post, question, rig, upstream

pytestmark = pytest.mark.anyio
DEEP = b"[" * 100_000 + b"]" * 100_000

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**20) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([
            "choices", "delta", "message", "text", "index", "content", "tool_calls", "function",
            "arguments", "logprobs", "usage", "prompt_tokens", "error", "code", "finish_reason",
        ]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def events(*values: bytes) -> bytes:
    lines = b"".join(b"data: %b\n\n" % value for value in values)
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + lines
    )


def chunk_of(choice: object) -> bytes:
    return json.dumps({"choices": [choice]}).encode()


def tool(index: object) -> bytes:
    return chunk_of({"delta": {"tool_calls": [{"index": index, "function": {"name": "f"}}]}})


SHAPES = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=100).map(whole),
    JSON.map(lambda value: whole(json.dumps(value).encode())),
    st.lists(JSON.map(lambda value: json.dumps(value).encode()), max_size=4).map(
        lambda values: events(*values, b"[DONE]")
    ),
    st.lists(st.lists(JSON, max_size=2).map(lambda value: json.dumps({"choices": value}).encode()),
             max_size=4).map(lambda values: events(*values, b"[DONE]")),
)  # fmt: skip


@settings(max_examples=100, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(SHAPES, st.booleans(), st.booleans())
@example(whole(b'{"x":%b}' % DEEP), False, False)
@example(whole(b'{"error":%b}' % DEEP), False, False)
@example(whole(b'{"error":{"message":"\xff"}}'), False, False)
@example(whole(b'{"error":{"message":"\xff"}}').replace(b"200", b"500", 1), False, False)
@example(whole(b'{"error":%b}' % DEEP).replace(b"200", b"500", 1), True, False)
@example(events(b'{"x":%b}' % DEEP, b"[DONE]"), False, True)
@example(events(b'{"error":%b}' % DEEP, b"[DONE]"), True, True)
@example(events(b'{"error":{"message":"\xff"}}', b"[DONE]"), True, True)
@example(events(b'{"id":"\xff","choices":[{"delta":{"content":"x"}}]}', b"[DONE]"), False, True)
@example(events(chunk_of({"delta": "text"}), b"[DONE]"), False, True)
@example(events(chunk_of({"delta": {"tool_calls": 5}}), b"[DONE]"), False, True)
@example(events(chunk_of({"index": "a"}), chunk_of({"index": 1}), b"[DONE]"), False, True)
@example(events(chunk_of({"index": [1]}), b"[DONE]"), False, True)
@example(events(tool(10**12), b"[DONE]"), False, True)
@example(events(tool(-1), b"[DONE]"), False, True)
@example(events(b'{"object":["x"],"choices":[]}', b"[DONE]"), False, True)
async def test_any_answer(tmp_path: Path, answer: bytes, stream: bool, assembled: bool) -> None:
    async def say(_: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer)
        return False

    async with upstream(say) as url, rig(tmp_path) as one:
        one.serve(echo=[endpoint(url, cancels_without_stream=not assembled)])
        wire = await one.connect()
        wire.writer.write(post(question(stream=stream), b"Connection: close"))
        head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
        records = one.records()
        assert one.in_flight() == 0
    assert len(records) == 1
    assert head.startswith(b"HTTP/1.1 %d " % records[0]["status"])
    assert (records[0]["outcome"] == "completed") is not bool(records[0]["error_code"])
    if b"chunked" not in head:
        json.loads(body)
    elif records[0]["outcome"] == "failed":
        assert b"[DONE]" not in body
        assert b'data: {"error"' in body
