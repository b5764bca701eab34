"""A request for an endpoint: legal for the official SDK, nothing lost that the dialect can say."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseOutputMessage
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam
from pydantic import TypeAdapter
from tests.unit.gateway.dialects.responses_rig import (
    CODEX,
    JSON,
    NAMES,
    PATCH_TOOL,
    WORDS,
    asked,
    body,
)

from modelyard.domain.chat import (
    Answer,
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
from modelyard.gateway.dialects.responses import RESPONSES

ITEM: TypeAdapter[Any] = TypeAdapter(ResponseInputItemParam)
TOOL: TypeAdapter[Any] = TypeAdapter(ToolParam)
PARAMS: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsNonStreaming)
FORMAT = msgspec.Raw(b'{"type":"text"}')


def written(request: Request) -> dict[str, Any]:
    sent: dict[str, Any] = msgspec.json.decode(RESPONSES.write_request(request).body)
    return sent


def legal(sent: dict[str, Any]) -> None:
    """Whether the official SDK's types know all of it. Sounds are in none of its unions."""
    for item in sent["input"]:
        if "input_audio" not in str(item):
            ITEM.validate_python({"id": "x", **item} if item["type"] == "reasoning" else item)
        if item.get("role") == "assistant" and "id" in item:
            ResponseOutputMessage.model_validate(item, strict=True)
    for tool in sent.get("tools", ()):
        TOOL.validate_python(tool)
    rest = {name: value for name, value in sent.items() if name not in ("input", "tools")}
    PARAMS.validate_python({**rest, "stream": None})


def said(*parts: Part, role: str = "user", dialect: str = "responses") -> list[Any]:
    request = asked(messages=(Message(role, parts),), dialect=dialect)
    items: list[Any] = written(request)["input"]
    return items


def test_what_codex_sends_goes_on_as_it_is() -> None:
    sent = written(RESPONSES.read_request(body(CODEX)))
    assert {name: sent[name] for name in sent if name != "input"} == {
        name: CODEX[name] for name in CODEX if name != "input"
    }
    kinds = [item["type"] for item in sent["input"]]
    assert kinds == [item["type"] for item in CODEX["input"]]
    thought = sent["input"][2]
    assert thought == {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Look first."}],
        "encrypted_content": "gAAAAsecret",
    }
    assert sent["input"][3] == {
        "type": "message", "role": "assistant", "content": "I look.", "phase": "commentary",
    }  # fmt: skip
    assert sent["input"][4:6] == CODEX["input"][4:6]
    legal(sent)


def test_of_another_dialect_nothing_is_stored_and_a_system_message_is_the_instructions() -> None:
    request = asked(
        dialect="chat",
        messages=(
            Message("system", (Text("be kind"),)),
            Message("system", (Text("and short"),)),
            Message("user", (Text("a"), Text("b")), name="bob"),
        ),
        tools=(Tool("f"), Tool("g", "d", msgspec.Raw(b'{"type":"object"}'), True)),
        tool_choice=ToolChoice("named", "g"),
        parallel_tool_calls=False,
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        user="u" * 65,
        service_tier="flex",
        reasoning=Reasoning(effort="high", summary="auto"),
        response_format=ResponseFormat("json_schema", "", msgspec.Raw(b"{}"), None, "d"),
    )
    sent = written(request)
    assert len(sent.pop("safety_identifier")) == 64
    assert sent == {
        "model": "m",
        "instructions": "be kind",
        "input": [
            {"type": "message", "role": "system", "content": "and short"},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "a"},
                    {"type": "input_text", "text": "b"},
                ],
            },
        ],
        "tools": [
            {
                "type": "function",
                "name": "f",
                "parameters": {"type": "object", "properties": {}},
                "strict": False,
            },
            {
                "type": "function",
                "name": "g",
                "description": "d",
                "parameters": {"type": "object"},
                "strict": True,
            },
        ],
        "tool_choice": {"type": "function", "name": "g"},
        "parallel_tool_calls": False,
        "max_output_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "text": {
            "format": {
                "type": "json_schema",
                "name": "answer",
                "schema": {},
                "description": "d",
            }
        },
        "reasoning": {"effort": "high", "summary": "auto"},
        "service_tier": "flex",
        "store": False,
    }
    legal(sent)
    assert RESPONSES.write_request(request).dropped == ("messages.name",)


@pytest.mark.parametrize(
    "first",
    [
        Message("system", (Text("a"), Text("b"))),
        Message("system", (Text("a", {"cache_control": FORMAT}),)),
        Message("developer", (Text("a"),)),
        Message("user", (Text("a"),)),
    ],
)
def test_what_is_no_plain_system_message_keeps_its_place(first: Message) -> None:
    sent = written(asked(messages=(first,)))
    assert "instructions" not in sent
    assert sent["input"][0]["role"] == first.role


PARTS: list[tuple[Part, dict[str, Any]]] = [
    (Image("https://h/i"), {"image_url": "https://h/i", "detail": "auto"}),
    (Image(file_id="f", detail="low"), {"file_id": "f", "detail": "low"}),
    (File("https://h/f"), {"file_url": "https://h/f"}),
    (File("https://h/f", name="n"), {"file_url": "https://h/f", "filename": "n"}),
    (
        File("data:application/pdf;base64,QQ=="),
        {"file_data": "data:application/pdf;base64,QQ==", "filename": "file.pdf"},
    ),
    (
        File("data:text/csv;base64,QQ==", name="t.csv"),
        {"file_data": "data:text/csv;base64,QQ==", "filename": "t.csv"},
    ),
    (File(file_id="f"), {"file_id": "f"}),
    (File(text="t", name="n"), {"text": "n\n\nt"}),
    (File(text="t"), {"text": "t"}),
    (Audio("QQ==", "wav"), {"input_audio": {"data": "QQ==", "format": "wav"}}),
]


@pytest.mark.parametrize(("part", "members"), PARTS)
def test_parts(part: Part, members: dict[str, Any]) -> None:
    content = said(part)[0]["content"][0]
    assert {name: value for name, value in content.items() if name != "type"} == members
    kind = {"detail": "input_image", "text": "input_text", "input_audio": "input_audio"}
    assert content["type"] == next((kind[k] for k in members if k in kind), "input_file")


def test_what_the_assistant_said_is_cut_into_items() -> None:
    annotation = msgspec.Raw(
        b'[{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":1}]'
    )
    items = said(
        Text(""), Text("a"), Refusal("no"), Text("b", {"annotations": annotation}),
        ToolCall("1", "f", "{}"), ToolCall("2", "p", "x", custom=True),
        role="assistant",
    )  # fmt: skip
    assert items[0] == {"type": "message", "role": "assistant", "content": "a"}
    assert items[1]["content"] == [{"type": "refusal", "refusal": "no"}]
    assert items[2]["content"][0]["annotations"] == msgspec.json.decode(annotation)
    assert items[3] == {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
    assert items[4] == {"type": "custom_tool_call", "call_id": "2", "name": "p", "input": "x"}
    legal(written(asked(messages=(Message("assistant", (Refusal("no"),)),))))


THOUGHTS: list[tuple[tuple[Thinking, ...], list[dict[str, Any]]]] = [
    ((Thinking("a"),), []),
    ((Thinking("a", signature="s"),), []),
    ((Thinking("a", signature="s", id="rs_1"),), []),
    (
        (Thinking("a", id="rs_1"), Thinking("b", id="rs_1", is_summary=True)),
        [
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "b"}],
                "content": [{"type": "reasoning_text", "text": "a"}],
            }
        ],
    ),
    (
        (Thinking("a", id="rs_1"), Thinking("b", id="rs_1", encrypted="e")),
        [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"}],
    ),
    (
        (Thinking(encrypted="d"), Thinking("b", is_summary=True, encrypted="e")),
        [
            {"type": "reasoning", "summary": [], "encrypted_content": "d"},
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "b"}],
                "encrypted_content": "e",
            },
        ],
    ),
    (
        (Thinking("a", id="rs_1"), Thinking("b", id="rs_2")),
        [
            {
                "type": "reasoning",
                "id": id,
                "summary": [],
                "content": [{"type": "reasoning_text", "text": text}],
            }
            for id, text in (("rs_1", "a"), ("rs_2", "b"))
        ],
    ),
]


@pytest.mark.parametrize(("parts", "items"), THOUGHTS)
def test_thoughts_go_back_where_the_endpoint_can_know_them(
    parts: tuple[Thinking, ...], items: list[dict[str, Any]]
) -> None:
    answered = {"type": "message", "role": "assistant", "content": "x"}
    assert said(*parts, Text("x"), role="assistant") == [*items, answered]
    assert said(*parts, role="assistant") == items


def test_results_are_of_the_kind_of_their_call() -> None:
    request = asked(
        dialect="messages",
        messages=(
            Message("assistant", (ToolCall("1", "p", "x", custom=True), ToolCall("2", "f", "{}"))),
            Message("tool", (ToolResult("1", (Text("ok"),)),)),
            Message("tool", (ToolResult("2", (Text("a"), Image("https://h/i")), is_error=True),)),
            Message("tool", (ToolResult("3"),)),
        ),
    )
    items = written(request)["input"][2:]
    assert items[0] == {"type": "custom_tool_call_output", "call_id": "1", "output": "ok"}
    assert items[1]["type"] == "function_call_output"
    assert [part["type"] for part in items[1]["output"]] == ["input_text", "input_image"]
    assert items[2] == {"type": "function_call_output", "call_id": "3", "output": ""}
    assert RESPONSES.write_request(request).dropped == ("messages.content.is_error",)
    legal(written(request))


HERE = Foreign("responses", "web_search", msgspec.Raw(b'{"type":"web_search"}'))
ELSEWHERE = Foreign("messages", "web_search_20250305", msgspec.Raw(b'{"type":"x"}'))


def test_tools_of_another_dialect_are_left_out_and_named() -> None:
    request = asked(
        dialect="messages",
        tools=(Tool("web_search", foreign=ELSEWHERE), Tool("f"), PATCH_TOOL),
        tool_choice=ToolChoice("named", "web_search"),
    )
    sent = RESPONSES.write_request(request)
    assert sent.dropped == ("tool_choice", "tools.web_search")
    tools = msgspec.json.decode(sent.body)["tools"]
    assert [tool["type"] for tool in tools] == ["function", "custom"]
    assert "tool_choice" not in msgspec.json.decode(sent.body)
    own = asked(tools=(Tool("web_search", foreign=HERE),))
    assert written(own)["tools"] == [{"type": "web_search"}]


def test_a_choice_without_tools_is_left_out() -> None:
    alone = (Tool("web_search", foreign=ELSEWHERE),)
    for mode, dropped in (("auto", ()), ("required", ("tool_choice",))):
        request = asked(dialect="messages", tools=alone, tool_choice=ToolChoice(mode))
        sent = RESPONSES.write_request(request)
        assert sent.dropped == (*dropped, "tools.web_search")
        assert {"tools", "tool_choice"}.isdisjoint(msgspec.json.decode(sent.body))


@pytest.mark.parametrize(
    ("form", "flat"),
    [
        (b'{"type":"text"}', {"type": "text"}),
        (
            b'{"type":"grammar","grammar":{"definition":"d","syntax":"lark"}}',
            {"type": "grammar", "definition": "d", "syntax": "lark"},
        ),
        (
            b'{"type":"grammar","definition":"d","syntax":"regex"}',
            {"type": "grammar", "definition": "d", "syntax": "regex"},
        ),
    ],
)
def test_a_custom_tool_stays_custom(form: bytes, flat: dict[str, str]) -> None:
    tool = Tool("p", "d", custom=True, extra={"format": msgspec.Raw(form)})
    request = asked(dialect="chat", tools=(tool,), tool_choice=ToolChoice("named", "p"))
    sent = written(request)
    assert sent["tools"] == [{"type": "custom", "name": "p", "description": "d", "format": flat}]
    assert sent["tool_choice"] == {"type": "custom", "name": "p"}
    legal(sent)


def test_what_only_this_dialect_knows_goes_on_as_it_was() -> None:
    items = [
        {"type": "message", "role": "user",
         "content": [{"type": "computer_screenshot", "image_url": "data:,"}]},
        {"type": "local_shell_call", "id": "1", "call_id": "c", "status": "completed"},
        {"type": "local_shell_call_output", "id": "1", "output": "{}"},
    ]  # fmt: skip
    choice = {"type": "web_search_preview"}
    given = {"model": "m", "input": items, "tools": [choice], "tool_choice": choice, "store": True}
    request = RESPONSES.read_request(body(given))
    assert written(request) == given
    repeated = msgspec.json.decode(RESPONSES.write_answer(Answer(id="a"), request))
    assert (repeated["tools"], repeated["tool_choice"]) == ([choice], choice)
    form = ResponseFormat("json_object")
    assert written(asked(response_format=form))["text"] == {"format": {"type": "json_object"}}


def extra(**members: bytes) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(raw) for name, raw in members.items()}


def test_members_of_chat_that_have_a_word_here_are_kept_and_others_named() -> None:
    request = asked(
        dialect="chat",
        extra=extra(
            metadata=b'{"a":"b"}', prompt_cache_key=b'"k"', verbosity=b'"low"', store=b"true",
            seed=b"1", n=b"1", logprobs=b"false", logit_bias=b"{}", modalities=b'["text"]',
            stream_options=b'{"include_usage":true}',
        ),
    )  # fmt: skip
    sent = RESPONSES.write_request(request)
    assert sent.dropped == ("seed", "store")
    members = msgspec.json.decode(sent.body)
    assert members["metadata"] == {"a": "b"}
    assert members["prompt_cache_key"] == "k"
    assert members["text"] == {"verbosity": "low"}
    assert members["store"] is False
    assert not {"n", "seed", "logprobs", "stream_options"} & set(members)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stop": ("x",)}, "stop"),
        ({"dialect": "chat", "extra": extra(n=b"2")}, "n asks for several"),
        ({"dialect": "chat", "extra": extra(logprobs=b"true")}, "logprobs"),
        ({"dialect": "chat", "extra": extra(logit_bias=b'{"5":-100}')}, "logit_bias"),
        ({"dialect": "chat", "extra": extra(modalities=b'["text","audio"]')}, "modalities"),
    ],
)
def test_what_would_change_the_answer_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid) as raised:
        RESPONSES.write_request(asked(**changes))
    assert raised.value.code == "unsupported_parameter"
    assert message in raised.value.message


BLOCK = Foreign("messages", "search_result", msgspec.Raw(b"{}"))
REFUSED: list[tuple[str, Part, str]] = [
    ("user", BLOCK, "'search_result'"),
    ("assistant", BLOCK, "'search_result'"),
    ("assistant", Image("https://h/i"), "Image of the assistant"),
    ("user", Thinking("a"), "Thinking"),
    ("tool", BLOCK, "Foreign in the place of a result"),
    ("tool", ToolResult("1", (BLOCK,)), "'search_result'"),
]


@pytest.mark.parametrize(("role", "part", "message"), REFUSED)
def test_parts_without_a_word_here_are_refused(role: str, part: Part, message: str) -> None:
    system = Message("system", (Text("s"),))
    with pytest.raises(Invalid) as raised:
        written(asked(dialect="messages", messages=(system, Message(role, (part,)))))
    assert raised.value.code == "unsupported_content"
    assert "messages[1].content[0]" in raised.value.message
    assert message in raised.value.message


REASONINGS: list[tuple[Reasoning, dict[str, Any] | None, tuple[str, ...]]] = [
    (Reasoning(budget_tokens=1024), {"effort": "low"}, ("reasoning.budget_tokens",)),
    (Reasoning(budget_tokens=10_000), {"effort": "medium"}, ("reasoning.budget_tokens",)),
    (Reasoning(budget_tokens=60_000), {"effort": "high"}, ("reasoning.budget_tokens",)),
    (Reasoning(adaptive=True, summary="omitted"), None, ()),
    (Reasoning(effort="none"), {"effort": "none"}, ()),
    (Reasoning(effort="max", adaptive=True), {"effort": "max"}, ()),
]


@pytest.mark.parametrize(("reasoning", "members", "dropped"), REASONINGS)
def test_how_much_to_think(
    reasoning: Reasoning, members: dict[str, Any] | None, dropped: tuple[str, ...]
) -> None:
    sent = RESPONSES.write_request(asked(dialect="messages", reasoning=reasoning))
    body = msgspec.json.decode(sent.body)
    assert body.get("reasoning") == members
    assert sent.dropped == dropped
    assert ("include" in body) == (reasoning.effort != "none")


def test_what_else_the_messages_dialect_says_is_named() -> None:
    cached = Text("a", {"cache_control": msgspec.Raw(b'{"type":"ephemeral"}')})
    request = asked(
        dialect="messages",
        messages=(Message("user", (cached, cached)),),
        top_k=5,
        service_tier="standard_only",
        extra=extra(container=b'"c"'),
    )
    sent = RESPONSES.write_request(request)
    assert sent.dropped == ("container", "messages.content.cache_control", "top_k")
    assert msgspec.json.decode(sent.body)["service_tier"] == "default"


SEEN: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, WORDS),
    st.builds(lambda at, detail: Image(f"https://h/{at}", detail=detail), NAMES,
              st.sampled_from(["auto", "low"])),
    st.builds(lambda at: Image(file_id=at, detail="high"), NAMES),
    st.builds(lambda at, name: File(f"https://h/{at}", name=name), NAMES, NAMES),
    st.builds(lambda data, name: File(f"data:text/plain;base64,{data}", name=name), NAMES, NAMES),
    st.builds(lambda data: Audio(data, "wav"), NAMES),
)  # fmt: skip
SPOKEN: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, WORDS),
    st.builds(Refusal, WORDS),
    st.builds(ToolCall, NAMES, NAMES, JSON),
    st.builds(lambda id, name, text: ToolCall(id, name, text, custom=True), NAMES, NAMES, WORDS),
    st.builds(lambda id, text: Thinking(text, "", "secret", id, True), NAMES, WORDS),
    st.builds(lambda id: Thinking("", "", "secret", id), NAMES | st.just("")),
)
TOLD = st.lists(
    st.one_of(
        st.builds(Text, WORDS),
        st.builds(lambda at: Image(f"https://h/{at}", detail="auto"), NAMES),
    ),
    min_size=1,
    max_size=2,
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    messages: list[Message] = []
    for role in draw(st.lists(st.sampled_from(["user", "developer", "assistant", "tool"]))):
        if role == "assistant" and messages and messages[-1].role == "assistant":
            continue  # neighbours are one message
        if role == "tool":
            custom = draw(st.booleans())
            result = ToolResult("r_" + draw(NAMES), tuple(draw(TOLD)), custom=custom)
            messages.append(Message("tool", (result,)))
            continue
        parts = st.lists(SPOKEN if role == "assistant" else SEEN, min_size=1, max_size=3)
        messages.append(Message(role, tuple(draw(parts))))
    first = draw(st.none() | WORDS)
    return (*([Message("system", (Text(first),))] if first else []), *messages)


@given(
    conversations(),
    st.lists(st.builds(Tool, NAMES, WORDS, st.just(msgspec.Raw(b'{"type":"object"}')),
                       st.none() | st.booleans()), max_size=2),
    st.none() | st.sampled_from([ToolChoice("auto"), ToolChoice("required")]),
    st.none() | st.integers(1, 1 << 20),
    st.none() | st.floats(0, 2),
    st.booleans(),
)  # fmt: skip
def test_a_conversation_comes_back_as_it_was(
    messages: tuple[Message, ...],
    tools: list[Tool],
    choice: ToolChoice | None,
    max_tokens: int | None,
    temperature: float | None,
    stream: bool,
) -> None:
    request = asked(
        messages=messages,
        tools=tuple(tools),
        tool_choice=choice if tools else None,
        max_tokens=max_tokens,
        temperature=temperature,
        stream=stream,
        include_usage=True,
        extra=extra(store=b"false"),
    )
    sent = RESPONSES.write_request(request)
    assert sent.dropped == ()
    legal(msgspec.json.decode(sent.body))
    assert RESPONSES.read_request(sent.body) == request
