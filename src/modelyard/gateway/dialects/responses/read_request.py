"""A request as a client sends it.

Source: `response_create_params.py` of OpenAI's official SDK, the Open Responses specification
(`CreateResponseBody`), and what Codex sends.
"""

from modelyard.domain.chat import (
    Members,
    Message,
    Reasoning,
    Request,
    ResponseFormat,
    Text,
)
from modelyard.gateway.dialects.fields import Fields, wrong
from modelyard.gateway.dialects.responses.content import NAME
from modelyard.gateway.dialects.responses.read_input import Conversation
from modelyard.gateway.dialects.responses.tools import read_choice, read_tool

_FORMATS = ("text", "json_object", "json_schema")
_ELSEWHERE = ("previous_response_id", "conversation", "prompt")
"""Members that stand for input that is not in the request."""


def read_request(body: bytes) -> Request:
    """Raises Invalid with the path of what is wrong, such as `input[2].content[0].type`.

    `instructions` become the first message, of the role `system`; developer messages keep their
    role and place. What has no neutral word is in `extra`, by its path (`text.verbosity`).
    """
    fields = Fields.of(body)
    conversation = Conversation()
    messages = _messages(fields, conversation)
    tools = tuple(read_tool(raw, at) for raw, at in fields.list("tools"))
    tools += tuple(conversation.tools)
    choice = read_choice(fields.raw("tool_choice"), tools, "tool_choice")
    form, of_text = _format(fields)
    reasoning, of_reasoning = _reasoning(fields)
    return Request(
        dialect=NAME,
        model=fields.name("model"),
        messages=messages,
        tools=choice.tools,
        tool_choice=choice.choice,
        response_format=form,
        reasoning=reasoning,
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        max_tokens=fields.whole("max_output_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        stream=fields.flag("stream") or False,
        include_usage=True,
        user=_user(fields),
        service_tier=fields.text("service_tier"),
        extra={**fields.rest(), **of_text, **of_reasoning, **choice.extra},
    )


def _user(fields: Fields) -> str:
    """`safety_identifier` replaces `user`; a client that moves from one to the other sends both."""
    safety, user = fields.text("safety_identifier"), fields.text("user")
    return safety or user


def _messages(fields: Fields, conversation: Conversation) -> tuple[Message, ...]:
    instructions, given = fields.text("instructions"), fields.raw("input")
    if given is not None:
        conversation.read(given, "input")
    elif not any(fields.has(name) for name in _ELSEWHERE):
        raise wrong("input is missing", hint="a string, or a list of items")
    first = (Message("system", (Text(instructions),)),) if instructions else ()
    return first + tuple(conversation.messages)


def _format(fields: Fields) -> tuple[ResponseFormat | None, Members]:
    text = fields.object("text")
    if text is None:
        return None, {}
    form = text.object("format")
    extra = {text.at(name): value for name, value in text.rest().items()}
    if form is None:
        return None, extra
    kind = form.name("type")
    if kind not in _FORMATS:
        raise wrong(f"{form.at('type')} is {kind!r}", hint=f"it may be {', '.join(_FORMATS)}")
    if kind != "json_schema":
        return ResponseFormat(kind), extra
    return _schema(form), extra


def _schema(form: Fields) -> ResponseFormat:
    schema = form.raw("schema")
    if schema is None:
        raise wrong(f"{form.at('schema')} is missing")
    Fields(schema, form.at("schema"))
    return ResponseFormat(
        "json_schema", form.name("name"), schema, form.flag("strict"), form.text("description")
    )


def _reasoning(fields: Fields) -> tuple[Reasoning | None, Members]:
    reasoning = fields.object("reasoning")
    if reasoning is None:
        return None, {}
    summary = reasoning.text("summary") or reasoning.text("generate_summary")
    read = Reasoning(effort=reasoning.text("effort"), summary=summary)
    return read, {reasoning.at(name): value for name, value in reasoning.rest().items()}
