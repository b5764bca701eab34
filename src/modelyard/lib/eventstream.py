"""AWS's event streams (`application/vnd.amazon.eventstream`): messages of typed headers and a
payload, with two checksums. Big-endian throughout:

    u32 length | u32 length of headers | u32 CRC of both | headers | payload | u32 CRC of all

Source: "Event stream encoding" in Amazon Transcribe's developer guide, and the event stream
specification of Smithy.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

from modelyard.errors import Upstream

MOST_HEADER_BYTES = 128 * 1024
MOST_MESSAGE_BYTES = 24 * 1024 * 1024
"""What AWS's own clients accept at most."""
_PRELUDE = struct.Struct("!III")
_CRC = struct.Struct("!I")
_LEAST = _PRELUDE.size + _CRC.size
_INTEGERS = {2: struct.Struct("!b"), 3: struct.Struct("!h"), 4: struct.Struct("!i"),
             5: struct.Struct("!q")}  # fmt: skip
_LENGTH = struct.Struct("!H")
_TRUE, _FALSE, _BYTES, _STRING, _TIMESTAMP, _UUID = 0, 1, 6, 7, 8, 9


class Timestamp(NamedTuple):
    """A time in milliseconds since 1970; any of 64 bits, so it is no date."""

    ms: int


Value = bool | int | bytes | str | Timestamp | UUID


class Message(NamedTuple):
    """One message, whole and undamaged."""

    headers: dict[str, Value]
    payload: bytes


class Damaged(Upstream):
    """The bytes are no event stream, or not what was sent."""

    code = "upstream_stream_damaged"


class MessageParser:
    """Takes the bytes of one stream as they come. After damage there is no way on: where the next
    message begins can no longer be known."""

    __slots__ = ("_damage", "_pending")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._damage = ""

    @property
    def is_between_messages(self) -> bool:
        """Whether the stream may end here."""
        return not self._pending and not self._damage

    def feed(self, piece: bytes) -> list[Message]:
        """All messages that `piece` completes. Raises Damaged, then and ever after; where messages
        came whole before the damage they are returned first, and the next call raises."""
        self._pending += piece
        messages: list[Message] = []
        at = 0
        try:
            while not self._damage and (length := self._length(at)):
                messages.append(_message(bytes(self._pending[at : at + length])))
                at += length
        except Damaged as error:
            self._damage = error.message
        if self._damage and not messages:
            raise Damaged(self._damage)
        del self._pending[:at]
        return messages

    def _length(self, at: int) -> int:
        """Of the message that begins there; 0 while it is not whole."""
        held = len(self._pending) - at
        if held < _PRELUDE.size:
            return 0
        length, _ = _lengths(self._pending[at : at + _PRELUDE.size])
        return length if held >= length else 0


def _lengths(prelude: bytes | bytearray) -> tuple[int, int]:
    """The lengths of all and of the headers, checked before anything is waited for or kept."""
    length, headers_length, crc = _PRELUDE.unpack(prelude)
    if crc32(prelude[:8]) != crc:
        raise Damaged("a message of the event stream begins with a wrong checksum")
    if not _LEAST + headers_length <= length <= MOST_MESSAGE_BYTES:
        raise Damaged(f"a message of the event stream has an impossible length: {length} bytes")
    if headers_length > MOST_HEADER_BYTES:
        raise Damaged(f"a message of the event stream has {headers_length} bytes of headers")
    return length, headers_length


def _message(data: bytes) -> Message:
    (crc,) = _CRC.unpack_from(data, len(data) - _CRC.size)
    if crc32(data[: -_CRC.size]) != crc:
        raise Damaged("a message of the event stream ends with a wrong checksum")
    begin = _PRELUDE.size + _lengths(data[: _PRELUDE.size])[1]
    headers = _Headers(data[_PRELUDE.size : begin]).read()
    return Message(headers, data[begin : -_CRC.size])


class _Headers:
    """The headers of one message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self) -> dict[str, Value]:
        headers: dict[str, Value] = {}
        while self._at < len(self._data):
            name = self._text(self._take(1)[0])
            if name in headers:
                raise Damaged(f"a message of the event stream has the header {name!r} twice")
            headers[name] = self._value(self._take(1)[0])
        return headers

    def _value(self, kind: int) -> Value:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in _INTEGERS:
            return self._integer(kind)
        if kind in (_BYTES, _STRING):
            (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
            return self._take(length) if kind == _BYTES else self._text(length)
        if kind == _TIMESTAMP:
            return Timestamp(self._integer(5))
        if kind == _UUID:
            return UUID(bytes=self._take(16))
        raise Damaged(f"a message of the event stream has a header of the unknown type {kind}")

    def _integer(self, kind: int) -> int:
        form = _INTEGERS[kind]
        value: int = form.unpack(self._take(form.size))[0]
        return value

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise Damaged("a message of the event stream has a header that is no text") from None

    def _take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        if len(taken) < length:
            raise Damaged("a message of the event stream has a header that breaks off")
        self._at += length
        return taken


def encoded(headers: Mapping[str, Value], payload: bytes) -> bytes:
    """A message as bytes, for stand-ins of AWS. Integers take the smallest type that holds them."""
    data = b"".join(_header(name, value) for name, value in headers.items())
    lengths = struct.pack("!II", _LEAST + len(data) + len(payload), len(data))
    whole = lengths + _CRC.pack(crc32(lengths)) + data + payload
    return whole + _CRC.pack(crc32(whole))


def _header(name: str, value: Value) -> bytes:
    title = name.encode()
    return bytes((len(title),)) + title + _written(value)


def _written(value: Value) -> bytes:
    match value:
        case bool():
            return bytes((_TRUE if value else _FALSE,))
        case int():
            kind = next(k for k, form in _INTEGERS.items() if -value - 1 < 1 << form.size * 8 - 1
                        and value < 1 << form.size * 8 - 1)  # fmt: skip
            return bytes((kind,)) + _INTEGERS[kind].pack(value)
        case bytes():
            return bytes((_BYTES,)) + _LENGTH.pack(len(value)) + value
        case str():
            text = value.encode()
            return bytes((_STRING,)) + _LENGTH.pack(len(text)) + text
        case Timestamp(ms=ms):
            return bytes((_TIMESTAMP,)) + _INTEGERS[5].pack(ms)
        case UUID():
            return bytes((_UUID,)) + value.bytes
