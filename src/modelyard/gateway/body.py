"""What the gateway reads of a request body, and how it changes it without re-encoding it.

The client's own bytes travel on; only `model`, `stream` and `stream_options` are spliced, so
unknown fields, number formats and key order survive.
"""

import re
import secrets
from typing import Annotated, TypeVar

import msgspec

from modelyard.errors import Invalid

_MODEL_KEY = re.compile(rb'"model"\s*:\s*')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_CONVERSATION = re.compile(rb'"(?:messages|prompt)"\s*:\s*')
_LONG_BYTES = 4096
_PLACE = b'"%b"' % secrets.token_hex(16).encode()
"""Stands for the conversation while the rest of a long body is changed; nobody can guess it."""


MOST_CHOICES = 1024
Tokens = Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]
"""A number of tokens: what limits are reserved by is checked before it is added to anything."""


class StreamOptions(msgspec.Struct):
    """`stream_options` of chat and completions."""

    include_usage: bool | None = None


class Inspected(msgspec.Struct):
    """The fields of a chat or completions body that the gateway decides on."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    return_progress: bool | None = None
    user: msgspec.Raw = msgspec.Raw()
    """For whom the client asks: only a trusted key is believed."""
    safety_identifier: msgspec.Raw = msgspec.Raw()
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)] | None = None
    messages: msgspec.Raw = msgspec.Raw()
    prompt_text: msgspec.Raw = msgspec.field(name="prompt", default=msgspec.Raw())
    suffix: msgspec.Raw = msgspec.Raw()
    """Of completions: what comes after the text that is asked for."""
    echo: msgspec.Raw = msgspec.Raw()
    """Of completions: whether the question is said again before the answer."""
    tools: msgspec.Raw = msgspec.Raw()
    response_format: msgspec.Raw = msgspec.Raw()
    tool_choice: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    stop: msgspec.Raw = msgspec.Raw()
    logprobs: msgspec.Raw = msgspec.Raw()

    def prompt(self) -> bytes:
        """What the engine reads, in about its order, as the client wrote it: prompts that begin
        with the same bytes begin with the same tokens."""
        text = bytes(self.messages) or bytes(self.prompt_text)
        return bytes(self.tools) + text if self.tools else text


def asks_more(seen: Inspected) -> bool:
    """Whether there is anything in the request that some endpoint may not do: most have nothing."""
    return bool(
        seen.tools
        or seen.stop
        or seen.response_format
        or seen.n
        or seen.tool_choice
        or seen.logprobs
        or seen.function_call
        or seen.suffix
        or seen.echo
    )


class _Messages(msgspec.Struct):
    """Of a body of `/v1/messages`."""

    model: str
    stream: bool | None = None
    max_tokens: Tokens | None = None
    messages: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    metadata: msgspec.Raw = msgspec.Raw()
    output_config: msgspec.Raw = msgspec.Raw()
    output_format: msgspec.Raw = msgspec.Raw()
    tool_choice: msgspec.Raw = msgspec.Raw()
    stop_sequences: msgspec.Raw = msgspec.Raw()


class _Responses(msgspec.Struct):
    """Of a body of `/v1/responses`."""

    model: str
    stream: bool | None = None
    max_output_tokens: Tokens | None = None
    input: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    user: msgspec.Raw = msgspec.Raw()
    safety_identifier: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()
    tool_choice: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(Inspected)
_messages = msgspec.json.Decoder(_Messages)
_responses = msgspec.json.Decoder(_Responses)
_Read = TypeVar("_Read")


def inspect(body: bytes) -> Inspected:
    """Check that the body is JSON with a usable `model` and read what matters.

    Raises Invalid with the place and the cause.
    """
    return _read(_decoder, body)


def inspect_messages(body: bytes) -> Inspected:
    """The same of a body in Anthropic's dialect."""
    seen = _read(_messages, body)
    return Inspected(
        model=seen.model,
        stream=seen.stream,
        max_tokens=seen.max_tokens,
        messages=seen.messages,
        tools=msgspec.Raw(bytes(seen.tools) + bytes(seen.system)),
        user=seen.metadata,
        response_format=seen.output_config or seen.output_format,
        tool_choice=seen.tool_choice,
        stop=seen.stop_sequences,
    )


def inspect_responses(body: bytes) -> Inspected:
    """The same of a body in the dialect of OpenAI's responses."""
    seen = _read(_responses, body)
    return Inspected(
        model=seen.model,
        stream=seen.stream,
        max_tokens=seen.max_output_tokens,
        messages=seen.input,
        tools=msgspec.Raw(bytes(seen.tools) + bytes(seen.instructions)),
        user=seen.user,
        safety_identifier=seen.safety_identifier,
        response_format=seen.text,
        tool_choice=seen.tool_choice,
    )


def _read(decoder: "msgspec.json.Decoder[_Read]", body: bytes) -> _Read:
    try:
        if not body.isascii():
            body.decode()  # engines fail on what is no UTF-8, and the fault would seem theirs
        return decoder.decode(body)
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


def named(body: bytes, seen: Inspected, model: str) -> bytes:
    """The body with the endpoint's name of the model, and nothing else changed."""
    wanted = {b"model": msgspec.json.encode(model)} if model and model != seen.model else {}
    return _changed(body, wanted)


def rewrite(
    body: bytes,
    seen: Inspected,
    *,
    model: str,
    force_stream: bool = False,
    ask_progress: bool = False,
) -> bytes:
    """The bytes to send upstream.

    `model` replaces the model's name when it is not empty. A streamed request always asks for
    usage, and with `ask_progress` for the length of its prompt; `force_stream` turns an unstreamed
    one into a streamed one.
    """
    wanted: dict[bytes, bytes] = {}
    if model and model != seen.model:
        wanted[b"model"] = msgspec.json.encode(model)
    if force_stream or seen.stream:
        if not seen.stream:
            wanted[b"stream"] = b"true"
        if seen.stream_options is None or not seen.stream_options.include_usage:
            wanted[b"stream_options"] = b'{"include_usage":true}'
        if ask_progress and seen.return_progress is None:
            wanted[b"return_progress"] = b"true"
    if len(body) >= _LONG_BYTES and (parts := _parts(body, seen)) is not None:
        before, value, after = parts
        outline = _changed(before + _PLACE + after, wanted)
        return outline.replace(_PLACE, value, 1)
    return _changed(body, wanted)


def _parts(body: bytes, seen: Inspected) -> tuple[bytes, bytes, bytes] | None:
    """A long body around its conversation: nothing is searched for in what people wrote."""
    match = _CONVERSATION.search(body)
    value = bytes(seen.messages) or bytes(seen.prompt_text)
    if match is None or not body.startswith(value, match.end()):
        return None
    end = match.end() + len(value)
    return body[: match.end()], body[match.end() : end], body[end:]


def _changed(body: bytes, wanted: dict[bytes, bytes]) -> bytes:
    if not wanted and not _doubtful(body):
        return body
    return _splice(body, wanted) or _rebuild(body, wanted)


def _doubtful(body: bytes) -> bool:
    """Whether there may be a second key `model`, plain or escaped. The last one was checked; the
    engine might take the first."""
    return body.count(b'"model"') > 1 or b"\\u006" in body


def _splice(body: bytes, wanted: dict[bytes, bytes]) -> bytes | None:
    """The common case, by searches alone: one plain key `model` and none of the others."""
    added = {key: value for key, value in wanted.items() if key != b"model"}
    if b"\\u00" in body or _doubtful(body) or any(b'"%b"' % key in body for key in added):
        return None
    text = _replace_model(body, wanted[b"model"]) if b"model" in wanted else body
    if text is None or not added:
        return text
    start = text.index(b"{") + 1
    front = b",".join(b'"%b":%b' % item for item in added.items())
    return b"%b%b,%b" % (text[:start], front, text[start:])


def _replace_model(body: bytes, value: bytes) -> bytes | None:
    match = _MODEL_KEY.search(body)
    if match is None or body[match.start() - 1 : match.start()] == b"\\":
        return None
    old = _STRING.match(body, match.end())
    return body[: match.end()] + value + body[old.end() :] if old else None


def _rebuild(body: bytes, wanted: dict[bytes, bytes]) -> bytes:
    """The top level anew, each key once; the values keep their bytes."""
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for key, value in wanted.items():
        name = key.decode()
        old = bytes(members.get(name, b""))
        members[name] = _with_usage(old) if key == b"stream_options" else msgspec.Raw(value)
    return msgspec.json.encode(members)


def _with_usage(options: bytes) -> msgspec.Raw:
    """The client's stream options with ours on top: its other options survive."""
    known = msgspec.json.decode(options, type=dict[str, msgspec.Raw] | None) if options else None
    merged = {**(known or {}), "include_usage": msgspec.Raw(b"true")}
    return msgspec.Raw(msgspec.json.encode(merged))
