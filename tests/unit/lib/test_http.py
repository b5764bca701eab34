"""Message heads and bodies over bytes: what is read, what is refused, at every cut."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import Invalid, ModelyardError, TooLarge
from modelyard.lib.http import (
    CHUNKED,
    LAST_CHUNK,
    MAX_HEADERS,
    MAX_KNOWN_FIELDS,
    MAX_KNOWN_HEAD_BYTES,
    MAX_KNOWN_HEADS,
    NO_BODY,
    UNTIL_CLOSE,
    ChunkedReader,
    FieldCache,
    HeadCache,
    RequestHead,
    chunk,
    parse_request,
    parse_response,
)


def request(*fields: bytes, line: bytes = b"POST /v1 HTTP/1.1") -> bytes:
    return b"\r\n".join((line, b"Host: x", *fields))


def test_a_request_head() -> None:
    head = parse_request(request(b"Content-Length: 12", b"X-A:  b c ", b"X-A: d"))
    assert (head.method, head.target, head.length) == (b"POST", b"/v1", 12)
    assert head.headers[b"x-a"] == b"b c, d"
    assert head.keep_alive
    assert head.modern
    assert not head.expects_continue


@pytest.mark.parametrize(
    ("data", "keeps"),
    [
        (request(b"Connection: close"), False),
        (request(b"Connection: Keep-Alive, Close"), False),
        (request(line=b"GET / HTTP/1.0"), False),
        (request(b"Connection: keep-alive", line=b"GET / HTTP/1.0"), True),
    ],
)
def test_when_the_connection_stays(data: bytes, keeps: bool) -> None:
    assert parse_request(data).keep_alive is keeps


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /",
        b"GET  / HTTP/1.1\r\nHost: x",
        b"GET / HTTP/2\r\nHost: x",
        b"G(T / HTTP/1.1\r\nHost: x",
        b"GET /\x7f HTTP/1.1\r\nHost: x",
        b"GET / HTTP/1.1",
        request(b"Host: y"),
        request(b"no colon"),
        request(b"Name : x"),
        request(b" folded: x"),
        request(b": x"),
        request(b"X: a\x00b"),
        request(b"X: a\nY: b"),
        request(b"X: a\rb"),
        request(b"Expect: 200-ok"),
        request(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        request(b"Content-Length: 5", b"Content-Length: 5"),
        request(b"Content-Length: -5"),
        request(b"Content-Length: +5"),
        request(b"Content-Length: 0x5"),
        request(b"Content-Length: 5, 5"),
        request(b"Content-Length: 9999999999999999999999"),
        request(b"Transfer-Encoding: gzip, chunked"),
        request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"),
        request(b"Authorization: a", b"Authorization: b"),
    ],
)
def test_what_is_ambiguous_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        parse_request(data)


def test_too_many_headers_are_refused() -> None:
    with pytest.raises(TooLarge):
        parse_request(request(*(b"x-%d: 1" % number for number in range(MAX_HEADERS + 1))))


@given(st.binary(max_size=400))
def test_no_bytes_do_harm(data: bytes) -> None:
    for parse in (parse_request, parse_response):
        try:
            parse(data)
        except ModelyardError:
            continue


@pytest.mark.parametrize(
    ("data", "length", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3", 3, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3", CHUNKED, True),
        (b"HTTP/1.1 200 OK", UNTIL_CLOSE, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3", 3, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close", 3, False),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 3", NO_BODY, True),
        (b"HTTP/1.1 200", UNTIL_CLOSE, False),
    ],
)
def test_how_an_answer_is_framed(data: bytes, length: int, keeps: bool) -> None:
    head = parse_response(data)
    assert (head.length, head.keep_alive) == (length, keeps)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2 200",
        b"HTTP/1.1 abc OK",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip",
    ],
)
def test_a_malformed_answer_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        parse_response(data)


BODY = chunk(b"hello ") + b"5;name=value\r\nworld\r\n" + b"0\r\nTrailer: x\r\n\r\n"


def test_a_chunked_body_cut_anywhere_is_the_same() -> None:
    for cut in range(len(BODY)):
        reader = ChunkedReader()
        text = reader.feed(BODY[:cut]) + reader.feed(BODY[cut:] + b"next")
        assert text == b"hello world", cut
        assert reader.done
        assert reader.rest == b"next"


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 7))
def test_chunks_and_back(pieces: list[bytes], step: int) -> None:
    data = b"".join(map(chunk, pieces)) + LAST_CHUNK
    reader = ChunkedReader()
    read = [reader.feed(data[at : at + step]) for at in range(0, len(data), step)]
    assert b"".join(read) == b"".join(pieces)
    assert reader.done
    assert reader.rest == b""


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"-1\r\n",
        b"5\r\nhello!\r\n",
        b"1" * 300,
        b"ffffffffffffffff\r\n",
        b" 5\r\n",
        b"5;x\ny\r\n",
        b"5;\x00\r\n",
        b"0\r\nno colon\r\n",
        b"0\r\nX: a\nb\r\n",
        b"0\r\n X: y\r\n",
    ],
)
def test_a_malformed_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        ChunkedReader().feed(data)


def test_trailers_have_an_end() -> None:
    reader = ChunkedReader()
    reader.feed(b"0\r\n")
    with pytest.raises(Invalid):
        for _ in range(1000):
            reader.feed(b"X-Trailer: " + b"y" * 100 + b"\r\n")


@given(st.binary(max_size=200), st.integers(1, 9))
def test_no_chunked_bytes_do_harm(data: bytes, step: int) -> None:
    reader = ChunkedReader()
    try:
        for at in range(0, len(data), step):
            if not reader.done:
                reader.feed(data[at : at + step])
    except Invalid:
        return
    assert len(reader.rest) <= len(data)


HEADS = st.lists(
    st.sampled_from([
        b"Content-Length: 5", b"content-length:7", b"Content-Length: ", b"Content-Length: 5, 5",
        b"Content-Length: 12 ", b"X: Content-Length: 5", b"Transfer-Encoding: chunked", b"A: b",
        b"Connection: close", b" Content-Length: 5", b"Content-Length: \x00",
    ]),
    max_size=4,
)  # fmt: skip


def outcome(parse: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return parse(data)
    except ModelyardError as error:
        return type(error), error.message


def told(head: RequestHead, length: int) -> tuple[Any, ...]:
    return head.method, head.target, length, head.keep_alive, head.modern


@given(st.lists(HEADS, min_size=1, max_size=8))
def test_a_head_that_was_seen_before_says_what_it_would_say_anew(series: list[list[bytes]]) -> None:
    cache = HeadCache()
    for fields in series:
        data = request(*fields)
        anew = outcome(lambda data: told((head := parse_request(data)), head.length), data)
        assert outcome(lambda data: told(*cache.parse(data)), data) == anew


def test_what_is_kept_of_heads_and_fields_is_bounded() -> None:
    cache, fields = HeadCache(), FieldCache()
    for number in range(2 * MAX_KNOWN_HEADS + 1):
        cache.parse(request(b"X: %d" % number))
        fields.parse(b"X: %d" % number)
    assert len(cache) <= 2 * MAX_KNOWN_HEADS
    assert len(fields) <= MAX_KNOWN_FIELDS
    cache.parse(request(b"X: " + b"y" * MAX_KNOWN_HEAD_BYTES))
    assert cache.parse(request(b"X: 1"))[0] is cache.parse(request(b"X: 1"))[0]
