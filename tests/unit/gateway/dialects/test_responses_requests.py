"""A request of a client, read: what Codex sends, every kind of item, and what is wrong with one."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.dialects.responses_rig import CODEX, body

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
    ToolCall,
    ToolChoice,
    ToolResult,
)
from modelyard.errors import Invalid
from modelyard.gateway.dialects.responses import RESPONSES


def read(**members: Any) -> Request:
    return RESPONSES.read_request(body({"model": "m", "input": "hi", **members}))


def turns(*items: Any) -> tuple[Message, ...]:
    return read(input=list(items)).messages


def test_what_codex_sends_is_read_whole() -> None:
    request = RESPONSES.read_request(body(CODEX))
    roles = [message.role for message in request.messages]
    assert roles == ["system", "developer", "user", "assistant", "tool", "assistant", "tool"]
    assert request.messages[0].parts == (Text(CODEX["instructions"]),)
    phase = {"phase": msgspec.Raw(b'"commentary"')}
    assert request.messages[3].parts == (
        Thinking("Look first.", encrypted="gAAAAsecret", is_summary=True),
        Text("I look.", phase),
        ToolCall("call_1", "exec_command", '{"cmd":"cat add.py"}'),
    )
    assert request.messages[4].parts == (ToolResult("call_1", (Text("def add(): ..."),)),)
    patch = "*** Begin Patch\n*** End Patch"
    assert request.messages[5].parts == (ToolCall("call_2", "apply_patch", patch, custom=True),)
    assert request.messages[6].parts == (ToolResult("call_2", (Text("Done"),), custom=True),)
    assert [(tool.name, tool.custom, tool.foreign is not None) for tool in request.tools] == [
        ("exec_command", False, False), ("apply_patch", True, False),
        ("web_search", False, True), ("mcp__notes", False, True), ("local_shell", False, True),
    ]  # fmt: skip
    assert msgspec.json.decode(request.tools[1].extra["format"]) == CODEX["tools"][1]["format"]
    assert request.tools[0].strict is False
    assert request.tool_choice == ToolChoice("auto")
    assert request.parallel_tool_calls is True
    assert request.reasoning == Reasoning(effort="medium", summary="auto")
    assert request.stream
    assert {name: msgspec.json.decode(raw) for name, raw in request.extra.items()} == {
        "store": False, "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199-thread", "text.verbosity": "low",
        "client_metadata": {"x-codex-installation-id": "i"},
    }  # fmt: skip


def test_tools_that_come_as_an_item_are_tools() -> None:
    """Codex sends them so to some models, with empty instructions."""
    more = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    request = read(
        instructions="",
        input=[
            {"type": "additional_tools", "role": "developer", "tools": [more]},
            {"role": "user", "content": "hi"},
        ],
    )
    assert [tool.name for tool in request.tools] == ["f"]
    assert request.messages == (Message("user", (Text("hi"),)),)


def test_settings() -> None:
    schema = {"type": "object"}
    request = read(
        max_output_tokens=9, temperature=1, top_p=0.5, user="u", safety_identifier="s",
        service_tier="flex", metadata={"a": "b"}, previous_response_id="resp_1",
        text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True,
                         "description": "d"}},
        reasoning={"effort": None, "generate_summary": "concise", "context": "all_turns"},
    )  # fmt: skip
    assert (request.max_tokens, request.temperature, request.top_p) == (9, 1.0, 0.5)
    assert (request.user, request.service_tier, request.stream) == ("s", "flex", False)
    assert request.response_format == ResponseFormat(
        "json_schema", "n", msgspec.Raw(b'{"type": "object"}'), True, "d"
    )
    assert request.reasoning == Reasoning(summary="concise")
    assert set(request.extra) == {"metadata", "previous_response_id", "reasoning.context"}


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_plain_formats(kind: str) -> None:
    assert read(text={"format": {"type": kind}}).response_format == ResponseFormat(kind)


def test_nulls_are_as_if_nothing_was_said() -> None:
    names = ["instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens",
             "temperature", "stream", "user", "metadata", "previous_response_id"]  # fmt: skip
    assert read(**dict.fromkeys(names)) == read()


def test_input_may_be_elsewhere_or_empty() -> None:
    assert RESPONSES.read_request(b'{"model":"m","previous_response_id":"r"}').messages == ()
    assert read(input=[]).messages == ()
    assert read(input="hi").messages == (Message("user", (Text("hi"),)),)


CONTENTS: list[tuple[Any, tuple[Any, ...]]] = [
    ("plain", (Text("plain"),)),
    ([{"type": "input_text", "text": ""}], (Text(""),)),
    ([{"type": "output_text", "text": "t", "annotations": [], "logprobs": []}], (Text("t"),)),
    ([{"type": "text", "text": "t"}], (Text("t"),)),
    (
        [{"type": "input_text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit"}}],
        (Text("t", {"prompt_cache_breakpoint": msgspec.Raw(b'{"mode": "explicit"}')}),),
    ),
    (
        [{"type": "input_image", "image_url": "https://h/i.png", "detail": "high"}],
        (Image("https://h/i.png", detail="high"),),
    ),
    (
        [{"type": "input_image", "image_url": {"url": "data:image/png;base64,x", "detail": "low"}}],
        (Image("data:image/png;base64,x", detail="low"),),
    ),
    ([{"type": "input_image", "file_id": "file_1"}], (Image(file_id="file_1"),)),
    ([{"type": "input_file", "file_url": "https://h/f"}], (File("https://h/f"),)),
    (
        [{"type": "input_file", "file_data": "QQ==", "filename": "a.PDF"}],
        (File("data:application/pdf;base64,QQ==", name="a.PDF"),),
    ),
    (
        [{"type": "input_file", "file_data": "QQ=="}],
        (File("data:application/octet-stream;base64,QQ=="),),
    ),
    (
        [{"type": "input_file", "file_data": "data:text/plain;base64,QQ==", "filename": "a"}],
        (File("data:text/plain;base64,QQ==", name="a"),),
    ),
    (
        [{"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}}],
        (Audio("QQ==", "mp3"),),
    ),
    ([{"type": "refusal", "refusal": "no"}], (Refusal("no"),)),
]


@pytest.mark.parametrize(("content", "parts"), CONTENTS)
def test_content(content: Any, parts: tuple[Any, ...]) -> None:
    for role in ("user", "system", "developer"):
        assert turns({"role": role, "content": content}) == (Message(role, parts),)
    assert turns({"type": "message", "role": "assistant", "content": content}) == (
        Message("assistant", parts),
    )


def test_what_only_this_dialect_knows_is_kept_in_its_place() -> None:
    shell = {"type": "local_shell_call", "id": "1", "call_id": "c", "status": "completed"}
    output = {"type": "local_shell_call_output", "id": "1", "output": "{}"}
    shot = {"type": "computer_screenshot", "image_url": "data:,"}
    messages = turns(
        {"role": "assistant", "content": "a"}, shell, output, {"role": "user", "content": [shot]}
    )
    assert [message.role for message in messages] == ["assistant", "tool", "user"]
    kept = [messages[0].parts[1], messages[1].parts[0], messages[2].parts[0]]
    for part, value in zip(kept, (shell, output, shot), strict=True):
        assert isinstance(part, Foreign)
        assert (part.dialect, part.kind, msgspec.json.decode(part.value)) == (
            "responses", value["type"], value,
        )  # fmt: skip


def test_neighbours_of_the_assistant_are_one_message_and_others_are_not() -> None:
    messages = turns(
        {"role": "user", "content": "q"},
        {"type": "reasoning", "id": "rs_1", "summary": [],
         "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"role": "assistant", "content": "a"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}",
         "namespace": "n", "status": "completed", "id": "fc_1"},
        {"type": "function_call_output", "call_id": "1", "output": [
            {"type": "input_text", "text": "t"}, {"type": "input_image", "file_id": "f"}]},
        {"type": "function_call_output", "call_id": "2", "output": ""},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "q2"},
    )  # fmt: skip
    assert messages == (
        Message("user", (Text("q"),)),
        Message("assistant", (
            Thinking("hm", id="rs_1"), Text("a"),
            ToolCall("1", "f", "{}", extra={"namespace": msgspec.Raw(b'"n"')}),
        )),
        Message("tool", (ToolResult("1", (Text("t"), Image(file_id="f"))),)),
        Message("tool", (ToolResult("2", (Text(""),)),)),
        Message("user", (Text("q2"),)),
    )  # fmt: skip


F, G = {"type": "function", "name": "f"}, {"type": "custom", "name": "g"}
SEARCH, MCP = {"type": "web_search"}, {"type": "mcp", "server_label": "docs"}
CHOICES: list[tuple[Any, ToolChoice | None, list[str]]] = [
    ("none", ToolChoice("none"), ["f", "g", "web_search", "docs"]),
    ("required", ToolChoice("required"), ["f", "g", "web_search", "docs"]),
    (F, ToolChoice("named", "f"), ["f", "g", "web_search", "docs"]),
    (G, ToolChoice("named", "g"), ["f", "g", "web_search", "docs"]),
    ({"type": "web_search_preview"}, None, ["f", "g", "web_search", "docs"]),
    (
        {"type": "allowed_tools", "mode": "required", "tools": [F, SEARCH, MCP]},
        ToolChoice("required"),
        ["f", "web_search", "docs"],
    ),
    ({"type": "allowed_tools", "tools": [G]}, ToolChoice("auto"), ["g"]),
]


@pytest.mark.parametrize(("given_choice", "choice", "names"), CHOICES)
def test_tool_choice(given_choice: Any, choice: ToolChoice | None, names: list[str]) -> None:
    request = read(tools=[F, G, SEARCH, MCP], tool_choice=given_choice)
    assert request.tool_choice == choice
    assert [tool.name for tool in request.tools] == names
    assert ("tool_choice" in request.extra) == (choice is None)


def item(**members: Any) -> dict[str, Any]:
    return {"input": [members]}


def part(**members: Any) -> dict[str, Any]:
    return item(role="user", content=[members])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"model": 3}, "model must be a string, not a number"),
    ({"input": None}, "input is missing"),
    ({"input": 3}, "input must be a string or a list, not a number"),
    ({"input": ["x"]}, "input[0] must be a JSON object, not a string"),
    (item(content="x"), "input[0].type is missing"),
    (item(role="root", content="x"), "input[0].role is 'root'"),
    (item(type="message", content="x"), "input[0].role is missing"),
    (item(role="user"), "input[0].content is missing"),
    (item(role="user", content=3), "input[0].content must be a string or a list, not a number"),
    (part(text="x"), "input[0].content[0].type is missing"),
    (part(type="input_txt", text="x"), "input[0].content[0].type is 'input_txt'"),
    (part(type="input_text"), "input[0].content[0].text is missing"),
    (part(type="input_text", text=3), "input[0].content[0].text must be a string"),
    (part(type="input_image"), "input[0].content[0] has neither image_url nor file_id"),
    (part(type="input_image", image_url={}), "input[0].content[0].image_url.url is missing"),
    (part(type="input_file"), "input[0].content[0] has neither"),
    (part(type="input_audio"), "input[0].content[0].input_audio is missing"),
    (part(type="input_audio", input_audio={"data": "x"}), "input_audio.format is missing"),
    (item(type="function_call", name="f", arguments="{}"), "input[0].call_id is missing"),
    (item(type="function_call", call_id="1", arguments="{}"), "input[0].name is missing"),
    (item(type="function_call", call_id="1", name="f"), "input[0].arguments is missing"),
    (
        item(type="function_call", call_id="1", name="f", arguments={}),
        "input[0].arguments must be a string, not an object",
    ),
    (item(type="custom_tool_call", call_id="1", name="f"), "input[0].input is missing"),
    (item(type="function_call_output", output="x"), "input[0].call_id is missing"),
    (item(type="function_call_output", call_id="1"), "input[0].output is missing"),
    (
        item(type="function_call_output", call_id="1", output=[{"type": "input_audio"}]),
        "input[0].output[0].type is 'input_audio'",
    ),
    (item(type="reasoning", summary="x"), "input[0].summary must be a list, not a string"),
    (item(type="reasoning", summary=[{}]), "input[0].summary[0].text is missing"),
    (item(type="item_reference", id="msg_1"), "the stored item 'msg_1'"),
    (item(id="msg_1"), "the stored item 'msg_1'"),
    ({"tools": {}}, "tools must be a list, not an object"),
    ({"tools": [{"name": "f"}]}, "tools[0].type is missing"),
    ({"tools": [{"type": "function"}]}, "tools[0].name is missing"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name is missing"),
    ({"tools": [{**F, "parameters": "x"}]}, "tools[0].parameters must be a JSON object"),
    ({"tools": [{**F, "strict": "yes"}]}, "tools[0].strict must be a boolean, not a string"),
    ({"tool_choice": "any"}, "tool_choice is 'any'"),
    ({"tool_choice": 1}, "tool_choice must be a JSON object, not a number"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.name is missing"),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.tools is missing"),
    (
        {"tool_choice": {"type": "allowed_tools", "mode": "x", "tools": []}},
        "tool_choice.mode is 'x'",
    ),
    ({"text": {"format": {"type": "yaml"}}}, "text.format.type is 'yaml'"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema is missing"),
    (
        {"text": {"format": {"type": "json_schema", "schema": {}}}},
        "text.format.name is missing",
    ),
    ({"temperature": "hot"}, "temperature must be a number, not a string"),
    ({"max_output_tokens": 1.5}, "max_output_tokens must be a whole number, not a number"),
    ({"max_output_tokens": True}, "max_output_tokens must be a whole number, not a boolean"),
    ({"stream": "yes"}, "stream must be a boolean, not a string"),
    ({"reasoning": "high"}, "reasoning must be a JSON object, not a string"),
]


@pytest.mark.parametrize(("members", "message"), WRONG)
def test_what_is_wrong_is_named_by_its_path(members: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid) as raised:
        read(**members)
    assert message in raised.value.message


def test_a_reference_says_what_to_do() -> None:
    with pytest.raises(Invalid) as raised:
        read(**item(type="item_reference", id="msg_1"))
    assert "store: false" in raised.value.hint


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (b"", "is not valid JSON"),
        (b"[]", "must be a JSON object, not a list"),
        (b"nonsense", "is not valid JSON"),
        (b'{"model":', "is not valid JSON"),
        (b'{"model":"m","input":"x","metadata":{"a":"\xff"}}', "not UTF-8"),
        (b'{"model":"m","input":' + b"[" * 99_999 + b"]" * 99_999 + b"}", "is not valid JSON"),
    ],
)
def test_what_is_no_request_is_said_to_be_none(wrong: bytes, message: str) -> None:
    with pytest.raises(Invalid) as raised:
        RESPONSES.read_request(wrong)
    assert message in raised.value.message


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
PLACES = st.sampled_from([
    "input", "tools", "tool_choice", "text", "reasoning", "instructions", "stream", "user",
    "max_output_tokens", "temperature", "metadata",
])  # fmt: skip
KEYS = st.sampled_from(["type", "role", "content", "id", "call_id", "output", "summary", "text"])
KINDS = st.sampled_from(["message", "reasoning", "function_call", "custom_tool_call_output"])


@given(st.dictionaries(PLACES, JUNK, min_size=1))
def test_junk_is_refused_or_read_and_never_breaks_it(members: dict[str, Any]) -> None:
    try:
        request = read(**members)
    except Invalid as error:
        assert error.message
    else:
        assert request.model == "m"


@given(st.lists(st.dictionaries(KEYS, JUNK | KINDS | st.just("user"))))
def test_junk_items_are_refused_or_read_and_never_break_it(items: list[dict[str, Any]]) -> None:
    try:
        request = read(input=items)
    except Invalid as error:
        assert "input[" in error.message
    else:
        assert request.dialect == "responses"
