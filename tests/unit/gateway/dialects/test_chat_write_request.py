"""What an endpoint that speaks chat is asked."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import completion_create_params
from pydantic import TypeAdapter, ValidationError

from modelyard.domain.chat import (
    Audio,
    File,
    Foreign,
    Image,
    Message,
    Part,
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
from modelyard.gateway.dialects.base import Dialect, Written
from modelyard.gateway.dialects.chat import CHAT, Habits, chat_with

LEGAL: TypeAdapter[Any] = TypeAdapter(
    completion_create_params.CompletionCreateParamsStreaming
    | completion_create_params.CompletionCreateParamsNonStreaming
)
SCHEMA = msgspec.Raw(b'{"type":"object","properties":{}}')


def request(*messages: Message, dialect: str = "messages", **settings: Any) -> Request:
    said = messages or (Message("user", (Text("hi"),)),)
    return Request(dialect=dialect, model="m", messages=said, **settings)


def written(asked: Request, chat: Dialect = CHAT) -> tuple[Any, tuple[str, ...]]:
    done: Written = chat.write_request(asked)
    body = json.loads(done.body)
    exhaust(LEGAL.validate_python(body))
    return body, done.dropped


def exhaust(value: Any) -> None:
    """Pydantic checks what an iterable holds when it is iterated."""
    if isinstance(value, dict):
        value = value.values()
    if not isinstance(value, str | int | float | None):
        for entry in value:
            exhaust(entry)


def test_the_check_of_what_is_legal_sees_everything() -> None:
    wrong = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}
    with pytest.raises(ValidationError):
        exhaust(LEGAL.validate_python(wrong))


def messages_of(*messages: Message, dialect: str = "messages") -> Any:
    return written(request(*messages, dialect=dialect))[0]["messages"]


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def user(*parts: Part, name: str = "") -> Message:
    return Message("user", parts, name)


def model(*parts: Part) -> Message:
    return Message("assistant", parts)


def result(call_id: str, *parts: Any, is_error: bool = False) -> Message:
    return Message("tool", (ToolResult(call_id, parts, is_error),))


CALL = ToolCall("c", "f", '{"a":1}')


def test_settings_are_written() -> None:
    body, dropped = written(
        request(
            max_tokens=9, temperature=0.5, top_p=0.9, top_k=3, stop=("a", "b"), stream=True,
            user="u", response_format=ResponseFormat("json_object"),
        )
    )  # fmt: skip
    assert body == {
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9,
        "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop": ["a", "b"], "stream": True,
        "stream_options": {"include_usage": True}, "user": "u",
        "response_format": {"type": "json_object"},
    }  # fmt: skip
    assert dropped == ()


def test_what_was_not_said_is_not_written() -> None:
    assert set(written(request())[0]) == {"model", "messages"}


def test_endpoints_name_two_members_differently() -> None:
    asked = request(user(Text("q")), model(Thinking("hm"), Text("a")), max_tokens=9)
    newest, _ = written(asked, chat_with(Habits("max_completion_tokens", "")))
    assert newest["max_completion_tokens"] == 9
    assert "max_tokens" not in newest
    assert newest["messages"][1] == {"role": "assistant", "content": "a"}
    engine, _ = written(asked)
    assert engine["max_tokens"] == 9
    assert engine["messages"][1]["reasoning_content"] == "hm"


def test_all_of_the_system_comes_first_as_one() -> None:
    assert messages_of(
        Message("system", (Text("a"), Text("b"))), user(Text("q")),
        Message("developer", (Text("c"),)), user(Text("r")),
    ) == [
        {"role": "system", "content": "a\n\nb\n\nc"},
        {"role": "user", "content": "q\n\nr"},
    ]  # fmt: skip


def test_turns_alternate() -> None:
    assert messages_of(
        user(Text("1")), user(Text("2")), model(Text("3")), model(Text("4"), CALL),
        result("c", Text("5")), user(Text("6")),
    ) == [
        {"role": "user", "content": "1\n\n2"},
        {"role": "assistant", "content": "3\n\n4", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        ]},
        {"role": "tool", "tool_call_id": "c", "content": "5"},
        {"role": "user", "content": "6"},
    ]  # fmt: skip


def test_results_follow_their_calls_at_once() -> None:
    other = ToolCall("d", "f", "")
    assert [
        (m["role"], m.get("tool_call_id"), m["content"])
        for m in messages_of(
            user(Text("q")), model(CALL, other), result("c", Text("1")), user(Text("and")),
            result("d", Text("2")),
        )
    ] == [
        ("user", None, "q"), ("assistant", None, None), ("tool", "c", "1"), ("tool", "d", "2"),
        ("user", None, "and"),
    ]  # fmt: skip


def test_users_with_names_remain_apart() -> None:
    said = messages_of(user(Text("1"), name="ann"), user(Text("2"), name="bob"))
    assert [m["name"] for m in said] == ["ann", "bob"]


def test_a_text_that_was_cut_by_citations_is_one() -> None:
    assert messages_of(user(Text("q")), model(Text("It is "), Text("blue.")))[1] == {
        "role": "assistant", "content": "It is blue.",
    }  # fmt: skip


def test_pictures_make_a_list() -> None:
    picture = Image("data:image/png;base64,AA==", detail="low")
    hint = Text("see", {"cache_control": raw({"type": "ephemeral"})})
    assert messages_of(user(hint, picture), user(Audio("AA==", "mp3"))) == [
        {"role": "user", "content": [
            {"type": "text", "text": "see"},
            {"type": "image_url",
             "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        ]},
    ]  # fmt: skip


def test_what_tools_show_is_shown_by_the_user() -> None:
    picture = Image("data:image/png;base64,AA==")
    said = messages_of(
        user(Text("q")), model(CALL), result("c", Text("done"), picture), user(Text("well?"))
    )
    assert said[2]["content"] == "done\n\n(What the tool answered follows in the next message.)"
    assert [part["type"] for part in said[3]["content"]] == ["text", "image_url", "text"]
    assert said[3]["content"][0]["text"] == "From the tool call c:"
    assert len(said) == 4


def test_a_tool_that_failed_is_said_to_have_failed() -> None:
    said = messages_of(user(Text("q")), model(CALL), result("c", Text("no file"), is_error=True))
    assert said[2]["content"] == "Error: no file"


FILES = [
    (File(text="abc", name="n"), "n\n\nabc"),
    (
        File("data:application/pdf;base64,AA=="),
        [{"type": "file", "file": {
            "filename": "file.pdf", "file_data": "data:application/pdf;base64,AA==",
        }}],
    ),
    (File(file_id="f1"), [{"type": "file", "file": {"file_id": "f1"}}]),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content"), FILES)
def test_files_are_written(file: File, content: Any) -> None:
    assert messages_of(user(file))[0]["content"] == content


def test_thoughts_that_only_their_maker_can_read_are_left_out() -> None:
    sealed = model(Thinking(signature="s"), Thinking(encrypted="e"))
    assert messages_of(user(Text("1")), sealed, user(Text("2"))) == [
        {"role": "user", "content": "1\n\n2"},
    ]


def test_a_refusal_is_told_as_text() -> None:
    assert messages_of(user(Text("q")), model(Refusal("no")))[1]["content"] == "no"


CUSTOM = Tool(
    "patch", "Patches.", custom=True,
    extra={"format": raw({"type": "grammar", "syntax": "lark", "definition": "start: x"})},
)  # fmt: skip


def test_custom_tools_are_functions_of_one_text() -> None:
    call = ToolCall("c", "patch", 'a "b"', custom=True)
    body, _ = written(request(user(Text("q")), model(call), tools=(CUSTOM,)))
    function = body["tools"][0]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert "`input` must follow this lark grammar:\nstart: x" in function["description"]
    arguments = body["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"input": 'a "b"'}


def test_tools_of_others_are_left_out_and_named() -> None:
    search = Tool("web_search", foreign=Foreign("messages", "web_search_20250305", raw({})))
    f = Tool("f", "does f", SCHEMA, strict=True, extra={"cache_control": raw({})})
    body, dropped = written(
        request(tools=(search, f, Tool("bare")), tool_choice=ToolChoice("named", "f"),
                parallel_tool_calls=False)
    )  # fmt: skip
    empty = {"type": "object", "properties": {}}
    described = {"name": "f", "description": "does f", "parameters": empty, "strict": True}
    assert body["tools"] == [
        {"type": "function", "function": described},
        {"type": "function", "function": {"name": "bare", "parameters": empty}},
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert body["parallel_tool_calls"] is False
    assert dropped == ("tools.web_search",)
    body, dropped = written(
        request(tools=(search,), tool_choice=ToolChoice("auto"), parallel_tool_calls=True)
    )
    assert set(body) == {"model", "messages"}
    assert dropped == ("tools.web_search",)


EFFORTS = [
    ("responses", Reasoning("xhigh"), "xhigh"),
    ("chat", Reasoning("minimal"), "minimal"),
    ("messages", Reasoning("max", adaptive=True), "high"),
    ("messages", Reasoning("low", budget_tokens=30_000), "low"),
    ("messages", Reasoning("none"), None),
    ("messages", Reasoning(adaptive=True), None),
    ("messages", Reasoning(budget_tokens=1024), "low"),
    ("messages", Reasoning(budget_tokens=4096), "low"),
    ("messages", Reasoning(budget_tokens=4097), "medium"),
    ("messages", Reasoning(budget_tokens=16_384), "medium"),
    ("messages", Reasoning(budget_tokens=16_385), "high"),
]


@pytest.mark.parametrize(("dialect", "reasoning", "effort"), EFFORTS)
def test_thinking_becomes_an_effort(dialect: str, reasoning: Reasoning, effort: str | None) -> None:
    body, dropped = written(request(dialect=dialect, reasoning=reasoning))
    assert body.get("reasoning_effort") == effort
    assert ("reasoning.budget_tokens" in dropped) == (reasoning.budget_tokens is not None)


EXTRAS = [
    ("messages", "context_management", {"edits": [1]}, {}, ("context_management",)),
    ("messages", "container", "c1", {}, ("container",)),
    ("messages", "thinking.display", "x", {}, ("thinking.display",)),
    ("messages", "mcp_servers", [], {}, ()),
    ("messages", "min_p", 0.1, {"min_p": 0.1}, ()),
    ("responses", "store", False, {}, ()),
    ("responses", "store", True, {}, ("store",)),
    ("responses", "include", ["reasoning.encrypted_content"], {}, ("include",)),
    ("responses", "prompt_cache_key", "k", {}, ("prompt_cache_key",)),
    ("responses", "text.verbosity", "low", {"verbosity": "low"}, ()),
    ("responses", "background", False, {}, ()),
    ("responses", "conversation", {}, {}, ()),
    ("responses", "seed", 1, {"seed": 1}, ()),
    ("chat", "store", True, {"store": True}, ()),
    ("chat", "model", "other", {}, ()),
]


@pytest.mark.parametrize(("dialect", "name", "value", "kept", "dropped"), EXTRAS)
def test_members_of_others_are_named_and_unknown_ones_passed_on(
    dialect: str, name: str, value: Any, kept: Any, dropped: tuple[str, ...]
) -> None:
    body, left_out = written(request(dialect=dialect, extra={name: raw(value)}))
    assert body == {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | kept
    assert left_out == dropped


def test_users_are_told_apart_within_the_length_that_is_allowed() -> None:
    long = [written(request(user="u" * 80 + end))[0]["user"] for end in "ab"]
    assert len(set(long)) == 2
    assert {len(name) for name in long} == {64}


TIERS = [("responses", "flex", "flex"), ("messages", "auto", None),
         ("messages", "standard_only", "default")]  # fmt: skip


@pytest.mark.parametrize(("dialect", "tier", "word"), TIERS)
def test_service_tiers_have_openais_names(dialect: str, tier: str, word: str | None) -> None:
    assert written(request(dialect=dialect, service_tier=tier))[0].get("service_tier") == word


def test_the_form_of_an_answer_is_written() -> None:
    form = ResponseFormat("json_schema", schema=SCHEMA)
    assert written(request(response_format=form))[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": json.loads(bytes(SCHEMA))},
    }  # fmt: skip
    assert "response_format" not in written(request(response_format=ResponseFormat("text")))[0]


HOSTED = Tool("s", foreign=Foreign("messages", "s_1", raw({})))
IMPOSSIBLE = [
    (request(user(Foreign("messages", "search_result", raw({})))),
     "unsupported_content", "messages[0].content[0]"),
    (request(user(Text("a"), Image(file_id="f"))), "unsupported_content", "messages[0].content[1]"),
    (request(user(File("https://h/a.pdf"))), "unsupported_content", "messages[0].content[0]"),
    (request(user(Text("a")), model(Foreign("responses", "web_search_call", raw({})))),
     "unsupported_content", "messages[1].content[0]"),
    (request(user(Text("a")), model(Image("https://h/i.png"))),
     "unsupported_content", "messages[1].content[0]"),
    (request(Message("system", (Image("https://h/i.png"),))),
     "unsupported_content", "messages[0].content[0]"),
    (request(result("c", Foreign("messages", "tool_reference", raw({})))),
     "unsupported_content", "messages[0].content[0].content[0]"),
    (request(Message("tool", (Foreign("responses", "shell_call_output", raw({})),))),
     "unsupported_content", "messages[0].content[0]"),
    (request(tools=(HOSTED,), tool_choice=ToolChoice("required")),
     "unsupported_parameter", "tool_choice"),
    (request(tools=(HOSTED, Tool("f")), tool_choice=ToolChoice("named", "s")),
     "unsupported_parameter", "tool_choice asks for 's'"),
    (request(dialect="responses", extra={"previous_response_id": raw("r1")}),
     "unsupported_parameter", "previous_response_id"),
    (request(dialect="responses", extra={"background": raw(True)}),
     "unsupported_parameter", "background"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "code", "place"), IMPOSSIBLE)
def test_what_has_no_word_here_is_refused(asked: Request, code: str, place: str) -> None:
    with pytest.raises(Invalid) as caught:
        CHAT.write_request(asked)
    assert caught.value.code == code
    assert caught.value.message.startswith(place)
    assert caught.value.hint


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
IDS = st.text("abc123_-", min_size=1, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(WORDS, VALUES, max_size=3).map(raw)
EXTRA = st.dictionaries(
    st.sampled_from(["seed", "n", "logit_bias"]), VALUES.filter(lambda v: v is not None).map(raw)
)
SEEN = st.one_of(
    st.builds(Image, url=st.just("https://h/i.png"), detail=st.sampled_from(["", "low", "high"])),
    st.builds(Audio, data=IDS, format=st.sampled_from(["wav", "mp3"])),
    st.builds(File, file_id=IDS),
    st.builds(lambda name: File("data:application/pdf;base64,AA==", name=name), WORDS),
)
USERS = st.one_of(
    st.builds(lambda text: (Text(text),), WORDS),
    st.tuples(SEEN, st.builds(Text, WORDS)),
    st.tuples(SEEN),
)
CALLS = st.builds(ToolCall, IDS, IDS, OBJECTS.map(lambda value: bytes(value).decode()))
TURNS = st.builds(
    lambda thought, text, calls: (*thought, *text, *calls),
    st.lists(st.builds(Thinking, WORDS), max_size=1),
    st.lists(st.builds(Text, WORDS), min_size=1, max_size=1),
    st.lists(CALLS, max_size=2),
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """As every engine takes them: one system message, then turns that alternate."""
    messages = [Message("system", (Text(draw(WORDS)),))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message("user", draw(USERS)))
        turn = Message("assistant", draw(TURNS))
        messages.append(turn)
        calls = [part for part in turn.parts if isinstance(part, ToolCall)]
        messages += [result(call.id, Text(draw(WORDS))) for call in calls]
    return tuple(messages)


TOOLS = st.lists(
    st.builds(
        Tool, IDS, st.just("") | WORDS, OBJECTS, st.none() | st.booleans(), extra=st.just({})
    ),
    max_size=2,
    unique_by=lambda tool: tool.name,
).map(tuple)
NUMBERS = st.none() | st.floats(0, 2)
COUNTS = st.none() | st.integers(0, 1 << 32)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    tools = draw(TOOLS)
    modes = [None, ToolChoice("auto"), ToolChoice("required"), ToolChoice("none")]
    modes += [ToolChoice("named", tool.name) for tool in tools]
    stream = draw(st.booleans())
    return Request(
        dialect="chat",
        model=draw(WORDS),
        messages=draw(conversations()),
        tools=tools,
        tool_choice=draw(st.sampled_from(modes)) if tools else None,
        parallel_tool_calls=draw(st.none() | st.booleans()) if tools else None,
        max_tokens=draw(COUNTS),
        temperature=draw(NUMBERS),
        top_p=draw(NUMBERS),
        top_k=draw(COUNTS),
        stop=tuple(draw(st.lists(WORDS, max_size=3))),
        stream=stream,
        include_usage=stream,
        response_format=draw(
            st.none()
            | st.just(ResponseFormat("json_object"))
            | st.builds(ResponseFormat, st.just("json_schema"), IDS, OBJECTS, st.none(), WORDS)
        ),
        reasoning=draw(st.none() | st.just(Reasoning("high"))),
        user=draw(st.just("") | IDS),
        service_tier=draw(st.sampled_from(["", "flex"])),
        extra=draw(EXTRA),
    )


@given(requests())
def test_a_request_comes_back_from_what_is_written(asked: Request) -> None:
    assert CHAT.read_request(CHAT.write_request(asked).body) == asked


ANY_MESSAGE = st.one_of(
    st.builds(
        Message, st.sampled_from(["system", "developer"]), st.tuples(st.builds(Text, WORDS))
    ),
    st.builds(Message, st.just("user"), USERS),
    st.builds(
        Message,
        st.just("assistant"),
        st.lists(st.one_of(st.builds(Text, WORDS), st.builds(Thinking, st.just(""), IDS), CALLS),
                 max_size=3).map(tuple),
    ),
    st.builds(result, IDS, st.one_of(st.builds(Text, WORDS), st.just(Image("https://h/i.png")))),
)  # fmt: skip


@given(st.lists(ANY_MESSAGE, min_size=1, max_size=8).map(tuple))
def test_whatever_comes_is_written_as_templates_want_it(messages: tuple[Message, ...]) -> None:
    said = messages_of(*messages)
    roles = [message["role"] for message in said]
    assert "system" not in roles[1:]
    for before, after in pairwise(roles):
        assert before != after or before == "tool"
        assert (before, after) != ("user", "tool")
    texts = json.dumps(said)
    for message in messages:
        for part in message.parts:
            if isinstance(part, Text):
                assert json.dumps(part.text)[1:-1] in texts
    assert roles.count("tool") == sum(message.role == "tool" for message in messages)
