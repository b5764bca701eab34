"""What is promised, how it is kept at an endpoint, and requests in other words."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.domain.guarantees.test_schemas import CASES, Case

from modelyard.domain import guarantees
from modelyard.domain.chat import (
    Answer,
    Foreign,
    Message,
    Refusal,
    Request,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
)
from modelyard.domain.guarantees import Fault, Promise, Schemas, broken, treatment_of
from modelyard.errors import Invalid

USER = Message("user", (Text("hi"),))


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def request(dialect: str = "chat", **more: Any) -> Request:
    return Request(dialect=dialect, model="m", messages=(USER,), **more)


def promise(asked: Request, *, forms: bool = True, tools: bool = True) -> Promise:
    return guarantees.promise_of(asked, Schemas(), forms=forms, tools=tools)


def strict(name: str = "f", schema: Any = None) -> Tool:
    return Tool(name, parameters=raw(schema or {"type": "object"}), strict=True)


@given(CASES.filter(lambda case: "$defs" not in json.dumps(case[0])))
@settings(max_examples=60, deadline=None)
def test_texts_and_arguments_are_held_to_their_schemas(case: Case) -> None:
    schema, good, bad = case
    boxed = {"type": "object", "properties": {"in": schema}, "required": ["in"]}
    form = ResponseFormat("json_schema", "x", raw(boxed))
    asked = request(response_format=form, tools=(strict(schema=boxed),))
    made = promise(asked)
    for value, is_good in ((good, True), (bad, False)):
        text = json.dumps({"in": value})
        said = Answer(parts=(Text(text),))
        called = Answer(parts=(ToolCall("1", "f", text),), finish="tool_calls")
        assert (broken(made, said) is None) is is_good
        assert (broken(made, called) is None) is is_good


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_the_schema_of_a_call_is_that_of_its_arguments(case: Case) -> None:
    """Also where parameters refer to their own parts, which move."""
    schema, good, bad = case
    if "$defs" in json.dumps(schema) and "$defs" not in schema:
        return
    tools = (Tool("other", parameters=raw({"type": "object"})), strict("f", schema))
    asked = request(tools=tools, tool_choice=ToolChoice("required"))
    sent = guarantees.calling(
        asked, Promise(must_call="required"), constrained=True, json_mode=True
    )
    assert sent.response_format is not None
    one = Schemas().compiled(bytes(sent.response_format.schema), "x")
    assert one.problem({"name": "f", "arguments": good}) == ("", "")
    assert one.problem({"name": "f", "arguments": bad})[1]
    assert one.problem({"name": "g", "arguments": good})[1]
    assert sent.tools == ()
    assert sent.tool_choice is None


def test_a_reference_among_values_is_none() -> None:
    schema = {
        "$defs": {"a": {"const": {"$ref": "#/x"}}},
        "properties": {"in": {"$ref": "#/$defs/a"}},
    }
    asked = request(tools=(strict("f", schema),), tool_choice=ToolChoice("required"))
    sent = guarantees.calling(asked, Promise(), constrained=True, json_mode=True)
    assert sent.response_format is not None
    moved = json.loads(bytes(sent.response_format.schema))["$defs"]["tool0"]
    assert moved["$defs"]["a"] == {"const": {"$ref": "#/x"}}
    assert moved["properties"]["in"] == {"$ref": "#/$defs/tool0/$defs/a"}


@pytest.mark.parametrize(
    "finish", ["length", "content_filter", "refusal", "pause", "stop_sequence"]
)
def test_what_did_not_come_to_its_end_breaks_nothing(finish: str) -> None:
    made = Promise(form="json_object", must_call="required")
    assert broken(made, Answer(parts=(Text("{"),), finish=finish)) is None
    assert broken(made, Answer(parts=(Text("{"),), finish="stop")) is not None


def test_a_refusal_breaks_nothing() -> None:
    assert broken(Promise(form="json_object"), Answer(parts=(Refusal("no"),))) is None


def test_a_call_takes_the_place_of_the_text() -> None:
    call = ToolCall("1", "f", "{}")
    assert broken(Promise(form="json_object"), Answer(parts=(call,), finish="tool_calls")) is None


def test_custom_tools_take_any_text() -> None:
    asked = request(tools=(Tool("f", custom=True),), tool_choice=ToolChoice("named", "f"))
    answer = Answer(parts=(ToolCall("1", "f", "any text"),), finish="tool_calls")
    assert broken(promise(asked), answer) is None


def test_a_tool_of_the_provider_may_be_what_is_called() -> None:
    hosted = Tool("search", foreign=Foreign("responses", "web_search", msgspec.Raw(b"{}")))
    either = request("responses", tools=(hosted, strict()), tool_choice=ToolChoice("required"))
    assert promise(either).must_call == ""
    own = request("responses", tools=(hosted, strict()), tool_choice=ToolChoice("named", "f"))
    assert promise(own).must_call == "named"


def test_nothing_is_promised_where_nothing_was_asked() -> None:
    assert not promise(request(tools=(Tool("f"),), tool_choice=ToolChoice("auto")))
    assert not promise(request(response_format=ResponseFormat("text")))
    asked = request(response_format=ResponseFormat("json_object"), tools=(strict(),))
    assert not promise(asked, forms=False, tools=False)
    assert promise(asked, forms=False).form == ""
    assert promise(asked, tools=False).strict == {}


@pytest.mark.parametrize(
    ("dialect", "place"),
    [
        ("chat", "tools[0].function.parameters.type"),
        ("responses", "tools[0].parameters.type"),
        ("messages", "tools[0].input_schema.type"),
    ],
)
def test_a_bad_schema_is_named_in_the_clients_dialect(dialect: str, place: str) -> None:
    with pytest.raises(Invalid) as refused:
        promise(request(dialect, tools=(strict(schema={"type": "nope"}),)))
    assert refused.value.message.startswith(place)


# --- at an endpoint ------------------------------------------------------------------------

WORDS = st.lists(st.sampled_from(["json_object", "json_schema", "tool_choice"]), unique=True)
MODES = st.sampled_from(["auto", "native", "checked"])


@given(
    st.sampled_from(["", "json_object", "json_schema"]), st.sampled_from(["", "required", "named"]),
    WORDS, WORDS, MODES, MODES,
)  # fmt: skip
def test_nothing_that_is_lacking_is_sent_or_passes_unseen(
    form: str, call: str, keeps: list[str], lacks: list[str], forms: str, tools: str
) -> None:
    made = Promise(form=form, must_call=call)
    found = treatment_of(made, keeps, lacks, forms=forms, tools=tools)
    if call and "tool_choice" in lacks:
        assert found.emulated
        assert found.holds
    elif form in lacks and form:
        assert found.worded == form
        assert found.holds
    else:
        assert not found.rewrites
        trusted = [
            (not form or forms == "native" or (forms == "auto" and form in keeps)),
            (not call or tools == "native" or (tools == "auto" and "tool_choice" in keeps)),
        ]
        assert found.holds is not all(trusted)


# --- answers put back ----------------------------------------------------------------------


@given(st.text(max_size=9), st.dictionaries(st.text(max_size=4), st.integers()))
def test_an_object_becomes_the_call_that_it_stands_for(
    name: str, arguments: dict[str, int]
) -> None:
    text = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    for said in (text, f"\n {text} ", f"```json\n{text}\n```"):
        turned = guarantees.turned_to_call(Answer(id="a.1", parts=(Text(said),)))
        (call,) = turned.parts
        assert isinstance(call, ToolCall)
        assert (call.name, json.loads(call.arguments)) == (name, arguments)
        assert (call.id, turned.finish) == ("call_a1", "tool_calls")


@given(st.integers(0, 60))
def test_a_cut_call_never_shows_its_object_as_text(length: int) -> None:
    text = '{"name": "plan", "arguments": {"city": "Bern", "days": 3}}'[:length]
    turned = guarantees.turned_to_call(Answer(parts=(Text(text),), finish="length"))
    calls = [part for part in turned.parts if isinstance(part, ToolCall)]
    assert turned.finish == "length"
    assert [call.name for call in calls] == (["plan"] if length >= 15 else [])


def test_other_text_is_no_call() -> None:
    answer = Answer(parts=(Text("Let me think."),))
    assert guarantees.turned_to_call(answer) is answer
    assert guarantees.without_fence(answer) is answer


def test_what_the_model_is_told() -> None:
    fault = Fault("the text", "is not JSON")
    said, told = guarantees.repaired(Answer(parts=(Text("hm"),)), fault)
    assert (said.role, told.role) == ("assistant", "user")
    assert said.parts == (Text("hm"),)
    assert "the text is not JSON" in told.parts[0].text  # type: ignore[union-attr]
    calls = (ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}"))
    turns = guarantees.repaired(Answer(parts=calls), fault)
    assert [turn.role for turn in turns] == ["assistant", "tool", "tool"]


def test_usages_are_added() -> None:
    one = Usage(input_tokens=1, output_tokens=2, server_tools={"a": 1})
    two = Usage(input_tokens=3, output_tokens=4, cache_read_tokens=5, server_tools={"a": 2, "b": 1})
    both = guarantees.added(one, two)
    assert (both.input_tokens, both.output_tokens, both.cache_read_tokens) == (4, 6, 5)
    assert both.reasoning_tokens is None
    assert both.server_tools == {"a": 3, "b": 1}
