"""A whole answer, read from an endpoint and written for a client."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from tests.unit.gateway.dialects.responses_rig import (
    CODEX,
    PATCH_TOOL,
    answers,
    asked,
    body,
    official,
)

from modelyard.domain.chat import (
    FINISHES,
    Answer,
    Foreign,
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
    Usage,
)
from modelyard.errors import Invalid
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.responses import RESPONSES

SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed",
          "action": {"type": "search", "query": "q"}}  # fmt: skip
CITATION = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
WHOLE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1700000000.0, "status": "completed",
    "model": "gpt", "service_tier": "priority", "error": None, "incomplete_details": None,
    "output": [
        {"id": "rs_1", "type": "reasoning",
         "summary": [{"type": "summary_text", "text": "s"}],
         "content": [{"type": "reasoning_text", "text": "t"}], "encrypted_content": "e"},
        {"id": "rs_2", "type": "reasoning", "summary": []},
        SEARCH,
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
         "phase": "final_answer",
         "content": [{"type": "output_text", "text": "a", "annotations": [CITATION]},
                     {"type": "output_new", "what": 1},
                     {"type": "refusal", "refusal": "no"}]},
        {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}",
         "namespace": "n", "status": "completed"},
        {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c2", "name": "p", "input": "x"},
        {"id": "fc_2", "type": "function_call", "name": "g"},
    ],
    "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5,
              "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 14},
    "tool_usage": {"web_search": {"num_requests": 3}, "image_gen": {"total_tokens": 0}},
}  # fmt: skip


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def read(**changes: Any) -> Answer:
    return RESPONSES.read_answer(body({**WHOLE, **changes}))


def test_every_kind_of_item_is_read() -> None:
    answer = read()
    assert (answer.id, answer.model, answer.created_s) == ("resp_1", "gpt", 1_700_000_000)
    assert answer.finish == "tool_calls"
    assert answer.parts == (
        Thinking("s", id="rs_1", is_summary=True),
        Thinking("t", id="rs_1", encrypted="e"),
        Foreign("responses", "web_search_call", raw(SEARCH)),
        Text("a", {"annotations": raw([CITATION]), "phase": raw("final_answer")}),
        Refusal("no"),
        ToolCall("c1", "f", "{}", extra={"namespace": raw("n")}),
        ToolCall("c2", "p", "x", custom=True),
        ToolCall("fc_2", "g", ""),
    )
    assert answer.usage == Usage(
        input_tokens=9, cache_read_tokens=4, output_tokens=5, reasoning_tokens=2,
        server_tools={"web_search": 3}, service_tier="priority",
    )  # fmt: skip


MESSAGE = {"type": "message", "role": "assistant", "content": "a"}
NO = {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}
CALL = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
ENDINGS: list[tuple[dict[str, Any], str]] = [
    ({"output": []}, "stop"),
    ({"output": [MESSAGE]}, "stop"),
    ({"output": [MESSAGE], "status": None}, "stop"),
    ({"output": [NO]}, "refusal"),
    ({"output": [NO, CALL]}, "tool_calls"),
    ({"output": [CALL], "status": "incomplete"}, "length"),
    ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
    ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
     "content_filter"),
    ({"status": "incomplete", "incomplete_details": {"reason": "max_messages"}}, "length"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "finish"), ENDINGS)
def test_how_it_ended(changes: dict[str, Any], finish: str) -> None:
    assert read(**changes).finish == finish


USAGES: list[tuple[Any, Usage | None]] = [
    (None, None),
    ({}, None),
    ("many", None),
    ({"input_tokens": 1}, Usage(input_tokens=1)),
    (
        {
            "input_tokens": 9, "output_tokens": 8, "total_tokens": 17, "cost": 0.25, "is_ok": True,
            "num_sources_used": 2, "new_tokens": 0,
            "input_tokens_details": {
                "cached_tokens": 0, "cache_write_tokens": 5, "audio_tokens": 1, "image_tokens": 2,
                "text_tokens": 6, "input_tokens_per_turn": [9],
                "cache_write_tokens_details": {"ttl_30m_tokens": 3, "ttl_12h_tokens": 2},
            },
            "output_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 3, "image_tokens": 4, "odd_tokens": 7,
                "text_tokens": 1,
            },
        },
        Usage(
            input_tokens=9, output_tokens=8, cache_read_tokens=0, cache_write_tokens=5,
            audio_input_tokens=1, image_input_tokens=2, reasoning_tokens=0, audio_output_tokens=3,
            image_output_tokens=4, extra={"cost": raw(0.25), "is_ok": raw(True)},
            unknown={
                "num_sources_used": 2,
                "input_tokens_details.cache_write_tokens_details.ttl_12h_tokens": 2,
                "output_tokens_details.odd_tokens": 7,
            },
        ),
    ),
    ({"input_tokens": -1, "output_tokens": 2}, Usage(output_tokens=2,
                                                      extra={"input_tokens": raw(-1)})),
]  # fmt: skip


@pytest.mark.parametrize(("given", "usage"), USAGES)
def test_usage(given: Any, usage: Usage | None) -> None:
    assert read(usage=given, tool_usage=None, service_tier=None, output=[]).usage == usage


def test_uses_of_hosted_tools_are_counted_where_the_provider_does_not_say() -> None:
    files = {"type": "file_search_call", "id": "fs_1"}
    usage = read(output=[SEARCH, files, SEARCH], tool_usage=None).usage
    assert usage is not None
    assert usage.server_tools == {"web_search": 2, "file_search": 1}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (b"nonsense", "is not valid JSON"),
        (b"[]", "a JSON object"),
        (b'{"output":[{"type":"message","content":"\xff"}]}', "not UTF-8"),
        (b"{}", "output is missing"),
        (b'{"output":{}}', "no response"),
        (b'{"error":{"message":"boom"}}', "boom"),
        (b'{"id":"r","status":"failed","error":{"message":"boom"}}', "'r' is failed: boom"),
        (b'{"id":"r","status":"cancelled"}', "'r' is cancelled"),
        (b'{"id":"r","status":"in_progress","output":[]}', "'r' is in_progress"),
        (b'{"output":[{"type":"function_call","call_id":"1"}]}', "output[0].name is missing"),
        (b'{"output":[{"id":"1"}]}', "output[0].type is missing"),
    ],
)
def test_what_is_no_answer_is_refused(wrong: bytes, message: str) -> None:
    with pytest.raises(Invalid) as raised:
        RESPONSES.read_answer(wrong)
    assert message in raised.value.message


def write(answer: Answer, request: Request | None = None) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(RESPONSES.write_answer(answer, request or asked()))
    official(written)
    return written


NEEDED = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model",
    "previous_response_id", "instructions", "output", "error", "tools", "tool_choice",
    "truncation", "parallel_tool_calls", "text", "top_p", "presence_penalty",
    "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage",
    "max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata",
    "safety_identifier", "prompt_cache_key",
}  # fmt: skip
"""Members that the Open Responses specification asks for."""


def test_a_short_answer() -> None:
    usage = Usage(input_tokens=3, output_tokens=2, cache_write_tokens=1, cache_write_1h_tokens=1)
    written = write(Answer(id="chatcmpl-9", created_s=5, parts=(Text("hi"),), usage=usage))
    assert written.keys() >= NEEDED
    assert (written["id"], written["model"], written["status"]) == ("resp_9", "m", "completed")
    assert written["output"] == [
        {
            "type": "message", "id": "msg_9_0", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
        }
    ]  # fmt: skip
    assert written["usage"] == {
        "input_tokens": 3, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 2},
        "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 5,
    }  # fmt: skip
    assert (written["store"], written["previous_response_id"], written["tools"]) == (
        False, None, [],
    )  # fmt: skip
    for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
        assert isinstance(written[name], float)


def test_the_settings_of_the_request_are_repeated() -> None:
    request = asked(
        messages=(Message("system", (Text("be kind"),)), Message("user", (Text("q"),))),
        tools=(Tool("f"), PATCH_TOOL), tool_choice=ToolChoice("named", "apply_patch"),
        parallel_tool_calls=False, max_tokens=9, temperature=0.5, top_p=0.25, user="u",
        service_tier="flex", reasoning=Reasoning(effort="low"),
        response_format=ResponseFormat("json_schema", "n", raw({"type": "object"}), True),
        extra={"metadata": raw({"a": "b"}), "truncation": raw("auto"), "store": raw(True),
               "text.verbosity": raw("low"), "prompt_cache_key": raw("k"),
               "max_tool_calls": raw(3)},
    )  # fmt: skip
    written = write(Answer(id="x"), request)
    assert {name: written[name] for name in (
        "instructions", "tool_choice", "parallel_tool_calls", "max_output_tokens", "temperature",
        "top_p", "user", "safety_identifier", "service_tier", "reasoning", "text", "metadata",
        "truncation", "store", "prompt_cache_key", "max_tool_calls",
    )} == {
        "instructions": "be kind", "tool_choice": {"type": "custom", "name": "apply_patch"},
        "parallel_tool_calls": False, "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.25,
        "user": "u", "safety_identifier": "u", "service_tier": "flex",
        "reasoning": {"effort": "low", "summary": None},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"},
                            "strict": True}, "verbosity": "low"},
        "metadata": {"a": "b"}, "truncation": "auto", "store": False, "prompt_cache_key": "k",
        "max_tool_calls": 3,
    }  # fmt: skip
    assert written["tools"] == [
        {"type": "function", "name": "f", "description": None, "strict": None,
         "parameters": {"type": "object", "properties": {}}},
        {"type": "custom", "name": "apply_patch", "description": "Edits files."},
    ]  # fmt: skip


def test_codex_is_answered_in_its_settings() -> None:
    written = write(Answer(id="x"), RESPONSES.read_request(body(CODEX)))
    assert written["instructions"] == CODEX["instructions"]
    assert written["tools"][1:] == CODEX["tools"][1:]
    assert written["text"]["verbosity"] == "low"


def test_a_call_of_a_custom_tool_comes_back_as_the_client_declared_it() -> None:
    request = asked(tools=(PATCH_TOOL, Tool("f")))
    parts = (
        ToolCall("1", "apply_patch", '{"input":"*** Begin\\nPatch"}'),
        ToolCall("2", "apply_patch", "*** not JSON"),
        ToolCall("3", "apply_patch", '{"other":1}'),
        ToolCall("4", "apply_patch", "free", custom=True),
        ToolCall("5", "f", '{"input":"x"}'),
        ToolCall("6", "f", ""),
    )
    output = write(Answer(id="a", parts=parts, finish="tool_calls"), request)["output"]
    assert [(item["type"], item.get("input", item.get("arguments"))) for item in output] == [
        ("custom_tool_call", "*** Begin\nPatch"), ("custom_tool_call", "*** not JSON"),
        ("custom_tool_call", '{"other":1}'), ("custom_tool_call", "free"),
        ("function_call", '{"input":"x"}'), ("function_call", "{}"),
    ]  # fmt: skip
    assert [item["call_id"] for item in output] == list("123456")
    assert output[0]["id"] == "ctc_a_0"


def test_annotations_namespaces_and_phases_are_kept() -> None:
    nested = {"type": "url_citation", "url_citation": {k: CITATION[k] for k in CITATION
                                                       if k != "type"}}  # fmt: skip
    parts = (
        Text("a", {"annotations": raw([CITATION, nested]), "phase": raw("commentary")}),
        Text("b", {"phase": raw("final_answer")}),
        ToolCall("", "f", "{}", extra={"namespace": raw("n")}),
        Foreign("responses", "web_search_call", raw(SEARCH)),
        Foreign("messages", "server_tool_use", raw({})),
    )
    output = write(Answer(id="a", parts=parts))["output"]
    assert output[0]["content"][0]["annotations"] == [CITATION, CITATION]
    assert [item.get("phase") for item in output] == ["commentary", "final_answer", None, None]
    assert (output[2]["namespace"], output[2]["call_id"]) == ("n", "call_a_2")
    assert output[3] == SEARCH
    assert len(output) == 4


@pytest.mark.parametrize("finish", FINISHES)
def test_every_end_has_a_status(finish: str) -> None:
    written = write(Answer(id="a", parts=(Text("x"), ToolCall("1", "f", "{}")), finish=finish))
    incomplete = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish)
    status = "incomplete" if incomplete else "completed"
    assert written["status"] == status
    assert written["incomplete_details"] == ({"reason": incomplete} if incomplete else None)
    assert [item["status"] for item in written["output"]] == ["completed", status]


def test_a_signature_survives_a_client_that_knows_none() -> None:
    """Codex sends back summaries and `encrypted_content`, and no other text."""
    signed = Thinking("because", signature="sig")
    (item,) = write(Answer(id="a", parts=(signed,)))["output"]
    without_text = {name: value for name, value in item.items() if name != "content"}
    for sent_back in (item, without_text):
        request = RESPONSES.read_request(body({"model": "m", "input": [sent_back]}))
        (thought,) = request.messages[0].parts
        assert isinstance(thought, Thinking)
        assert (thought.text, thought.signature, thought.encrypted) == ("because", "sig", "")


@pytest.mark.parametrize("secret", ["signed.1.", "signed.1.!!", "signed.1.e30=", "other"])
def test_what_is_not_our_own_secret_is_passed_on(secret: str) -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": secret}
    request = RESPONSES.read_request(body({"model": "m", "input": [item]}))
    assert request.messages[0].parts == (Thinking(encrypted=secret),)


def test_ids_are_always_the_same_and_short() -> None:
    for id in ("x" * 200, "", "ü", "a b"):
        answer = Answer(id=id, parts=(Text("x"),))
        first, second = write(answer), write(answer)
        assert first == second
        for name in (first["id"], first["output"][0]["id"]):
            assert len(name) <= 64
            assert name.isascii()
    upstream = "resp_" + "67ccd3a9" * 6
    assert write(Answer(id=upstream))["id"] == upstream
    assert write(Answer(parts=(Text("x"),)))["id"] != write(Answer(parts=(Text("y"),)))["id"]


@given(answers())
def test_an_answer_comes_back_as_it_was(answer: Answer) -> None:
    written = RESPONSES.write_answer(answer, asked(tools=(PATCH_TOOL,)))
    official(json.loads(written))
    assert RESPONSES.read_answer(written) == answer


def test_an_error_in_the_dialects_words() -> None:
    told = Told(429, "slow down", "rate_limit_error", "limited", "model", "req_1")
    assert json.loads(RESPONSES.envelope(told)) == {
        "error": {"message": "slow down", "type": "rate_limit_error", "param": "model",
                  "code": "limited"}
    }  # fmt: skip
