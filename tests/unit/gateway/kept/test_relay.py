"""Streams whose answer is kept, however they are cut, and the requests that endpoints are sent."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.kept.kept_rig import message, response, tells

from modelyard.domain.chat import Members
from modelyard.gateway.kept.relay import KeptRelay
from modelyard.gateway.kept.upstream import for_upstream
from modelyard.gateway.native import EventRelay
from modelyard.gateway.routes import RESPONSE
from modelyard.gateway.stream import StreamBroken, Tally

TEXTS = st.text(max_size=30) | st.sampled_from(['"response":{"id":"x"}', "\n\ndata: {}\n\n"])


class Notes:
    """Keeps nothing, and notes what it is told."""

    def __init__(self) -> None:
        self.finished_with: list[Any] = []

    def begun(self, response: Members) -> Members:
        return {**response, "id": msgspec.Raw(b'"ours"')}

    def finished(self, response: Members) -> Members:
        self.finished_with.append(json.loads(msgspec.json.encode(response)))
        return self.begun(response)


def relay() -> tuple[KeptRelay, Notes]:
    notes = Notes()
    assert RESPONSE.native is not None
    return KeptRelay(EventRelay(Tally(), RESPONSE.native), notes), notes  # type: ignore[arg-type]


def events(data: bytes) -> list[Any]:
    lines = data.decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def streamed(*texts: str) -> bytes:
    done = response(1, *[message(text, at) for at, text in enumerate(texts)])
    return tells(1, {"stream": True}, done).partition(b"\r\n\r\n")[2]


@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(st.integers(1, 400)))
def test_a_stream_is_the_same_however_it_is_cut(texts: list[str], cuts: list[int]) -> None:
    data = streamed(*texts)
    one, notes = relay()
    passed = b""
    at = 0
    for size in [*cuts, len(data)]:
        if at < len(data):
            assert not one.done
            passed += one.feed(data[at : at + size])
            at += size
    assert one.done
    sent, got = events(data), events(passed)
    for event in sent:
        if "response" in event:
            event["response"]["id"] = "ours"
    assert got == sent
    assert [[item["content"][0]["text"] for item in end["output"]] for end in
            notes.finished_with] == [texts]  # fmt: skip


def test_what_came_before_a_break_is_named_by_us_too() -> None:
    data = streamed("x")
    start, rest = data[: data.index(b"event: response.output")], b"data: {no\n\n"
    one, notes = relay()
    with pytest.raises(StreamBroken) as broken:
        one.feed(start + rest)
    assert [event["response"]["id"] for event in events(broken.value.passed)] == ["ours", "ours"]
    assert notes.finished_with == []
    assert not one.done


THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": []}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": ""}
RESULT = {"type": "function_call_output", "id": "out_1", "call_id": "c", "output": ""}
USER = {"role": "user", "id": "u_1", "content": "x"}
SPOKEN = message("x")


def bare(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "id"}


@pytest.mark.parametrize(
    ("items", "sent"),
    [
        ([USER, THOUGHT, CALL, RESULT, SPOKEN], [USER, bare(CALL), RESULT, SPOKEN]),
        ([THOUGHT, SPOKEN, USER, SPOKEN], [bare(SPOKEN), USER, SPOKEN]),
        ([{**THOUGHT, "encrypted_content": "x"}, CALL], None),
        ([{**THOUGHT, "content": [{"type": "reasoning_text", "text": "x"}]}, SPOKEN], None),
        ([{**THOUGHT, "encrypted_content": None, "content": []}], []),
        ([USER, {"type": "reasoning", "summary": 7}, 7], [USER, 7]),
    ],
)
def test_thoughts_nobody_else_can_read(items: list[Any], sent: list[Any] | None) -> None:
    new = [THOUGHT, CALL]
    body = json.dumps({"model": "m", "input": [*items, *new]}).encode()
    got = json.loads(for_upstream(body, len(items), ""))
    assert got["input"] == [*(items if sent is None else sent), *new]


@pytest.mark.parametrize(
    ("kind", "reasoning", "include", "sent"),
    [
        ("openai", {"effort": "low"}, None, ["reasoning.encrypted_content"]),
        ("azure", {}, ["a"], ["a", "reasoning.encrypted_content"]),
        ("openai", {}, ["reasoning.encrypted_content"], ["reasoning.encrypted_content"]),
        ("openai", {"effort": "none"}, ["a"], ["a"]),
        ("openai", None, None, None),
        ("openai", {}, "wrong", "wrong"),
        ("openai", 7, None, None),
        ("vllm", {}, None, None),
        ("", {}, ["a"], ["a"]),
    ],
)
def test_seals_are_asked_for_where_they_are_known(
    kind: str, reasoning: Any, include: Any, sent: Any
) -> None:
    body = {"model": "m", "input": "x", "reasoning": reasoning, "include": include}
    assert json.loads(for_upstream(json.dumps(body).encode(), 0, kind))["include"] == sent
