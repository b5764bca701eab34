"""What the gateway reads of a request body, and how it changes it without re-encoding it.

The client's own bytes travel on; only `model`, `stream` and `stream_options` are spliced, so
unknown fields, number formats and key order survive.
"""

import re
from typing import Any

import msgspec

from modelyard.errors import Invalid

_MODEL_KEY = re.compile(rb'"model"\s*:\s*')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]')
_SPACE = re.compile(rb"[ \t\r\n]*")


class StreamOptions(msgspec.Struct):
    """`stream_options` of chat and completions."""

    include_usage: bool | None = None


class Inspected(msgspec.Struct):
    """The fields of a chat or completions body that the gateway decides on."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None


_decoder = msgspec.json.Decoder(Inspected)


def inspect(body: bytes) -> Inspected:
    """Check that the body is JSON with a usable `model` and read what matters.

    Raises Invalid with the place and the cause.
    """
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Invalid(_explain(str(error)), code="invalid_request_error") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(
            f"the body is not valid JSON: {error}",
            hint="send a JSON object with content-type application/json",
            code="invalid_json",
        ) from None


def _explain(text: str) -> str:
    if "missing required field `model`" in text:
        return "you must provide a `model`: the name of a service"
    return text.replace("Expected `object`", "expected a JSON object")


def rewrite(body: bytes, seen: Inspected, *, model: str, force_stream: bool = False) -> bytes:
    """The bytes to send upstream.

    `model` replaces the model's name when it is not empty. A streamed request always asks for
    usage; `force_stream` turns an unstreamed one into a streamed one.
    """
    wanted: dict[bytes, bytes] = {}
    if model and model != seen.model:
        wanted[b"model"] = msgspec.json.encode(model)
    if force_stream or seen.stream:
        if not seen.stream:
            wanted[b"stream"] = b"true"
        if seen.stream_options is None or not seen.stream_options.include_usage:
            wanted[b"stream_options"] = b'{"include_usage":true}'
    if not wanted:
        return body
    if (
        len(wanted) == 1
        and b"model" in wanted
        and (quick := _replace_model(body, wanted[b"model"]))
    ):
        return quick
    return _splice(body, wanted)


def _replace_model(body: bytes, value: bytes) -> bytes | None:
    """The common case without a scan of the whole text: exactly one key of that name."""
    match = _MODEL_KEY.search(body)
    if match is None or b"\\u00" in body or body[match.start() - 1 : match.start()] == b"\\":
        return None
    if _MODEL_KEY.search(body, match.end()):
        return None
    old = _STRING.match(body, match.end())
    return body[: match.end()] + value + body[old.end() :] if old else None


def _splice(body: bytes, wanted: dict[bytes, bytes]) -> bytes:
    """Replace the values of top-level keys, or add the keys in front."""
    pieces: list[bytes] = []
    copied = 0
    left = dict(wanted)
    for key, start, end in top_level_values(body):
        if key not in wanted:
            continue
        value = _merged(body[start:end], wanted[key]) if key == b"stream_options" else wanted[key]
        pieces += (body[copied:start], value)
        copied = end
        left.pop(key, None)
    pieces.append(body[copied:])
    text = b"".join(pieces)
    if left:
        opening = text.index(b"{") + 1
        added = b",".join(b'"%b":%b' % item for item in left.items())
        text = text[:opening] + added + b"," + text[opening:]
    return text


def _merged(options: bytes, wanted: bytes) -> bytes:
    """The client's stream options with ours on top: its other options survive."""
    try:
        value: Any = msgspec.json.decode(options)
    except msgspec.DecodeError:
        return wanted
    if not isinstance(value, dict):
        return wanted
    return msgspec.json.encode({**value, "include_usage": True})


def top_level_values(body: bytes) -> list[tuple[bytes, int, int]]:
    """`(key, start, end)` of each member of the top-level object of valid JSON."""
    members: list[tuple[bytes, int, int]] = []
    depth = 0
    key = b""
    start = -1
    last_string = b""
    for token in _TOKENS.finditer(body):
        text = token.group()
        if text[0] == 0x22:  # a string
            last_string = text
        elif text in b"{[":
            depth += 1
        elif text == b":" and depth == 1 and start < 0:
            key = _plain(last_string)
            start = _SPACE.match(body, token.end()).end()  # type: ignore[union-attr]
        elif text == b"," and depth == 1:
            members.append((key, start, _trim(body, token.start())))
            start = -1
        elif text in b"}]":
            depth -= 1
            if depth == 0 and start >= 0:
                members.append((key, start, _trim(body, token.start())))
    return members


def _plain(string: bytes) -> bytes:
    return msgspec.json.decode(string, type=str).encode() if b"\\" in string else string[1:-1]


def _trim(body: bytes, end: int) -> int:
    while body[end - 1] in b" \t\r\n":
        end -= 1
    return end
