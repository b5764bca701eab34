"""What Bedrock is asked."""

import base64
import json
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from modelyard.gateway.dialects.converse import CONVERSE, Converse

CLAUDE = "us.anthropic.claude-opus-4-5-20251101-v1:0"
SCHEMA = msgspec.Raw(b'{"type":"object","properties":{}}')
EMPTY = {"type": "object", "properties": {}}
HI = [{"role": "user", "content": [{"text": "hi"}]}]
EPHEMERAL = {"cache_control": msgspec.Raw(b'{"type":"ephemeral"}')}
HOUR = {"cache_control": msgspec.Raw(b'{"type":"ephemeral","ttl":"1h"}')}
POINT = {"cachePoint": {"type": "default"}}


@cache
def shape() -> Any:
    """What AWS's own client would check, where it is installed."""
    if find_spec("botocore") is None:
        return None
    import botocore.session

    client = botocore.session.get_session().get_service_model("bedrock-runtime")
    return client.operation_model("Converse").input_shape


def check(body: Any) -> None:
    if shape() is not None:
        from botocore.validate import ParamValidator

        report = ParamValidator().validate(body | {"modelId": "m"}, shape())
        assert not report.has_errors(), report.generate_report()


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def request(*messages: Message, dialect: str = "messages", **settings: Any) -> Request:
    said = messages or (Message("user", (Text("hi"),)),)
    return Request(dialect=dialect, **{"model": CLAUDE, "messages": said} | settings)


def written(asked: Request) -> tuple[Any, tuple[str, ...]]:
    done = CONVERSE.write_request(asked)
    body = json.loads(done.body)
    check(body)
    return body, done.dropped


def messages_of(*messages: Message) -> Any:
    return written(request(*messages))[0]["messages"]


def user(*parts: Part) -> Message:
    return Message("user", parts)


def model(*parts: Part) -> Message:
    return Message("assistant", parts)


def result(call_id: str, *parts: Any, **settings: Any) -> Message:
    return Message("tool", (ToolResult(call_id, parts, **settings),))


CALL = ToolCall("c", "f", '{"a":1}')


def test_settings_are_written() -> None:
    body, dropped = written(
        request(max_tokens=9, temperature=1.5, top_p=0.9, stop=("a",), user="u", stream=True,
                service_tier="priority", top_k=5)
    )  # fmt: skip
    assert body == {
        "messages": HI,
        "inferenceConfig": {"maxTokens": 9, "temperature": 1.0, "topP": 0.9,
                            "stopSequences": ["a"]},
        "additionalModelRequestFields": {"top_k": 5},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "serviceTier": {"type": "priority"},
    }  # fmt: skip
    assert dropped == ("temperature", "user")


def test_what_was_not_said_is_not_written() -> None:
    assert written(request()) == ({"messages": HI}, ())
    assert written(request(service_tier="auto")) == ({"messages": HI}, ())


PATHS = [
    (CLAUDE, False, "/model/us.anthropic.claude-opus-4-5-20251101-v1%3A0/converse"),
    ("arn:aws:bedrock:us-east-1:1:inference-profile/us.x", True,
     "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse-stream"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "stream", "path"), PATHS)
def test_the_path_names_the_model(name: str, stream: bool, path: str) -> None:
    assert CONVERSE.path(request(model=name, stream=stream)) == path


def test_turns_alternate_and_results_come_first() -> None:
    body, _ = written(
        request(
            Message("system", (Text("s"),)), user(Text("1")), user(Text("2"), Text("  ")),
            Message("developer", (Text("d"),)), model(Text("3"), CALL),
            user(Text("and")), result("c", Text("4")), result("e", is_error=True),
            model(Text("")), user(Text("5")), model(Refusal("no")),
        )
    )  # fmt: skip
    assert body["system"] == [{"text": "s"}, {"text": "d"}]
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "1"}, {"text": "2"}]},
        {"role": "assistant", "content": [
            {"text": "3"}, {"toolUse": {"toolUseId": "c", "name": "f", "input": {"a": 1}}},
        ]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": "c", "content": [{"text": "4"}]}},
            {"toolResult": {"toolUseId": "e", "content": [{"text": "(no output)"}],
                            "status": "error"}},
            {"text": "and"}, {"text": "5"},
        ]},
        {"role": "assistant", "content": [{"text": "no"}]},
    ]  # fmt: skip
    assert body["toolConfig"] == {
        "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": EMPTY}}}]
    }


PICTURE = {"image": {"format": "jpeg", "source": {"bytes": "AA=="}}}
PARTS = [
    (Image("data:image/jpeg;base64,AA=="), PICTURE),
    (Image("data:image/JPG;charset=x;base64,AA=="), PICTURE),
    (Image("s3://bkt/i.png"),
     {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://bkt/i.png"}}}}),
    (Audio("AA==", "wav"), {"audio": {"format": "wav", "source": {"bytes": "AA=="}}}),
    (File("data:application/pdf;base64,AA==", name="a/b_c.pdf"),
     {"document": {"format": "pdf", "name": "b c pdf", "source": {"bytes": "AA=="}}}),
    (File("data:application/octet-stream;base64,AA==", name="x.docx"),
     {"document": {"format": "docx", "name": "x docx", "source": {"bytes": "AA=="}}}),
    (File(text="abc"),
     {"document": {"format": "txt", "name": "document",
                   "source": {"bytes": base64.b64encode(b"abc").decode()}}}),
    (File(text="a", extra={"citations": raw({"enabled": True})}),
     {"document": {"format": "txt", "name": "document", "citations": {"enabled": True},
                   "source": {"bytes": base64.b64encode(b"a").decode()}}}),
    (Foreign("converse", "guardContent", raw({"guardContent": {"text": {"text": "x"}}})),
     {"guardContent": {"text": {"text": "x"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("part", "block"), PARTS)
def test_parts_are_blocks(part: Part, block: Any) -> None:
    assert messages_of(user(Text("see"), part)) == [
        {"role": "user", "content": [{"text": "see"}, block]},
    ]


def test_documents_have_a_text_beside_them_and_names_of_their_own() -> None:
    content = messages_of(user(File(text="a", name="n"), File(text="b", name="n")))[0]["content"]
    assert [block["document"]["name"] for block in content[:2]] == ["n", "n 2"]
    assert content[2:] == [{"text": "(See the document.)"}]


def test_tools_may_show_pictures() -> None:
    shown = result("c", Text("see"), Image("data:image/jpeg;base64,AA=="), is_error=False)
    content = messages_of(user(Text("q")), model(CALL), shown)[2]["content"]
    assert content == [{"toolResult": {"toolUseId": "c", "content": [{"text": "see"}, PICTURE]}}]


def test_only_thoughts_that_are_recognised_are_sent_back() -> None:
    thoughts = model(
        Thinking("hm", "sig"), Thinking("unsigned"), Thinking(encrypted="c2VjcmV0"),
        Thinking(encrypted="not base64!"), Text("so"),
    )  # fmt: skip
    assert messages_of(user(Text("q")), thoughts)[1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "c2VjcmV0"}}, {"text": "so"},
    ]  # fmt: skip


def test_calls_are_made_fit() -> None:
    odd = "a/b" * 40
    said = messages_of(
        user(Text("q")),
        model(ToolCall(odd, "f", "{broken"), ToolCall("d", "g", "free", custom=True),
              ToolCall("e", "h", "")),
        result(odd, Text("1")),
    )  # fmt: skip
    broken, custom, empty = (block["toolUse"] for block in said[1]["content"])
    assert broken["toolUseId"] == said[2]["content"][0]["toolResult"]["toolUseId"]
    assert len(broken["toolUseId"]) <= 64
    inputs = [broken["input"], custom["input"], empty["input"]]
    assert inputs == [{"input": "{broken"}, {"input": "free"}, {}]


def test_what_the_client_wants_cached_is_said() -> None:
    asked = request(
        Message("system", (Text("s", EPHEMERAL),)),
        user(Text("a", HOUR), Text("b", {"prompt_cache_breakpoint": raw({"mode": "explicit"})})),
        model(CALL), result("c", Text("4"), extra=EPHEMERAL), tools=(Tool("f", extra=EPHEMERAL),),
    )  # fmt: skip
    body, _ = written(asked)
    assert body["system"] == [{"text": "s"}, POINT]
    assert body["messages"][0]["content"] == [
        {"text": "a"}, {"cachePoint": {"type": "default", "ttl": "1h"}}, {"text": "b"}, POINT,
    ]  # fmt: skip
    assert body["messages"][2]["content"][1] == body["toolConfig"]["tools"][1] == POINT
    assert b"cachePoint" not in Converse(cache_points=False).write_request(asked).body


CHOICES = [
    (None, None), (ToolChoice("auto"), {"auto": {}}), (ToolChoice("required"), {"any": {}}),
    (ToolChoice("named", "f"), {"tool": {"name": "f"}}),
]  # fmt: skip


@pytest.mark.parametrize(("choice", "word"), CHOICES)
def test_tools_and_the_choice_among_them_are_written(choice: ToolChoice | None, word: Any) -> None:
    search = Tool("web_search", foreign=Foreign("messages", "web_search_20250305", raw({})))
    custom = Tool("p", "Patches.", custom=True)
    asked = request(
        tools=(Tool("f", "does f", SCHEMA, strict=True), custom, search), tool_choice=choice,
        parallel_tool_calls=False,
    )  # fmt: skip
    body, dropped = written(asked)
    assert body["toolConfig"].get("toolChoice") == word
    f, p = (tool["toolSpec"] for tool in body["toolConfig"]["tools"])
    assert f == {"name": "f", "description": "does f", "inputSchema": {"json": EMPTY},
                 "strict": True}  # fmt: skip
    assert p["inputSchema"]["json"]["required"] == ["input"]
    assert dropped == ("parallel_tool_calls", "tools.web_search")


def test_tools_that_may_not_be_called_are_not_sent_unless_they_were() -> None:
    none = ToolChoice("none")
    assert written(request(tools=(Tool("f"),), tool_choice=none)) == ({"messages": HI}, ())
    called = (user(Text("q")), model(CALL), result("c", Text("1")))
    body, dropped = written(request(*called, tools=(Tool("f"),), tool_choice=none))
    assert set(body["toolConfig"]) == {"tools"}
    assert dropped == ("tool_choice",)


NOVA, GPT, LLAMA = "amazon.nova-2-lite-v1:0", "openai.gpt-oss-120b-1:0", "meta.llama4-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"
THOUGHTS = [
    (CLAUDE, Reasoning("high"), {}, "high", ()),
    (CLAUDE, Reasoning("minimal"), {}, "low", ()),
    (CLAUDE, Reasoning("max"), {}, "high", ()),
    (CLAUDE, Reasoning("none"), {}, None, ()),
    (CLAUDE, Reasoning("max", adaptive=True), {"thinking": {"type": "adaptive"}}, "max", ()),
    (CLAUDE, Reasoning(budget_tokens=2000, summary="omitted"),
     {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}}, None, ()),
    (PROFILE, Reasoning(budget_tokens=2000),
     {"thinking": {"type": "enabled", "budget_tokens": 2000}}, None, ()),
    (NOVA, Reasoning(budget_tokens=9000),
     {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}, None, ()),
    (GPT, Reasoning("xhigh"), {"reasoning_effort": "high"}, None, ()),
    (GPT, Reasoning(adaptive=True), {}, None, ()),
    (LLAMA, Reasoning("high"), {}, None, ("reasoning",)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reasoning", "fields", "effort", "dropped"), THOUGHTS)
def test_models_are_told_to_think_in_their_makers_words(
    name: str, reasoning: Reasoning, fields: Any, effort: str | None, dropped: Any
) -> None:
    body, left_out = written(request(model=name, reasoning=reasoning))
    assert body.get("additionalModelRequestFields", {}) == fields
    assert body.get("outputConfig", {}).get("effort") == effort
    assert left_out == dropped


TOP_K = [(CLAUDE, {"top_k": 3}), (PROFILE, {"top_k": 3}), ("mistral.x-v1:0", {"top_k": 3}),
         (NOVA, {"inferenceConfig": {"topK": 3}}), (LLAMA, None)]  # fmt: skip


@pytest.mark.parametrize(("name", "fields"), TOP_K)
def test_top_k_is_said_where_the_model_takes_it(name: str, fields: Any) -> None:
    body, dropped = written(request(model=name, top_k=3))
    assert body.get("additionalModelRequestFields") == fields
    assert dropped == (() if fields else ("top_k",))


def test_the_form_of_an_answer_is_a_schema_in_text() -> None:
    body, _ = written(request(response_format=ResponseFormat("json_schema", "n", SCHEMA)))
    told = {"schema": bytes(SCHEMA).decode(), "name": "n"}
    assert body["outputConfig"] == {
        "textFormat": {"type": "json_schema", "structure": {"jsonSchema": told}},
    }
    assert written(request(response_format=ResponseFormat("text"))) == ({"messages": HI}, ())


EXTRAS = [
    ("requestMetadata", {"team": "a"}, {"requestMetadata": {"team": "a"}}, ()),
    ("additionalModelRequestFields", {"top_k": 9},
     {"additionalModelRequestFields": {"top_k": 9}}, ()),
    ("context_management", {"edits": [1]}, {}, ("context_management",)),
    ("mcp_servers", [], {}, ()), ("store", False, {}, ()), ("seed", 1, {}, ("seed",)),
    ("n", 1, {}, ()), ("logprobs", False, {}, ()), ("modalities", ["text"], {}, ()),
    ("stream_options", {"x": 1}, {}, ()), ("previous_response_id", "", {}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "kept", "dropped"), EXTRAS)
def test_other_members_are_bedrocks_own_or_named(
    name: str, value: Any, kept: Any, dropped: tuple[str, ...]
) -> None:
    assert written(request(extra={name: raw(value)})) == ({"messages": HI} | kept, dropped)


def test_what_the_client_says_to_the_model_wins() -> None:
    own = {"additionalModelRequestFields": raw({"top_k": 9, "x": 1})}
    fields = written(request(extra=own, top_k=3))[0]["additionalModelRequestFields"]
    assert fields == {"top_k": 9, "x": 1}


TIERS = [("flex", "flex"), ("standard_only", "default"), ("fast", "priority"), ("scale", None)]


@pytest.mark.parametrize(("tier", "word"), TIERS)
def test_service_tiers_have_bedrocks_names(tier: str, word: str | None) -> None:
    body, dropped = written(request(service_tier=tier))
    assert body.get("serviceTier", {}).get("type") == word
    assert dropped == (() if word else ("service_tier",))


HOSTED = Tool("s", foreign=Foreign("messages", "s_1", raw({})))
IMPOSSIBLE = [
    (request(user(Image("https://h/i.png"))), "unsupported_content", "messages[0].content[0]"),
    (request(user(Image(file_id="f"))), "unsupported_content", "messages[0].content[0]"),
    (request(user(Image("data:image/svg+xml;base64,AA=="))), "unsupported_content",
     "messages[0].content[0] is an image of the type 'image/svg+xml'"),
    (request(user(File("data:;base64,AA=="))), "unsupported_content", "messages[0].content[0]"),
    (request(user(File("https://h/a.pdf"))), "unsupported_content", "messages[0].content[0]"),
    (request(user(Foreign("messages", "search_result", raw({})))), "unsupported_content",
     "messages[0].content[0] is a part of the kind 'search_result'"),
    (request(result("c", Image("https://h/i.png"))), "unsupported_content",
     "messages[0].content[0].content[0]"),
    (request(Message("system", (Image("s3://b/i.png"),))), "unsupported_content",
     "messages[0].content[0]"),
    (request(tools=(HOSTED,), tool_choice=ToolChoice("required")), "unsupported_parameter",
     "tool_choice asks for a tool"),
    (request(tools=(HOSTED,), tool_choice=ToolChoice("named", "s")), "unsupported_parameter",
     "tool_choice asks for 's'"),
    (request(response_format=ResponseFormat("json_object")), "unsupported_parameter",
     "response_format"),
    (request(extra={"n": raw(2)}), "unsupported_parameter", "n asks for several"),
    (request(extra={"logprobs": raw(True)}), "unsupported_parameter", "logprobs"),
    (request(extra={"previous_response_id": raw("r")}), "unsupported_parameter", "previous_"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "code", "place"), IMPOSSIBLE)
def test_what_has_no_word_here_is_refused(asked: Request, code: str, place: str) -> None:
    with pytest.raises(Invalid) as caught:
        CONVERSE.write_request(asked)
    assert caught.value.code == code
    assert caught.value.message.startswith(place)
    assert caught.value.hint


WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
IDS = st.text("abc/é", min_size=1, max_size=80)
EXTRA = st.sampled_from([{}, EPHEMERAL, HOUR])
ANY = st.one_of(
    st.builds(Text, WORDS, EXTRA), st.builds(File, text=WORDS.filter(bool), name=WORDS),
    st.just(Image("data:image/png;base64,AA==")), st.builds(Thinking, WORDS, WORDS, WORDS),
    st.builds(Refusal, WORDS), st.builds(ToolCall, IDS, st.just("f"), WORDS),
)  # fmt: skip
MESSAGES = st.one_of(
    st.builds(Message, st.just("system"), st.tuples(st.builds(Text, WORDS, EXTRA))),
    st.builds(
        Message, st.sampled_from(["user", "assistant"]), st.lists(ANY, max_size=3).map(tuple)
    ),
    st.builds(result, IDS, st.builds(Text, WORDS), is_error=st.booleans()),
)  # fmt: skip


@given(st.lists(MESSAGES, min_size=1, max_size=8).map(tuple))
def test_whatever_comes_alternates_and_is_not_blank(messages: tuple[Message, ...]) -> None:
    body, _ = written(request(*messages))
    roles = [message["role"] for message in body["messages"]]
    assert all(before != after for before, after in pairwise(roles))
    for message in body["messages"]:
        assert message["content"]
        assert all(block.get("text", "x").strip() for block in message["content"])
        kinds = [kind for block in message["content"] for kind in block if kind != "cachePoint"]
        results = [at for at, kind in enumerate(kinds) if kind == "toolResult"]
        assert results == list(range(len(results)))
    names = [
        block["document"]["name"]
        for message in body["messages"]
        for block in message["content"]
        if "document" in block
    ]
    assert len(names) == len(set(names))
    assert all(1 <= len(name) <= 200 for name in names)
