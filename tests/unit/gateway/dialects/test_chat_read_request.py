"""What a chat client asks, read."""

import json
from typing import Any

import msgspec
import pytest

from modelyard.domain.chat import (
    Audio,
    File,
    Foreign,
    Image,
    Message,
    Reasoning,
    Refusal,
    Request,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from modelyard.errors import Invalid
from modelyard.gateway.dialects.chat import CHAT

HI = [{"role": "user", "content": "hi"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}


def read(**members: Any) -> Request:
    return CHAT.read_request(json.dumps({"model": "m", "messages": HI} | members).encode())


def said(*messages: Any) -> tuple[Message, ...]:
    return read(messages=messages).messages


def parts_of(*content: Any) -> Any:
    return said({"role": "user", "content": content})[0].parts


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_settings_are_read() -> None:
    request = read(
        max_tokens=5, temperature=0, top_p=0.5, top_k=40, stop="END", stream=True,
        stream_options={"include_usage": True}, reasoning_effort="low", user="u",
        service_tier="flex", parallel_tool_calls=False, response_format={"type": "json_object"},
    )  # fmt: skip
    assert request == Request(
        dialect="chat",
        model="m",
        messages=(Message("user", (Text("hi"),)),),
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        top_k=40,
        stop=("END",),
        stream=True,
        include_usage=True,
        reasoning=Reasoning("low"),
        user="u",
        service_tier="flex",
        parallel_tool_calls=False,
        response_format=ResponseFormat("json_object"),
    )


def test_what_was_not_said_is_not_there() -> None:
    bare = read()
    assert bare == read(
        max_tokens=None, temperature=None, stop=None, stream=None, stream_options=None,
        tools=None, tool_choice=None, response_format=None, reasoning_effort=None, user=None,
        service_tier=None, seed=None,
    )  # fmt: skip
    assert (bare.stream, bare.include_usage, bare.stop, bare.extra) == (False, False, (), {})


def test_newer_names_win() -> None:
    request = read(max_tokens=1, max_completion_tokens=2, user="old", safety_identifier="new")
    assert (request.max_tokens, request.user) == (2, "new")
    assert read(max_tokens=0).max_tokens == 0


def test_the_rest_is_kept_byte_for_byte() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"seed":12345678901234567890,'
    body += b'"logit_bias": {"5": -1.50},"n":1}'
    extra = CHAT.read_request(body).extra
    assert {name: bytes(value) for name, value in extra.items()} == {
        "seed": b"12345678901234567890", "logit_bias": b'{"5": -1.50}', "n": b"1",
    }  # fmt: skip


PARTS = [
    ({"type": "text", "text": "a"}, Text("a")),
    (
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        Text("a", {"cache_control": raw({"type": "ephemeral"})}),
    ),
    (
        {"type": "image_url", "image_url": {"url": "https://h/i.png", "detail": "low"}},
        Image("https://h/i.png", detail="low"),
    ),
    ({"type": "image_url", "image_url": "data:image/png;base64,AA=="},
     Image("data:image/png;base64,AA==")),
    ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
     Audio("AA==", "wav")),
    ({"type": "file", "file": {"file_id": "f1"}}, File(file_id="f1")),
    ({"type": "file", "file": {"filename": "a.pdf", "file_data": "AA=="}},
     File("data:application/pdf;base64,AA==", name="a.pdf")),
    ({"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,AA=="}},
     File("data:text/plain;base64,AA==", name="a.txt")),
    ({"type": "refusal", "refusal": "no"}, Refusal("no")),
    ({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, Thinking("hm")),
    ({"type": "video_url", "video_url": {"url": "x"}},
     Foreign("chat", "video_url", raw({"type": "video_url", "video_url": {"url": "x"}}))),
]  # fmt: skip


@pytest.mark.parametrize(("written", "part"), PARTS)
def test_parts_are_read(written: Any, part: Any) -> None:
    assert parts_of(written) == (part,)


def test_an_assistants_turn_is_read() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    custom = {"id": "d", "type": "custom", "custom": {"name": "g", "input": "free"}}
    (message, result, text) = said(
        {
            "role": "assistant", "content": "so", "reasoning_content": "hm", "refusal": None,
            "tool_calls": [call, custom], "prefix": True,
        },
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "1"}]},
        {"role": "tool", "tool_call_id": "d", "content": "2"},
    )  # fmt: skip
    assert message.parts == (
        Thinking("hm"), Text("so"), ToolCall("c", "f", '{"a":1}'),
        ToolCall("d", "g", "free", custom=True),
    )  # fmt: skip
    assert message.extra == {"prefix": raw(True)}
    assert result == Message("tool", (ToolResult("c", (Text("1"),)),))
    assert text == Message("tool", (ToolResult("d", (Text("2"),), custom=True),))


def test_empty_text_beside_calls_says_nothing() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    (message,) = said({"role": "assistant", "content": "", "tool_calls": [call]})
    assert message.parts == (ToolCall("c", "f", '{"a": 1}'),)


def test_roles_and_names_are_read() -> None:
    messages = said(
        {"role": "system", "content": "s"}, {"role": "developer", "content": "d"},
        {"role": "user", "content": "u", "name": "ann"},
    )  # fmt: skip
    assert [(m.role, m.name) for m in messages] == [
        ("system", ""), ("developer", ""), ("user", "ann"),
    ]  # fmt: skip


def test_what_came_before_tools_is_read() -> None:
    request = read(
        functions=[{"name": "f", "parameters": WEATHER}],
        function_call={"name": "f"},
        messages=[
            *HI,
            {"role": "assistant", "content": None,
             "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "42"},
        ],
    )  # fmt: skip
    assert request.legacy_functions
    assert request.tools == (Tool("f", parameters=raw(WEATHER)),)
    assert request.tool_choice == ToolChoice("named", "f")
    assert request.messages[1:] == (
        Message("assistant", (ToolCall("call_1", "f", "{}"),)),
        Message("tool", (ToolResult("call_1", (Text("42"),)),)),
    )


FUNCTION = {
    "type": "function",
    "function": {"name": "f", "description": "does f", "parameters": WEATHER, "strict": True},
}
CUSTOM = {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}}
SEARCH = {"type": "openrouter:web_search"}


def test_tools_are_read() -> None:
    assert read(tools=[FUNCTION, CUSTOM, SEARCH]).tools == (
        Tool("f", "does f", raw(WEATHER), strict=True),
        Tool("g", custom=True, extra={"format": raw({"type": "text"})}),
        Tool(SEARCH["type"], foreign=Foreign("chat", SEARCH["type"], raw(SEARCH))),
    )


ALLOWED = {"mode": "required", "tools": [{"type": "custom", "custom": {"name": "g"}}]}
CHOICES = [
    ("auto", ToolChoice("auto"), 2),
    ("none", ToolChoice("none"), 2),
    ("required", ToolChoice("required"), 2),
    ("any", ToolChoice("required"), 2),
    ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", "f"), 2),
    ({"type": "custom", "custom": {"name": "g"}}, ToolChoice("named", "g"), 2),
    ({"type": "allowed_tools", "allowed_tools": ALLOWED}, ToolChoice("required"), 1),
]


@pytest.mark.parametrize(("written", "choice", "count"), CHOICES)
def test_the_choice_among_tools_is_read(written: Any, choice: ToolChoice, count: int) -> None:
    request = read(tools=[FUNCTION, CUSTOM], tool_choice=written)
    assert request.tool_choice == choice
    assert len(request.tools) == count


FORMATS = [
    ({"type": "text"}, ResponseFormat("text")),
    ({"type": "json_object", "schema": WEATHER},
     ResponseFormat("json_schema", "answer", raw(WEATHER))),
    ({"type": "json_schema",
      "json_schema": {"name": "n", "schema": WEATHER, "strict": True, "description": "d"}},
     ResponseFormat("json_schema", "n", raw(WEATHER), True, "d")),
]  # fmt: skip


@pytest.mark.parametrize(("written", "form"), FORMATS)
def test_formats_are_read(written: Any, form: ResponseFormat) -> None:
    assert read(response_format=written).response_format == form


SIGNED = [
    {"type": "reasoning.text", "text": "h", "index": 0},
    {"type": "reasoning.text", "text": "m", "signature": "sig", "index": 0},
    {"type": "reasoning.encrypted", "data": "secret", "index": 1},
    {"type": "reasoning.summary", "summary": "short", "index": 2},
]


def test_thoughts_keep_what_lets_them_be_recognised() -> None:
    (message,) = said(
        {"role": "assistant", "content": "x", "reasoning": "hm", "reasoning_details": SIGNED}
    )
    assert message.parts == (
        Thinking("hm", "sig"), Thinking(encrypted="secret"), Thinking("short", is_summary=True),
        Text("x"),
    )  # fmt: skip
    (message,) = said({"role": "assistant", "reasoning": "hm", "reasoning_details": SIGNED[2:3]})
    assert message.parts == (Thinking("hm"), Thinking(encrypted="secret"))


BAD = [
    (b"", "the body"),
    (b"[]", "the body must be a JSON object, not a list"),
    (b'{"model":"m","messages":[]} x', "the body is not valid JSON"),
    (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', "not UTF-8"),
    (b'{"a":' * 100_000, "the body is not valid JSON"),
    ({"model": None}, "model is missing"),
    ({"model": ""}, "model must not be empty"),
    ({"model": 3}, "model must be a string, not a number"),
    ({"messages": None}, "messages is missing"),
    ({"messages": []}, "messages must hold at least one message"),
    ({"messages": "hi"}, "messages must be a list, not a string"),
    ({"messages": ["hi"]}, "messages[0] must be a JSON object, not a string"),
    ({"messages": [{"content": "x"}]}, "messages[0].role is missing"),
    ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role is 'bot'"),
    ({"messages": [{"role": "user"}]}, "messages[0].content is missing"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content must be a string or"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0] must be a JSON"),
    ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type is missing"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "content[0].text is missing"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
     "content[0].image_url is missing"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
     "content[0].image_url.url is missing"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
     "content[0].file.file_data is missing"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id is missing"),
    ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "no function_call before"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"type": "function"}]}]},
     "messages[0].tool_calls[0].id is missing"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "odd"}]}]},
     "messages[0].tool_calls[0].type is 'odd'"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]}]},
     "messages[0].tool_calls[0].function.name is missing"),
    ({"max_tokens": -1}, "max_tokens is -1"),
    ({"max_tokens": 1.5}, "max_tokens must be a whole number"),
    ({"temperature": "hot"}, "temperature must be a number, not a string"),
    ({"stream": "yes"}, "stream must be a boolean, not a string"),
    ({"stop": [1]}, "stop must be a string or a list of strings"),
    ({"stream_options": []}, "stream_options must be a JSON object"),
    ({"reasoning_effort": "huge"}, "reasoning_effort is 'huge'"),
    ({"response_format": {"type": "xml"}}, "response_format.type is 'xml'"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema is missing"),
    ({"tools": [{"type": "function"}]}, "tools[0].function is missing"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": "x"}}]},
     "tools[0].function.parameters must be a JSON object"),
    ({"tools": [FUNCTION], "tool_choice": "maybe"}, "tool_choice is 'maybe'"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "odd"}}, "tool_choice.type is 'odd'"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "allowed_tools": ALLOWED}},
     "tool_choice.allowed_tools.tools[0] allows 'g'"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "message"), BAD)
def test_what_is_wrong_is_named_with_its_place(members: Any, message: str) -> None:
    whole = {"model": "m", "messages": HI}
    body = members if isinstance(members, bytes) else json.dumps(whole | members).encode()
    with pytest.raises(Invalid) as caught:
        CHAT.read_request(body)
    assert message in caught.value.message
    assert caught.value.code == "invalid_request_error"
