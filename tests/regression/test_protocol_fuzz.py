"""Bytes that no good client sends, at the gateway's own HTTP/1.1 protocol.

Whatever comes: a typed 4xx or a closed connection; never a 5xx, a hang, an accident in the event
loop, or another client's bytes. Beside every hostile client a steady one asks, and gets exactly its
own answers. (How well-formed requests are cut is in `tests/unit/gateway/test_server.py`.)
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.platform import Platform
from tests.regression.clients import Reply, gateways, lines, port_of, read, read_all, served, talk
from tests.regression.clients import body as body_of
from tests.regression.hostile import (
    BODY,
    CHUNKS,
    HEADS,
    HEALTH,
    HOST,
    LATER_S,
    MARKER,
    MOST_BODY,
    PATH,
    REFUSED,
    SMUGGLED,
    Steady,
    assert_refused,
    chunked,
    content,
    outcome,
    parrot,
    whole,
)
from tests.unit.gateway.rig import KEY, Rig, Wire, endpoint, rig, until, upstream

from modelyard.lib import clock
from modelyard.lib.http import MAX_HEADERS
from modelyard.testing.echo import EchoServer

pytestmark = pytest.mark.anyio
slow = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Rig]:
    limits = {"max_body_bytes": MOST_BODY, "max_header_bytes": 16_384}
    async with upstream(parrot) as url, rig(tmp_path, **limits) as gateway:
        gateway.serve(echo=[endpoint(url)])
        yield gateway


@pytest.fixture
async def steady(one: Rig) -> Steady:
    return Steady(await one.connect())


# --- what two servers might frame differently ----------------------------------------------------


@pytest.mark.parametrize("fields", SMUGGLED)
async def test_ambiguous_framing_is_refused_and_its_tail_is_no_request(
    one: Rig, steady: Steady, fields: bytes
) -> None:
    data = PATH + HOST + fields + b"\r\n" + BODY + HEALTH
    replies = await outcome(one, data)
    assert len(replies) == 1
    assert_refused(replies, 400, 413)
    await steady.ask()


@pytest.mark.parametrize(
    "fields", [b"Transfer_Encoding: chunked\r\n", b"Content_Length: 5\r\n", b"TE: chunked\r\n"]
)
async def test_a_header_that_only_looks_like_framing_frames_nothing(
    one: Rig, fields: bytes
) -> None:
    replies = await outcome(one, PATH + HOST + fields + b"\r\n" + BODY + HEALTH)
    assert [reply.status for reply in replies] == [400, 400], "no body; what follows is garbage"
    assert replies[1].headers["connection"] == "close"


async def test_chunks_over_http_1_0_are_refused(one: Rig) -> None:
    old = PATH.replace(b"1.1", b"1.0")
    data = old + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + BODY + HEALTH
    replies = await outcome(one, data)
    assert len(replies) == 1
    assert_refused(replies, 400)


# --- heads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", HEADS)
async def test_what_is_no_request_is_refused(one: Rig, steady: Steady, data: bytes) -> None:
    assert_refused(await outcome(one, data))
    await steady.ask()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://other.example/v1/chat/completions", 404),
        (b"http://other.example", 404),
        (b"other.example:80", 404),
        (b"*", 404),
        (b"//healthz", 404),
        (b"/healthz/../v1/models", 404),
        (b"/v1/models/%00", 401),
        (b"/" + b"a" * 10_000, 404),
        (b"/healthz#x", 404),
        (b"/healthz?" + b"&" * 10_000, 200),
        (b"\\healthz", 404),
        (b"/healthz;x", 404),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"CONNECT", b"TRACE", b"PROPFIND"])
async def test_targets_of_every_form(one: Rig, method: bytes, target: bytes, status: int) -> None:
    """They are well-formed, so the connection goes on; none is taken for another path."""
    replies = await outcome(one, method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n" + HEALTH)
    if method != b"GET":
        status = 405 if status in (200, 401) else 404
    assert [reply.status for reply in replies] == [status, 200]
    assert b"other.example" not in replies[1].body


async def test_a_flood_of_header_fields_is_too_large(one: Rig, steady: Steady) -> None:
    few = b"".join(b"x-%d: y\r\n" % number for number in range(MAX_HEADERS - 1))
    many = few + b"x-a: y\r\nx-b: y\r\n"
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    assert [reply.status for reply in await outcome(one, get + few + b"\r\n")] == [200]
    assert_refused(await outcome(one, get + many + b"\r\n"), 431)
    same = b"x: y\r\n" * 2_000
    assert [reply.status for reply in await outcome(one, get + same + b"\r\n")] == [200]
    assert_refused(await outcome(one, get + same * 2 + b"\r\n"), 431)
    await steady.ask()


@pytest.mark.parametrize("step", [0, 1000, 7])
async def test_a_head_over_the_limit_is_too_large_however_it_comes(one: Rig, step: int) -> None:
    data = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n" + HEALTH
    replies = await outcome(one, data, step)
    assert len(replies) == 1
    assert_refused(replies, 431)


@pytest.mark.parametrize(
    "value", [b"\xff\xfe", b"\xc3\xa9", b"\xed\xa0\x80", b"\x80" * 100, b"caf\xe9"]
)
async def test_bytes_that_are_no_text_in_a_header_do_no_harm(one: Rig, value: bytes) -> None:
    """They are allowed there (RFC 9110 §5.5); they end up in records as they are."""
    fields = (b"User-Agent: " + value, b"X-Modelyard-Session: " + value, b"X: " + value)
    replies = await outcome(one, whole("marker-bytes-1", *fields))
    assert [reply.status for reply in replies] == [200]
    keyless = PATH + b"Host: x\r\nAuthorization: Bearer " + value + b"\r\nContent-Length: 0\r\n\r\n"
    assert [reply.status for reply in await outcome(one, keyless)] == [401]


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf", b"\x00"]
)
async def test_a_body_that_is_no_text_is_refused_and_the_connection_goes_on(
    one: Rig, bad: bytes
) -> None:
    body = content("marker-bytes-2").replace(b"marker", b"mar" + bad)
    data = PATH + HOST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    replies = await outcome(one, data + whole("marker-bytes-3"))
    assert [reply.status for reply in replies] == [400, 200]
    assert replies[0].error["code"] == "invalid_json"


# --- chunks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", CHUNKS)
@pytest.mark.parametrize("step", [0, 1])
async def test_malformed_chunks_are_refused_and_their_tail_is_no_request(
    one: Rig, steady: Steady, body: bytes, step: int
) -> None:
    replies = await outcome(one, chunked(body) + HEALTH, step and max(1, len(body) // 200))
    assert len(replies) == 1
    assert_refused(replies, 400, 408)
    await steady.ask()


async def test_good_chunks_of_every_kind_are_read(one: Rig) -> None:
    body = content("marker-chunks-1")
    for head in (b"%x", b"%X", b"0000%x", b"%x;ext", b'%x;name="va;lue"', b"%x ;a=b", b"%x\t"):
        data = chunked(head % len(body) + b"\r\n" + body + b"\r\n0;last\r\nTrailer: x\r\n\r\n")
        replies = await outcome(one, data + HEALTH)
        assert [reply.status for reply in replies] == [200, 200], head
        assert b"marker-chunks-1" in replies[0].body


@pytest.mark.parametrize("step", [0, 4093])
async def test_a_bomb_of_tiny_chunks_is_just_a_body(one: Rig, step: int) -> None:
    body = content("marker-bomb-1", padding="x" * 100_000)
    data = chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
    replies = await outcome(one, data + HEALTH, step)
    assert [reply.status for reply in replies] == [200, 200]
    assert b"marker-bomb-1" in replies[0].body


@pytest.mark.parametrize(
    "data",
    [
        chunked(b"fffffffffff\r\n" + b"x" * (MOST_BODY + 1)),
        chunked(b"%x\r\n%b\r\n" % (10_000, b"x" * 10_000) * 21),
        chunked(b"1\r\nx\r\n" * (MOST_BODY + 1)),
        PATH + HOST + b"Content-Length: %d\r\n\r\n" % (MOST_BODY + 1),
        PATH + HOST + b"Content-Length: 999999999999999999\r\n\r\n" + b"x" * 1000,
        PATH + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MOST_BODY + 1),
    ],
    ids=["huge size", "many chunks", "tiny chunks", "said", "said huge", "asked first"],
)
async def test_a_body_over_the_limit_is_too_large_before_it_is_read(
    one: Rig, steady: Steady, data: bytes
) -> None:
    replies = await outcome(one, data, 16_000)
    assert len(replies) == 1
    assert_refused(replies, 413)
    await steady.ask()


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [whole("marker-slow-1"), chunked(b"1\r\nx\r\n" * 50)])
async def test_who_drips_bytes_is_told_and_closed_while_others_are_served(
    tmp_path: Path, sent: bytes
) -> None:
    """Slow-loris: each byte in time, the request never."""
    limits = {"header_timeout_s": 0.2, "body_timeout_s": 0.3}
    async with upstream(parrot) as url, rig(tmp_path, **limits) as one:
        one.serve(echo=[endpoint(url)])
        steady = Steady(await one.connect())
        wires = [await one.connect() for _ in range(20)]
        for byte in sent:
            for wire in wires:
                wire.writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
            one.server.check_limits()
            if wires[0].reader._buffer:  # type: ignore[attr-defined]
                break
        await steady.ask()
        for wire in wires:
            assert_refused(read_all(await wire.rest()), 408)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("sent", [1.0, 0.9, 0.5, 0.1, 0.0])
async def test_a_half_closed_connection_is_closed(
    one: Rig, steady: Steady, sent: float, stream: bool
) -> None:
    data = whole("marker-half-1", stream=stream)
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(data[: int(len(data) * sent)])
    writer.write_eof()
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert answer == b"" or [reply.status for reply in read_all(answer)] == [200]
    await until(lambda: not one.gateway.active)
    await steady.ask()


async def test_a_client_that_never_reads_holds_up_nobody(one: Rig, steady: Steady) -> None:
    """It is sent answers until its buffer is full; then it waits, alone."""
    wire = await one.connect()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    wire.writer.write(HEALTH * 20_000)
    for _ in range(5):
        await asyncio.sleep(0.01)
        await steady.ask()
    wire.writer.transport.abort()


# --- requests sent ahead -------------------------------------------------------------------------


def requests(name: str) -> Iterator[tuple[bytes, int, bytes]]:
    """Requests of every kind, the status of each, and what its answer must hold."""
    for number in count():
        marker = f"marker-{name}-{number}"
        kinds = (
            (whole(marker), 200, marker.encode()),
            (whole(marker, stream=True), 200, marker.encode()),
            (HEALTH, 200, b'"ok"'),
            (whole(marker).replace(b'"echo"', b'"nope"'), 404, b"nope"),
            (whole(marker).replace(KEY, b"my_no_key"), 401, b"incorrect API key"),
            (whole(marker).replace(b'"model"', b"'model'"), 400, b"not valid JSON"),
            (b"GET /v1/x%d HTTP/1.1\r\nHost: x\r\n\r\n" % number, 404, b"/v1/x%d " % number),
            (b"DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405, b"takes GET"),
        )
        yield kinds[number * 7 % len(kinds)]


@pytest.mark.parametrize("step", [0, 1, 61, 5000])
async def test_what_is_sent_ahead_is_answered_in_order_up_to_the_garbage(
    one: Rig, steady: Steady, step: int
) -> None:
    many = [found for found, _ in zip(requests("ahead"), range(64), strict=False)]
    data = b"".join(request for request, _, _ in many)
    garbage = b"\x00\x01garbage\r\n\r\n"
    wire = await one.connect()
    sent = data + garbage + whole("marker-after-1") + HEALTH
    for at in range(0, len(sent), step or len(sent)):
        wire.feed(sent[at : at + (step or len(sent))])
    await until(lambda: wire.protocol._transport is None or wire.protocol._linger_until_s)
    wire.protocol.check_limits(clock.monotonic_s() + LATER_S)
    replies = read_all(await wire.rest())
    assert [reply.status for reply in replies] == [status for _, status, _ in many] + [400]
    for reply, (_, _, part) in zip(replies, many, strict=False):
        assert part in reply.body
        assert set(MARKER.findall(reply.body)) <= {part}
    assert b"marker-after" not in b"".join(reply.body for reply in replies)
    await steady.ask()


async def test_two_clients_that_send_ahead_get_their_own_answers(one: Rig) -> None:
    async def client(name: str, wire: Wire) -> None:
        many = [found for found, _ in zip(requests(name), range(96), strict=False)]
        wire.writer.write(b"".join(request for request, _, _ in many))
        seen, replies = b"", []
        async with asyncio.timeout(20):
            while len(replies) < len(many):
                seen += await wire.reader.read(65536)
                while (found := read(seen))[0].whole:
                    replies.append(found[0])
                    seen = found[1]
        assert seen == b""
        for reply, (_, status, part) in zip(replies, many, strict=True):
            assert reply.status == status
            assert part in reply.body
            assert set(MARKER.findall(reply.body)) <= {part}

    names = ("left", "right", "middle")
    wires = [await one.connect() for _ in names]
    await asyncio.gather(*map(client, names, wires))


# --- the same over real sockets ------------------------------------------------------------------


async def test_real_processes_survive_all_of_it(three: Platform) -> None:
    """uvloop's transports, real sockets, other clients meanwhile; and no process is another one."""
    port, before = port_of(three), await asyncio.to_thread(gateways, three)
    hostile = [PATH + HOST + fields + b"\r\n" + BODY + HEALTH for fields in SMUGGLED]
    hostile += [chunked(body) + HEALTH for body in CHUNKS]
    hostile += [*HEADS, *(os.urandom(size) for size in (1, 100, 10_000, 70_000))]

    async def attack(data: bytes) -> int:
        for close in (True, False) if b"\r\n\r\n" in data[:-4] else (True,):
            replies = read_all(await talk(port, data, close=close))
            assert_refused(replies)
        return len(replies)

    async with served(three, "calm", EchoServer()), lines(three) as found:
        busy = asyncio.gather(*map(attack, hostile))
        answered = 0
        while not busy.done() or answered < 30:
            for line in found:
                reply = await line.ask(body_of("calm"), three.key.encode())
                assert (reply.status, reply.text) == (200, "one two three ")
                answered += 1
        assert sum(await busy) > len(hostile) * 0.8, "most of them are told why"
    assert await asyncio.to_thread(gateways, three) == before


# --- anything ------------------------------------------------------------------------------------

SEED = whole("marker-seed-0", b"User-Agent: x/1", b"Connection: keep-alive")
SEEDS = (
    SEED,
    whole("marker-seed-1", b"Connection: close", stream=True),
    chunked(b"%x\r\n%b\r\n0\r\nT: x\r\n\r\n" % (len(content("marker-s-2")), content("marker-s-2"))),
    HEALTH + SEED,
)
SPICES = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"0\r\n\r\n", b"\xff",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1", HEALTH, b'"', b"{",
    b"\\", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Host: y\r\n", b"99999999999",
    b"chunked",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid request with a few things put in, taken out, doubled or changed."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        change = draw(st.sampled_from(["put", "cut", "double", "swap", "noise"]))
        if change == "put":
            data[at:at] = draw(st.sampled_from(SPICES))
        elif change == "cut":
            del data[at:end]
        elif change == "double":
            data[end:end] = data[at:end]
        elif change == "swap":
            data[at:end] = draw(st.sampled_from(SPICES))
        else:
            data[at:end] = draw(st.binary(max_size=8))
    return bytes(data)


def assert_sane(replies: list[Reply]) -> None:
    """Answers of ours, each with its own bytes, and nothing after a refusal that closes."""
    for number, reply in enumerate(replies):
        assert reply.status in REFUSED | {100, 200}, reply
        assert b"steady" not in reply.body, "nobody else's bytes"
        if reply.status in (408, 413, 431):
            assert number == len(replies) - 1
        if reply.headers.get("connection") == "close":
            assert number == len(replies) - 1


@slow
@given(mutated(), st.sampled_from([0, 0, 1, 13, 200]))
@example(SEED[:-1], 0)
@example(SEED + b"\r\n", 0)
@example(SEED.replace(b"\r\n", b"\n"), 0)
async def test_any_change_to_a_request_ends_in_an_answer_or_a_close(
    one: Rig, steady: Steady, data: bytes, step: int
) -> None:
    replies = await outcome(one, data, step)
    assert_sane(replies)
    await steady.ask()


field_name = st.sampled_from(
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Authorization",
     b"X", b"host", b"TE", b"Trailer", b"Upgrade", b"", b" X", b"X ", b"\x00"]
)  # fmt: skip
field_value = st.sampled_from(
    [b"x", b"", b"5", b"0", b"chunked", b"close", b"keep-alive", b"100-continue", b"a, b", b"\x00",
     b"h2c", b"Bearer " + KEY, b"\xff", b"5, 5", b"gzip, chunked"]
)  # fmt: skip
colon = st.sampled_from([b": ", b":", b" : ", b"", b":\t"])
line_end = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n "])
method = st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"", b"get"])
target = st.sampled_from(
    [b"/healthz", b"/v1/chat/completions", b"/v1/models", b"*", b"http://x/", b"/\x00", b""]
)
version = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b""])
field = st.tuples(field_name, colon, field_value, line_end).map(b"".join)
message = st.tuples(
    method, st.just(b" "), target, st.just(b" "), version, line_end,
    st.lists(field, max_size=6).map(b"".join), st.just(b"\r\n"),
    st.sampled_from([b"", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n",
                     content("marker-s-2")]),
).map(b"".join)  # fmt: skip


@slow
@given(st.lists(message, min_size=1, max_size=4).map(b"".join), st.sampled_from([0, 1, 50]))
async def test_messages_of_odd_parts_end_in_answers_or_a_close(
    one: Rig, steady: Steady, data: bytes, step: int
) -> None:
    assert_sane(await outcome(one, data, step))
    await steady.ask()


async def test_noise_is_refused(one: Rig, steady: Steady) -> None:
    for size in (1, 10, 1000, 30_000):
        for _ in range(10):
            assert_refused(await outcome(one, os.urandom(size)))
    await steady.ask()
