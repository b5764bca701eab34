"""A request as a client sends it.

Source: `completion_create_params.py` of OpenAI's official SDK.
"""

import msgspec

from modelyard.domain.chat import Message, Reasoning, Request, ResponseFormat
from modelyard.gateway.dialects.chat.parts import NAME
from modelyard.gateway.dialects.chat.read_messages import Conversation
from modelyard.gateway.dialects.chat.reasoning import read_effort
from modelyard.gateway.dialects.chat.tools import read_tools
from modelyard.gateway.dialects.fields import Fields, decoded, is_text, wrong

_FORMATS = ("text", "json_object", "json_schema")


def read_request(body: bytes) -> Request:
    """Raises Invalid (`invalid_request_error`) with the path of what is wrong, such as
    `messages[2].content[0].type`.

    What has no neutral word is in `extra`, byte for byte. Of `stream_options` nothing but
    `include_usage` is kept: the rest is about bytes that other dialects do not have.
    """
    fields = Fields.of(body)
    model, messages = fields.name("model"), _messages(fields)
    tools = read_tools(fields)
    options = fields.object("stream_options")
    effort = read_effort(fields)
    return Request(
        dialect=NAME,
        model=model,
        messages=messages,
        tools=tools.tools,
        tool_choice=tools.choice,
        legacy_functions=tools.is_legacy,
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        max_tokens=_max_tokens(fields),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.whole("top_k"),
        stop=_stop(fields),
        stream=fields.flag("stream") or False,
        include_usage=(options is not None and options.flag("include_usage")) or False,
        response_format=_format(fields),
        reasoning=Reasoning(effort=effort) if effort else None,
        user=_user(fields),
        service_tier=fields.text("service_tier"),
        extra=fields.rest(),
    )


def _messages(fields: Fields) -> tuple[Message, ...]:
    conversation = Conversation()
    conversation.read(fields.needed("messages"), "messages")
    return tuple(conversation.messages)


def _max_tokens(fields: Fields) -> int | None:
    """The newer name wins."""
    older, newer = fields.count("max_tokens"), fields.count("max_completion_tokens")
    return older if newer is None else newer


def _user(fields: Fields) -> str:
    """`safety_identifier` replaces `user`; a client that moves from one to the other sends both."""
    safety, user = fields.text("safety_identifier"), fields.text("user")
    return safety or user


def _stop(fields: Fields) -> tuple[str, ...]:
    raw = fields.raw("stop")
    if raw is None:
        return ()
    if is_text(raw):
        return (fields.text("stop"),)
    return tuple(decoded(raw, list[str], "stop", "a string or a list of strings"))


def _format(fields: Fields) -> ResponseFormat | None:
    form = fields.object("response_format")
    if form is None:
        return None
    kind = form.name("type")
    if kind not in _FORMATS:
        raise wrong(f"{form.at('type')} is {kind!r}", f"it may be {', '.join(_FORMATS)}")
    if kind == "json_schema":
        return _schema(form.inner("json_schema"))
    bare = form.raw("schema") if kind == "json_object" else None
    if bare is not None:  # llama.cpp's shape, which some of its clients send
        return ResponseFormat("json_schema", "answer", _object(bare, form.at("schema")))
    return ResponseFormat(kind)


def _schema(form: Fields) -> ResponseFormat:
    schema = form.raw("schema") or msgspec.Raw()
    if bytes(schema):
        _object(schema, form.at("schema"))
    name, description = form.name("name"), form.text("description")
    return ResponseFormat("json_schema", name, schema, form.flag("strict"), description)


def _object(raw: msgspec.Raw, path: str) -> msgspec.Raw:
    Fields(raw, path)
    return raw
