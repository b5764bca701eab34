"""Strict HTTP/1.1 message heads over bytes (RFC 9110, RFC 9112), for both sides of the gateway.

Parsing is a pure function of the bytes received so far. What is ambiguous is refused: that is
what request smuggling lives on (RFC 9112 §11.2). Bodies are framed by `ChunkedReader` or by
length; nothing here touches a socket.
"""

import re
from typing import Any, NamedTuple

from modelyard.errors import Invalid, TooLarge

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})(?=\r\n|$)", re.IGNORECASE)

NO_BODY = 0
CHUNKED = -1
UNTIL_CLOSE = -2

MAX_HEADERS = 128
MAX_CHUNK_LINE_BYTES = 256
MAX_TRAILER_BYTES = 8192
MAX_KNOWN_HEADS = 2048
MAX_KNOWN_HEAD_BYTES = 2048
"""Larger heads are parsed each time: what a HeadCache keeps is bounded to some megabytes."""
MAX_KNOWN_FIELDS = 1024
MAX_KNOWN_FIELD_BYTES = 256


class RequestHead:
    """A request's head. `length` is the body's length in bytes, or CHUNKED; a head from a HeadCache
    stands for many requests, whose lengths come beside it. Header names are lower case."""

    __slots__ = (
        "expects_continue",
        "headers",
        "keep_alive",
        "length",
        "memo",
        "method",
        "modern",
        "path",
        "target",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: dict[bytes, bytes],
        length: int,
        *,
        keep_alive: bool,
        expects_continue: bool,
        modern: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.path = target.partition(b"?")[0]
        self.headers = headers
        self.length = length
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.modern = modern
        """HTTP/1.1; a 1.0 client knows no chunks."""
        self.memo: Any = None
        """What a server found out about this head once, for the next request with it."""


class ResponseHead(NamedTuple):
    """`length` is the body's length in bytes, CHUNKED or UNTIL_CLOSE."""

    status: int
    headers: list[tuple[bytes, bytes]]
    length: int
    keep_alive: bool

    def get(self, name: bytes) -> bytes:
        """The first value of a header by its lower-case name, or `b""`."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""


def parse_request(head: bytes) -> RequestHead:
    """Parse a head without its closing empty line. Raises Invalid, saying what is wrong."""
    line, _, rest = head.partition(b"\r\n")
    parts = line.split(b" ")
    if len(parts) != 3:
        raise Invalid("malformed request line")
    method, target, version = parts
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise Invalid("malformed request line")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Invalid("only HTTP/1.1 and HTTP/1.0 are spoken here")
    headers = _request_headers(rest)
    modern = version == b"HTTP/1.1"
    if modern and b"host" not in headers:
        raise Invalid("the Host header is missing")
    connection = headers.get(b"connection", b"").lower()
    keep_alive = b"close" not in connection if modern else b"keep-alive" in connection
    expects = headers.get(b"expect", b"").lower()
    if expects not in (b"", b"100-continue"):
        raise Invalid("only `Expect: 100-continue` is understood")
    return RequestHead(
        method,
        target,
        headers,
        _request_length(headers, modern),
        keep_alive=keep_alive,
        expects_continue=bool(expects),
        modern=modern,
    )


class HeadCache:
    """Heads that were parsed before. A client sends the same one again and again but for the length
    of the body, so a head is looked up by its bytes without that number."""

    __slots__ = ("_sized", "_whole")

    def __init__(self) -> None:
        self._sized: dict[bytes, RequestHead] = {}
        self._whole: dict[bytes, RequestHead] = {}
        """Kept apart: a head with an empty Content-Length must not be taken for a sized one."""

    def parse(self, data: bytes) -> tuple[RequestHead, int]:
        """The head without its closing empty line, and the body's length. Raises like
        `parse_request`."""
        match = _LENGTH.search(data)
        if match is None:
            head = self._whole.get(data) or self._keep(self._whole, data, data)
            return head, head.length
        start, end = match.span(1)
        key = data[:start] + data[end:]
        head = self._sized.get(key) or self._keep(self._sized, key, data)
        return head, int(data[start:end])

    def __len__(self) -> int:
        return len(self._sized) + len(self._whole)

    def _keep(self, heads: dict[bytes, RequestHead], key: bytes, data: bytes) -> RequestHead:
        head = parse_request(data)
        if len(key) <= MAX_KNOWN_HEAD_BYTES:
            if len(heads) >= MAX_KNOWN_HEADS:
                heads.clear()
            heads[key] = head
        return head


def _request_headers(block: bytes) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in block.split(b"\r\n"):
        if not line:
            continue
        name, value = _header(line)
        if name in headers:
            if name in (b"host", b"content-length", b"transfer-encoding", b"authorization"):
                raise Invalid(f"the {name.decode()} header came twice")
            value = headers[name] + b", " + value
        headers[name] = value
        if len(headers) > MAX_HEADERS:
            raise TooLarge(f"more than {MAX_HEADERS} header fields")
    return headers


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name):
        raise Invalid("malformed header field")
    value = value.strip(b" \t")
    if _BAD_VALUE.search(value):
        raise Invalid(f"control character in the header {name.decode()}")
    return name.lower(), value


def _request_length(headers: dict[bytes, bytes], modern: bool) -> int:
    encoding = headers.get(b"transfer-encoding")
    length = headers.get(b"content-length")
    if encoding is not None:
        if length is not None:
            raise Invalid("Content-Length and Transfer-Encoding exclude each other")
        if not modern or encoding.lower() != b"chunked":
            raise Invalid("the only transfer coding understood is `chunked`, over HTTP/1.1")
        return CHUNKED
    if length is None:
        return NO_BODY
    if not _DIGITS.fullmatch(length):
        raise Invalid("Content-Length is not a number")
    return int(length)


class FieldCache:
    """Header fields that were parsed before: engines send the same ones with every answer."""

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields: dict[bytes, tuple[bytes, bytes]] = {}

    def __len__(self) -> int:
        return len(self._fields)

    def parse(self, line: bytes) -> tuple[bytes, bytes]:
        """Lower-case name and value. Raises Invalid."""
        field = self._fields.get(line)
        if field is None:
            field = _header(line)
            if len(line) <= MAX_KNOWN_FIELD_BYTES:
                if len(self._fields) >= MAX_KNOWN_FIELDS:
                    self._fields.clear()
                self._fields[line] = field
        return field


def parse_response(head: bytes, fields: FieldCache | None = None) -> ResponseHead:
    """Parse the head of an answer, of which `fields` may know parts. Raises Invalid on anything
    malformed."""
    line, *lines = head.split(b"\r\n")
    if not line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")) or not line[9:12].isdigit():
        raise Invalid("the upstream does not speak HTTP/1.1")
    status = int(line[9:12])
    parse = fields.parse if fields is not None else _header
    headers = [parse(field) for field in lines if field]
    keep_alive = line.startswith(b"HTTP/1.1")
    lengths: set[bytes] = set()
    length = NO_BODY if status in (204, 304) or status < 200 else UNTIL_CLOSE
    for name, value in headers:
        if name == b"content-length":
            lengths.add(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise Invalid("the upstream uses an unknown transfer coding")
            length = CHUNKED
        elif name == b"connection":
            keep_alive = b"close" not in value.lower()
    if lengths and length == UNTIL_CLOSE:
        length = _response_length(lengths)
    return ResponseHead(status, headers, length, keep_alive and length != UNTIL_CLOSE)


def _response_length(lengths: set[bytes]) -> int:
    text = lengths.pop()
    if lengths or not _DIGITS.fullmatch(text):
        raise Invalid("the upstream sent a malformed Content-Length")
    return int(text)


class ChunkedReader:
    """Decodes a chunked body piece by piece (RFC 9112 §7.1).

    `feed` returns the data decoded so far; `done` turns true with the last chunk, and `rest`
    then holds the bytes behind the body. Extensions are skipped and trailers dropped, but only well
    formed ones: a bare line feed in them ends a line for some servers, and smuggles a request.
    """

    __slots__ = ("_at", "_buffer", "_left", "_state", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        """What of the buffer is done with: it is cut once a piece, not once a chunk."""
        self._left = 0
        self._state = "size"
        self._trailers = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Raises Invalid on a malformed body."""
        self._buffer = self._buffer + data if self._buffer else data
        self._at = 0
        pieces: list[bytes] = []
        while not self.done and self._step(pieces):
            pass  # each step consumes input; it says false when more is needed
        left = self._buffer[self._at :]
        self._buffer, self.rest = (b"", left) if self.done else (left, b"")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _step(self, pieces: list[bytes]) -> bool:
        if self._state == "data":
            return self._take_data(pieces)
        limit = MAX_TRAILER_BYTES if self._state == "trailer" else MAX_CHUNK_LINE_BYTES
        end = self._buffer.find(b"\r\n", self._at, self._at + limit + 2)
        if end < 0:
            if len(self._buffer) - self._at > limit:
                raise Invalid("a chunk header or trailer is too long")
            return False
        line, self._at = self._buffer[self._at : end], end + 2
        if self._state == "size":
            self._take_size(line)
        elif self._state == "crlf":
            if line:
                raise Invalid("a chunk is longer than it says")
            self._state = "size"
        elif not line:
            self.done = True
        else:
            _header(line)
            self._trailers += len(line)
            if self._trailers > MAX_TRAILER_BYTES:
                raise Invalid("the trailers of a chunked body are too long")
        return True

    def _take_size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise Invalid("malformed chunk size")
        self._left = int(match[1], 16)
        self._state = "data" if self._left else "trailer"

    def _take_data(self, pieces: list[bytes]) -> bool:
        piece = self._buffer[self._at : self._at + self._left]
        if not piece:
            return False
        self._at += len(piece)
        self._left -= len(piece)
        pieces.append(piece)
        if not self._left:
            self._state = "crlf"
        return True


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; `data` must not be empty (that would end it)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
