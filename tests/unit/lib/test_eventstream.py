"""AWS's event streams: whole, in pieces, damaged."""

from struct import pack
from uuid import UUID
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from modelyard.lib.eventstream import (
    MOST_HEADER_BYTES,
    MOST_MESSAGE_BYTES,
    Damaged,
    Message,
    MessageParser,
    Timestamp,
    encoded,
)

PUBLISHED = [
    (bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff"), Message({}, b"")),
    (
        bytes.fromhex("0000001d 00000000 fd528c5a") + b"{'foo':'bar'}" + b"\xc3e96",
        Message({}, b"{'foo':'bar'}"),
    ),
    (
        bytes.fromhex("0000003d 00000020 07fd8396") + b"\x0ccontent-type\x07\x00\x10"
        b"application/json{'foo':'bar'}" + bytes.fromhex("8d9c08b1"),
        Message({"content-type": "application/json"}, b"{'foo':'bar'}"),
    ),
]
"""Of AWS's own clients' tests."""

INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)
VALUES = st.one_of(
    st.booleans(), INTEGERS, st.binary(max_size=20), st.text(st.characters(codec="utf-8")),
    st.builds(Timestamp, INTEGERS), st.uuids(),
)  # fmt: skip
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
MESSAGES = st.builds(Message, st.dictionaries(NAMES, VALUES, max_size=5), st.binary(max_size=40))


def read(data: bytes) -> list[Message]:
    parser = MessageParser()
    messages = parser.feed(data)
    assert parser.is_between_messages
    return messages


@pytest.mark.parametrize(("data", "message"), PUBLISHED)
def test_published_messages_are_read_and_written(data: bytes, message: Message) -> None:
    assert read(data) == [message]
    assert encoded(*message) == data


@given(st.lists(MESSAGES, max_size=4), st.lists(st.integers(1, 50), max_size=8))
def test_messages_come_back_however_they_are_cut(messages: list[Message], cuts: list[int]) -> None:
    data = b"".join(encoded(*message) for message in messages)
    parser, found = MessageParser(), []
    for length in cuts:
        found += parser.feed(data[:length])
        data = data[length:]
    found += parser.feed(data)
    assert found == messages
    assert [[type(value) for value in m.headers.values()] for m in found] == [
        [type(value) for value in m.headers.values()] for m in messages
    ]
    assert parser.is_between_messages


EDGES = [0, -1, 127, 128, -128, -129, 32767, 32768, -32768, -32769, (1 << 31) - 1, 1 << 31,
         -(1 << 31), -(1 << 31) - 1, (1 << 63) - 1, -(1 << 63)]  # fmt: skip


@pytest.mark.parametrize("value", EDGES)
def test_integers_take_the_type_that_holds_them(value: int) -> None:
    data = encoded({"n": value}, b"")
    assert read(data) == [Message({"n": value}, b"")]
    bits = max(8, 8 * len(data.split(b"\x01n", 1)[1][1:-4]))
    assert bits == next(
        size for size in (8, 16, 32, 64) if -(1 << size - 1) <= value < 1 << size - 1
    )


@given(MESSAGES, st.data())
def test_no_changed_byte_goes_unnoticed(message: Message, data: st.DataObject) -> None:
    whole = bytearray(encoded(*message))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    parser = MessageParser()
    try:
        assert parser.feed(bytes(whole)) == []
    except Damaged as error:
        assert error.message
        with pytest.raises(Damaged):
            parser.feed(b"")
    assert not parser.is_between_messages


@given(st.binary(max_size=80))
def test_anything_else_is_damage_or_not_whole_yet(data: bytes) -> None:
    parser = MessageParser()
    try:
        messages = parser.feed(data)
    except Damaged:
        assert not parser.is_between_messages
    else:
        assert parser.is_between_messages == (sum(len(encoded(*m)) for m in messages) == len(data))


def test_what_came_whole_before_the_damage_is_not_lost() -> None:
    parser = MessageParser()
    good = encoded({":event-type": "x"}, b"{}")
    assert parser.feed(good + b"\0" * 16) == [Message({":event-type": "x"}, b"{}")]
    assert not parser.is_between_messages
    with pytest.raises(Damaged, match="wrong checksum"):
        parser.feed(b"")


def prelude(length: int, headers_length: int) -> bytes:
    lengths = pack("!II", length, headers_length)
    return lengths + pack("!I", crc32(lengths))


IMPOSSIBLE = [
    (15, 0, "impossible length: 15"), (16, 1, "impossible length: 16"),
    (MOST_MESSAGE_BYTES + 1, 0, "impossible length"), (0, 0, "impossible length"),
    ((1 << 32) - 1, (1 << 32) - 1, "impossible length"),
    (MOST_MESSAGE_BYTES, MOST_HEADER_BYTES + 1, "bytes of headers"),
]  # fmt: skip


@pytest.mark.parametrize(("length", "headers_length", "message"), IMPOSSIBLE)
def test_what_is_too_long_is_not_waited_for(length: int, headers_length: int, message: str) -> None:
    with pytest.raises(Damaged, match=message):
        MessageParser().feed(prelude(length, headers_length))


def with_headers(data: bytes) -> bytes:
    whole = prelude(16 + len(data), len(data)) + data
    return whole + pack("!I", crc32(whole))


BAD_HEADERS = [
    (b"\x01n\x0a", "unknown type 10"), (b"\x01n\x04\0\0", "breaks off"), (b"\x05n", "breaks off"),
    (b"\x01n\x07\0\x09abc", "breaks off"), (b"\x01n", "breaks off"),
    (b"\x01n\x07\0\x01\xff", "no text"), (b"\x01\xff\x00", "no text"),
    (b"\x01n\x00\x01n\x01", "'n' twice"), (b"\x01n\x09\0", "breaks off"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), BAD_HEADERS)
def test_headers_that_make_no_sense_are_damage(data: bytes, message: str) -> None:
    with pytest.raises(Damaged, match=message):
        MessageParser().feed(with_headers(data))


def test_all_types_are_read() -> None:
    uuid = UUID(int=5)
    headers = {"t": True, "f": False, "b": 1, "s": 300, "i": 70_000, "l": 1 << 40, "y": b"\0",
               "x": "é", "d": Timestamp(-1), "u": uuid}  # fmt: skip
    assert read(encoded(headers, b"p")) == [Message(headers, b"p")]


@given(st.dictionaries(NAMES, st.one_of(st.booleans(), INTEGERS, st.binary(max_size=9), NAMES)),
       st.binary(max_size=30))  # fmt: skip
def test_messages_are_those_of_botocore(
    headers: dict[str, bool | int | bytes | str], payload: bytes
) -> None:
    theirs = EventStreamBuffer()
    theirs.add_data(encoded(headers, payload))
    (event,) = list(theirs)
    assert (event.headers, event.payload) == (headers, payload)
