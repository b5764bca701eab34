"""Anthropic's requests: read as clients send them, written as the API takes them."""

import json
from typing import Any

import msgspec
import pytest

from modelyard.domain.chat import (
    Message,
    Reasoning,
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
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.chat import CHAT
from modelyard.gateway.dialects.messages import MESSAGES

CLAUDE_CODE: dict[str, Any] = {
    "model": "bot",
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.123;"},
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {}}]},
        {"role": "system", "content": "There are agents."},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "a.txt", "is_error": False},
            {"type": "text", "text": "Go on."},
        ]},
    ],
    "tools": [{"name": "Bash", "description": "Run", "input_schema": {"type": "object"}}],
    "metadata": {"user_id": '{"device_id":"f7"}'},
    "max_tokens": 32000,
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": []},
    "output_config": {"effort": "high"},
    "stream": True,
}  # fmt: skip


def read(body: dict[str, Any]) -> Request:
    return MESSAGES.read_request(json.dumps(body).encode())


def write(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(MESSAGES.write_request(request).body)
    return found


def asked(**more: Any) -> Request:
    messages = (Message("user", (Text("hi"),)),)
    return Request(**{"dialect": "chat", "model": "m", "messages": messages, **more})


def test_what_claude_code_sends_is_read() -> None:
    request = read(CLAUDE_CODE)
    assert [message.role for message in request.messages] == [
        "system", "user", "system", "assistant", "tool", "user",
    ]  # fmt: skip
    assert [part.text for part in request.messages[0].parts] == ["You are an agent."]  # type: ignore[union-attr]
    thought, _, call = request.messages[3].parts
    assert isinstance(thought, Thinking)
    assert thought.signature == "sig"
    assert isinstance(call, ToolCall)
    assert json.loads(call.arguments) == {"command": "ls"}
    assert request.messages[4].parts == (ToolResult("t1", (Text("a.txt"),)),)
    assert request.reasoning == Reasoning("high", None, adaptive=True)
    assert (request.user, request.max_tokens) == ('{"device_id":"f7"}', 32000)
    assert set(request.extra) == {"context_management"}


def test_it_goes_to_an_endpoint_of_chat_as_templates_want_it() -> None:
    written = CHAT.write_request(read(CLAUDE_CODE))
    body = json.loads(written.body)
    assert [message["role"] for message in body["messages"]] == [
        "system", "user", "assistant", "tool", "user",
    ]  # fmt: skip
    assert "billing" not in body["messages"][0]["content"]
    assert body["messages"][0]["content"] == "You are an agent.\n\nThere are agents."
    assert body["messages"][3] == {"role": "tool", "tool_call_id": "t1", "content": "a.txt"}
    assert body["stream_options"] == {"include_usage": True}
    assert "context_management" in written.dropped


def test_it_comes_back_as_it_was_but_for_what_is_moved() -> None:
    body = write(read(CLAUDE_CODE))
    expected = dict(CLAUDE_CODE)
    expected["system"] = [
        CLAUDE_CODE["system"][1], {"type": "text", "text": "There are agents."},
    ]  # fmt: skip
    expected["messages"] = [CLAUDE_CODE["messages"][number] for number in (0, 2, 3)]
    expected["messages"][2]["content"][0] = {
        "type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a.txt"}],
    }  # fmt: skip
    assert body == expected


def test_roles_alternate_and_results_come_first() -> None:
    call = ToolCall("c1", "f", '{"a":1}')
    request = asked(
        messages=(
            Message("user", (Text("one"),)),
            Message("user", (Text("two"),)),
            Message("assistant", (call, ToolCall("c2", "g", "not json"))),
            Message("tool", (ToolResult("c1", (Text("r1"),)),)),
            Message("tool", (ToolResult("c2", (), is_error=True),)),
            Message("user", (Text("go on"),)),
            Message("developer", (Text("be short"),)),
        )
    )
    body = write(request)
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in body["messages"][2]["content"]] == [
        "tool_result", "tool_result", "text",
    ]  # fmt: skip
    assert body["messages"][1]["content"][1]["input"] == {"_raw": "not json"}
    assert body["system"] == [{"type": "text", "text": "be short"}]
    assert body["max_tokens"] == 8192


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"tool_choice": ToolChoice("required")}, {"tool_choice": {"type": "any"}}),
        ({"tool_choice": ToolChoice("named", "f")}, {"tool_choice": {"type": "tool", "name": "f"}}),
        ({"tool_choice": ToolChoice("none")}, {"tool_choice": {"type": "none"}}),
        ({"parallel_tool_calls": False},
         {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
        ({"stop": ("a", " ")}, {"stop_sequences": ["a"]}),
        ({"temperature": 1.7}, {"temperature": 1.0}),
        ({"user": "ada"}, {"metadata": {"user_id": "ada"}}),
        ({"reasoning": Reasoning("medium")},
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}),
        ({"reasoning": Reasoning("none")}, {"thinking": {"type": "disabled"}}),
        ({"reasoning": Reasoning("", 9_000), "max_tokens": 4000},
         {"thinking": {"type": "enabled", "budget_tokens": 3999}}),
        ({"response_format": ResponseFormat("json_schema", "x", msgspec.Raw(b"{}"))},
         {"output_config": {"format": {"type": "json_schema", "schema": {}}}}),
    ],
)  # fmt: skip
def test_settings(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    body = write(asked(tools=(Tool("f"),), **given))
    assert {name: body.get(name) for name in wanted} == wanted


def test_a_forced_tool_and_thinking_exclude_each_other() -> None:
    request = asked(
        tools=(Tool("f"),), tool_choice=ToolChoice("required"), reasoning=Reasoning("high")
    )
    assert "thinking" not in write(request)


def test_while_it_thinks_a_model_takes_no_temperature() -> None:
    written = MESSAGES.write_request(asked(temperature=0.2, top_k=5, reasoning=Reasoning("low")))
    assert {"temperature", "top_k"} <= set(written.dropped)
    assert "temperature" not in json.loads(written.body)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"model": "m"}, "messages"),
        ({"messages": []}, "model"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"model": "m", "messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]},
         "messages[0].content[0].text"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"text": "x"}]}]},
         "messages[0].content[0].type"),
        ({"model": "m", "messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "paper"}}]}]},
         "messages[0].content[0].source.type"),
        ({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": -1},
         "max_tokens"),
        ({"model": "m", "messages": [{"role": "user", "content": "x"}],
          "tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"model": "m", "messages": [{"role": "user", "content": "x"}],
          "tools": [{"description": "no name"}]}, "tools[0].name"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(body: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as raised:
        read(body)
    assert raised.value.code == "invalid_request_error"
    assert raised.value.message.startswith(path)


@pytest.mark.parametrize("name", ["n", "logprobs", "logit_bias", "previous_response_id"])
def test_what_would_be_another_question_is_refused(name: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], name: 3}
    request = CHAT.read_request(json.dumps(body).encode())
    with pytest.raises(Invalid) as raised:
        MESSAGES.write_request(request)
    assert (raised.value.code, name in raised.value.message) == ("unsupported_parameter", True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
        (404, "not_found_error"), (413, "request_too_large"), (429, "rate_limit_error"),
        (500, "api_error"), (502, "api_error"), (503, "overloaded_error"),
    ],
)  # fmt: skip
def test_errors_have_anthropics_types(status: int, kind: str) -> None:
    said = json.loads(MESSAGES.envelope(Told(status, "text", "x", "y", None, "req_1")))
    assert said == {
        "type": "error", "error": {"type": kind, "message": "text"}, "request_id": "req_1",
    }  # fmt: skip
