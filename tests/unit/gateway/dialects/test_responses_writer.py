"""The stream for a client: legal whatever comes, and the same answer at its end."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.dialects.responses_rig import (
    CODEX,
    NAMES,
    PATCH_TOOL,
    WORDS,
    answers,
    asked,
    body,
    check,
    events_of,
    official,
)

from modelyard.domain.chat import (
    FINISHES,
    Answer,
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    Foreign,
    ReasoningPiece,
    RefusalPiece,
    Request,
    Started,
    TextPiece,
    Tool,
    Usage,
    Used,
    unfolded,
)
from modelyard.domain.chat.folding import folded
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.responses import RESPONSES
from modelyard.lib.sse import EventSplitter

STARTED = Started("chatcmpl-1", "gpt", 5)
TOLD = Told(502, "it broke", "upstream_error", "upstream")


def written(events: Iterable[Event], request: Request | None = None) -> bytes:
    writer = RESPONSES.writer(request or asked(), "req-1", 77)
    return b"".join([*map(writer.write, events), writer.end()])


def read_back(stream: bytes) -> Answer:
    reader = RESPONSES.reader()
    return folded(event for _, data in EventSplitter().feed(stream) for event in reader.feed(data))


def test_a_short_text() -> None:
    usage = Usage(input_tokens=3, output_tokens=2)
    events = [STARTED, TextPiece(""), TextPiece("Hel"), TextPiece("lo"), Used(usage),
              Ended("stop")]  # fmt: skip
    stream = written(events)
    assert [event["type"] for event in events_of(stream)] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added", "response.output_text.delta", "response.output_text.delta",
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.completed",
    ]  # fmt: skip
    response = check(stream)
    assert (response["id"], response["model"], response["created_at"]) == ("resp_1", "gpt", 5)
    assert response["usage"]["total_tokens"] == 5
    assert response["output"][0]["id"] == "msg_1_0"


def test_every_kind_of_item_one_after_another() -> None:
    item = msgspec.Raw(b'{"type":"web_search_call","id":"ws_1","status":"completed",'
                       b'"action":{"type":"search","query":"q"}}')  # fmt: skip
    events: list[Event] = [
        STARTED,
        ReasoningPiece("su", is_summary=True), ReasoningPiece("m", is_summary=True),
        ReasoningPiece("te"), ReasoningPiece("xt"), ReasoningPiece("", encrypted="secret"),
        ReasoningPiece("", encrypted="other"),
        ReasoningPiece("new", part=1),
        Foreign("responses", "web_search_call", item),
        Foreign("messages", "server_tool_use", msgspec.Raw(b"{}")),
        TextPiece("a"), TextPiece("b", 1), RefusalPiece("n"), RefusalPiece("o"),
        CallBegun(0, "c0", "f"), CallPiece(0, "{"), CallPiece(0, "}"),
        CallBegun(1, "c1", "p", custom=True), CallPiece(1, "x"), CallPiece(9, "lost"),
        CallBegun(2, "", "g"),
        TextPiece("after"),
        Ended("tool_calls"),
    ]  # fmt: skip
    output = check(written(events))["output"]
    assert [item["type"] for item in output] == [
        "reasoning", "reasoning", "web_search_call", "message", "function_call",
        "custom_tool_call", "function_call", "message",
    ]  # fmt: skip
    assert output[0]["summary"] == [{"type": "summary_text", "text": "sum"}]
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "text"}]
    assert output[0]["encrypted_content"] == "other"
    assert output[1]["content"] == [{"type": "reasoning_text", "text": "new"}]
    assert [part.get("text", part.get("refusal")) for part in output[3]["content"]] == [
        "a", "b", "no",
    ]  # fmt: skip
    assert (output[4]["arguments"], output[5]["input"], output[6]["arguments"]) == ("{}", "x", "{}")
    assert output[6]["call_id"] == "call_1_6"


def test_pieces_of_calls_that_come_in_turn() -> None:
    events = [STARTED, CallBegun(0, "c0", "f"), CallBegun(1, "c1", "g"), CallPiece(1, "{}"),
              CallPiece(0, '{"a":'), CallPiece(0, "1}"), Ended("tool_calls")]  # fmt: skip
    output = check(written(events))["output"]
    assert [item["arguments"] for item in output] == ['{"a":1}', "{}"]


PATCHES = [
    (['{"inp', 'ut":"*** Beg', 'in\\n"}'], "*** Begin\n"),
    (["*** Begin"], "*** Begin"),
    (['{"input":"a","why":1}'], "a"),
    (['{"other":"a"}'], '{"other":"a"}'),
    ([], ""),
]


@pytest.mark.parametrize(("pieces", "text"), PATCHES)
def test_a_custom_tool_that_was_a_function_for_the_endpoint(pieces: list[str], text: str) -> None:
    """Only the whole JSON tells the text, so that it is gathered before any of it is told."""
    request = RESPONSES.read_request(body(CODEX))
    writer = RESPONSES.writer(request, "r", 7)
    begun = writer.write(STARTED) + writer.write(CallBegun(0, "c0", "apply_patch"))
    middle = b"".join(writer.write(CallPiece(0, piece)) for piece in pieces)
    assert middle == b""
    last = writer.write(Ended("tool_calls")) + writer.end()
    kinds = [event["type"] for event in events_of(last)]
    told = ["response.custom_tool_call_input.delta"] if text else []
    assert kinds[:-2] == [*told, "response.custom_tool_call_input.done"]
    (item,) = check(begun + last)["output"]
    assert (item["type"], item["input"], item["call_id"]) == ("custom_tool_call", text, "c0")


def test_a_custom_call_of_an_endpoint_that_knows_them_is_told_at_once() -> None:
    request = RESPONSES.read_request(body(CODEX))
    writer = RESPONSES.writer(request, "r", 7)
    writer.write(CallBegun(0, "c0", "apply_patch", custom=True))
    (event,) = events_of(writer.write(CallPiece(0, "*** Begin")))
    assert event["type"] == "response.custom_tool_call_input.delta"


@pytest.mark.parametrize("end_of_line", ["\n", "\r\n", "\r"])
def test_a_request_over_several_lines_is_repeated_on_one(end_of_line: str) -> None:
    """A line that ends inside of an event's data would end the data."""
    lines = json.dumps(CODEX, indent=2).replace("\n", end_of_line)
    item = msgspec.Raw(b'{"type":"local_shell_call_output",\n"id":"1","output":"a b"}')
    events = [STARTED, Foreign("responses", "local_shell_call_output", item), Ended("stop")]
    response = check(written(events, RESPONSES.read_request(lines.encode())))
    assert response["tools"][0]["parameters"] == CODEX["tools"][0]["parameters"]
    assert response["output"][0]["output"] == "a b"


@pytest.mark.parametrize("finish", FINISHES)
def test_every_end(finish: str) -> None:
    stream = written([STARTED, TextPiece("a"), CallBegun(0, "c", "f"), Ended(finish)])
    response = check(stream)
    cut = finish in ("length", "content_filter")
    assert response["status"] == ("incomplete" if cut else "completed")
    assert [item["status"] for item in response["output"]] == [
        "completed", "incomplete" if cut else "completed",
    ]  # fmt: skip


def test_a_stream_that_says_nothing() -> None:
    assert check(written([]))["output"] == []
    response = check(written([Ended("stop")]))
    assert (response["id"], response["created_at"], response["model"]) == ("resp_req-1", 77, "m")


def test_a_second_beginning_changes_nothing() -> None:
    stream = written([STARTED, TextPiece("a"), Started("other"), TextPiece("b"), Ended("stop")])
    assert check(stream)["output"][0]["content"][0]["text"] == "ab"


ERRORS: list[tuple[Told, str]] = [
    (TOLD, "server_error"),
    (Told(429, "m", "rate_limit_error", "limited"), "rate_limit_exceeded"),
    (Told(400, "m", "invalid_request_error", "invalid", "input"), "invalid_prompt"),
]


@pytest.mark.parametrize(("told", "code"), ERRORS)
@pytest.mark.parametrize("said", [0, 1, 2, 3])
def test_a_failure_is_the_last_event(told: Told, code: str, said: int) -> None:
    events: list[Event] = [STARTED, TextPiece("a"), CallBegun(0, "c", "f")]
    writer = RESPONSES.writer(asked(), "req-1", 77)
    stream = b"".join(map(writer.write, events[:said])) + writer.fail(told)
    response = check(stream)
    assert response["error"] == {
        "code": code, "message": told.message, "type": told.kind, "param": told.param,
    }  # fmt: skip
    assert response["status"] == "failed"
    assert [item["status"] for item in response["output"]] == (
        ["completed", "incomplete"][:2] if said == 3 else ["incomplete"] * (said == 2)
    )
    for more in (writer.write(TextPiece("x")), writer.end(), writer.fail(told)):
        assert more == b""


def test_codes_that_codex_acts_on_are_passed_on() -> None:
    told = Told(400, "too long", "invalid_request_error", "context_length_exceeded")
    stream = RESPONSES.writer(asked(), "r", 7).fail(told)
    assert b'"code":"context_length_exceeded"' in stream


def test_nothing_follows_the_end_and_a_failed_upstream_is_told_by_fail() -> None:
    writer = RESPONSES.writer(asked(), "r", 7)
    writer.write(STARTED)
    assert writer.write(Failed("boom")) == b""
    assert writer.end()
    for more in (writer.end(), writer.fail(TOLD), writer.write(TextPiece("x"))):
        assert more == b""


def pieces(answer: Answer, cut: Callable[[str], list[str]]) -> Iterable[Event]:
    """The events of an answer, its texts in pieces."""
    for event in unfolded(answer):
        if isinstance(event, TextPiece | RefusalPiece):
            for text in cut(event.text):
                yield msgspec.structs.replace(event, text=text)
        elif isinstance(event, ReasoningPiece):
            *first, last = cut(event.text)
            for text in first:
                yield ReasoningPiece(text, "", "", event.id, event.is_summary, event.part)
            yield msgspec.structs.replace(event, text=last)
        elif isinstance(event, CallPiece):
            for text in cut(event.arguments):
                yield CallPiece(event.index, text)
        else:
            yield event


@given(answers(), st.integers(1, 5))
def test_a_stream_comes_back_as_the_answer_that_it_was(answer: Answer, size: int) -> None:
    def cut(text: str) -> list[str]:
        return [text[at : at + size] for at in range(0, len(text), size)] or [""]

    events = list(pieces(answer, cut))
    assert folded(events) == answer
    stream = written(events)
    check(stream)
    assert read_back(stream) == answer


@given(answers())
def test_the_last_event_holds_what_a_whole_answer_would(answer: Answer) -> None:
    for request in (asked(), asked(tools=(PATCH_TOOL, Tool("f")), temperature=0.5)):
        response = check(written(unfolded(answer), request))
        whole = msgspec.json.decode(RESPONSES.write_answer(answer, request))
        assert response == whole
        official(response)


ANY_EVENT: st.SearchStrategy[Event] = st.one_of(
    st.builds(Started, NAMES),
    st.builds(TextPiece, WORDS | st.just(""), st.integers(0, 1)),
    st.builds(RefusalPiece, WORDS | st.just("")),
    st.builds(ReasoningPiece, WORDS | st.just(""), st.just("") | WORDS, st.just("") | WORDS,
              st.sampled_from(["", "rs_a"]), st.booleans(), st.integers(0, 1)),
    st.builds(CallBegun, st.integers(0, 2), NAMES, NAMES | st.just("apply_patch"), st.booleans()),
    st.builds(CallPiece, st.integers(0, 3), WORDS | st.just("")),
    st.builds(Used, st.builds(Usage, input_tokens=st.integers(0, 9))),
    st.builds(Ended, st.sampled_from(FINISHES)),
    st.builds(Failed, WORDS),
)  # fmt: skip


@given(st.lists(ANY_EVENT, max_size=12), st.booleans())
def test_whatever_comes_the_stream_is_legal(events: list[Event], breaks: bool) -> None:
    writer = RESPONSES.writer(asked(tools=(PATCH_TOOL,)), "req-1", 77)
    stream = b"".join(map(writer.write, events))
    response: dict[str, Any] = check(stream + (writer.fail(TOLD) if breaks else writer.end()))
    if not breaks:
        said = "".join(event.text for event in events if isinstance(event, TextPiece))
        assert official(response).output_text == said
