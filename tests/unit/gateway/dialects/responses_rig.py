"""What the tests of the responses dialect share: a request as Codex sends it, a checker of event
sequences that knows nothing of the writer, and strategies of answers.
"""

import json
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from modelyard.domain.chat import (
    Answer,
    Message,
    Part,
    Refusal,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    Usage,
)
from modelyard.lib.sse import EventSplitter

GRAMMAR = 'start: begin hunk+ end\nbegin: "*** Begin Patch" LF\nend: "*** End Patch" LF?\n'
CODEX: dict[str, Any] = {
    "model": "coder",
    "instructions": "You are a coding agent in a terminal. Work until the task is done.",
    "input": [
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "<permissions>read-only</permissions>"}],
        },
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "<environment><cwd>/w</cwd></environment>"},
                {"type": "input_text", "text": "Rename add to plus."},
            ],
        },
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Look first."}],
            "content": None,
            "encrypted_content": "gAAAAsecret",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look."}],
            "phase": "commentary",
        },
        {
            "type": "function_call",
            "name": "exec_command",
            "arguments": '{"cmd":"cat add.py"}',
            "call_id": "call_1",
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "def add(): ..."},
        {
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": "call_2",
            "name": "apply_patch",
            "input": "*** Begin Patch\n*** End Patch",
        },
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "Done"},
    ],
    "tools": [
        {
            "type": "function",
            "name": "exec_command",
            "description": "Runs a command.",
            "strict": False,
            "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}},
        },
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "Edits files. Not JSON.",
            "format": {"type": "grammar", "syntax": "lark", "definition": GRAMMAR},
        },
        {"type": "web_search", "external_web_access": False},
        {
            "type": "namespace",
            "name": "mcp__notes",
            "description": "Notes.",
            "tools": [{"type": "function", "name": "find", "strict": False, "parameters": {}}],
        },
        {"type": "local_shell"},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199-thread",
    "text": {"verbosity": "low"},
    "client_metadata": {"x-codex-installation-id": "i"},
}


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def asked(**more: Any) -> Request:
    """A request of a client of this dialect."""
    message = Message("user", (Text("hello"),))
    return Request(**{"dialect": "responses", "model": "m", "messages": (message,), **more})


STREAM_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream: each whole, with a line that names its type, and as the official
    SDK knows it."""
    splitter, events = EventSplitter(), []
    for raw, data in splitter.feed(stream):
        event = json.loads(data)
        assert raw == b"event: %s\ndata: %s\n\n" % (event["type"].encode(), data)
        STREAM_EVENTS.validate_json(data, strict=True)
        events.append(event)
    assert not splitter.pending
    return events


def official(response: dict[str, Any]) -> Response:
    """A response as the official SDK's types read it, strictly."""
    return Response.model_validate_json(json.dumps(response), strict=True)


class Checker:
    """Walks a whole stream and fails at the first event that may not stand where it stands."""

    PARTS = {
        "response.content_part": ("content_index", "content"),
        "response.reasoning_summary_part": ("summary_index", "summary"),
    }
    TEXTS = {
        "response.output_text": ("content_index", "text", "output_text"),
        "response.refusal": ("content_index", "refusal", "refusal"),
        "response.reasoning_text": ("content_index", "text", "reasoning_text"),
        "response.reasoning_summary_text": ("summary_index", "text", "summary_text"),
    }
    CALLS = {
        "response.function_call_arguments": ("arguments", "function_call"),
        "response.custom_tool_call_input": ("input", "custom_tool_call"),
    }

    def __init__(self) -> None:
        self.items: dict[int, dict[str, Any]] = {}
        self.done: dict[int, dict[str, Any]] = {}
        self.texts: dict[tuple[int, str, int], list[str]] = {}
        self.parts: dict[tuple[int, str, int], str] = {}
        self.kinds: dict[tuple[int, str, int], str] = {}
        self.finished: set[tuple[int, str, int]] = set()
        self.arguments: dict[int, list[str]] = {}
        self.told: set[int] = set()

    def check(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """The response of the last event."""
        numbers = [event["sequence_number"] for event in events]
        assert numbers == list(range(len(events)))
        kinds = [event["type"] for event in events]
        assert kinds[:2] == ["response.created", "response.in_progress"]
        last = kinds[-1]
        assert last in ("response.completed", "response.incomplete", "response.failed")
        assert not {"response.created", "response.in_progress", last} & set(kinds[2:-1])
        for event in events[:2]:
            assert event["response"]["status"] == "in_progress"
            assert event["response"]["output"] == []
        for event in events[2:-1]:
            self.step(event)
        response: dict[str, Any] = events[-1]["response"]
        assert response["status"] == last.removeprefix("response.")
        assert {event["response"]["id"] for event in (*events[:2], events[-1])} == {response["id"]}
        official(response)
        if last != "response.failed":
            assert sorted(self.done) == list(range(len(response["output"])))
            assert [self.done[at] for at in sorted(self.done)] == response["output"]
            assert set(self.items) == set(self.done)
        return response

    def step(self, event: dict[str, Any]) -> None:
        kind, at = event["type"], event["output_index"]
        if kind == "response.output_item.added":
            assert at == len(self.items)
            self.items[at] = event["item"]
            return
        assert at in self.items
        assert at not in self.done, "nothing comes after an item's end"
        if kind == "response.output_item.done":
            self.whole(at, event["item"])
            return
        assert event["item_id"] == self.items[at]["id"]
        stem, _, what = kind.rpartition(".")
        if stem in self.PARTS:
            self.part(at, event, what, *self.PARTS[stem])
        elif stem in self.TEXTS:
            self.text(at, event, what, *self.TEXTS[stem])
        else:
            self.call(at, event, what, *self.CALLS[stem])

    def part(self, at: int, event: dict[str, Any], what: str, index: str, member: str) -> None:
        place = (at, index, event[index])
        if what == "added":
            before = [key for key in self.kinds if key[:2] == place[:2]]
            assert event[index] == len(before)
            assert set(before) <= self.finished, "one part at a time"
            self.kinds[place] = event["part"]["type"]
            self.texts[place] = []
            assert event["part"].get("text", event["part"].get("refusal")) == ""
        else:
            assert place not in self.finished
            self.finished.add(place)
            assert event["part"].get("text", event["part"].get("refusal")) == self.parts[place]

    def text(
        self, at: int, event: dict[str, Any], what: str, index: str, member: str, kind: str
    ) -> None:
        place = (at, index, event[index])
        assert self.kinds[place] == kind
        assert place not in self.parts, "nothing comes after a text's end"
        if what == "delta":
            assert event["delta"]
            self.texts[place].append(event["delta"])
        else:
            assert event[member] == "".join(self.texts[place])
            self.parts[place] = event[member]

    def call(self, at: int, event: dict[str, Any], what: str, member: str, kind: str) -> None:
        assert self.items[at]["type"] == kind
        assert at not in self.told
        if what == "delta":
            self.arguments.setdefault(at, []).append(event["delta"])
        else:
            self.told.add(at)
            assert event[member] == "".join(self.arguments.get(at, []))

    def whole(self, at: int, item: dict[str, Any]) -> None:
        added = self.items[at]
        same = ("id", "type", "call_id", "name")
        assert [item.get(name) for name in same] == [added.get(name) for name in same]
        assert {place for place in self.kinds if place[0] == at} <= self.finished
        if item["type"] in ("function_call", "custom_tool_call"):
            member = "arguments" if item["type"] == "function_call" else "input"
            assert at in self.told
            assert item[member] == "".join(self.arguments.get(at, []))
        for index, name in (("content_index", "content"), ("summary_index", "summary")):
            texts = [part.get("text", part.get("refusal")) for part in item.get(name) or ()]
            assert texts == [
                self.parts[place] for place in sorted(self.kinds) if place[:2] == (at, index)
            ]
        self.done[at] = item


def check(stream: bytes) -> dict[str, Any]:
    """The last response of a whole, legal stream."""
    return Checker().check(events_of(stream))


def wire(*events: dict[str, Any]) -> list[bytes]:
    """The data of events of an endpoint."""
    return [json.dumps(event).encode() for event in events]


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
NAMES = st.text("abcxyz0189_-", min_size=1, max_size=10)
JSON = st.dictionaries(NAMES, st.text('ab"\\\n', max_size=4), max_size=2).map(json.dumps)


@st.composite
def thoughts(draw: st.DrawFn) -> list[Thinking]:
    """Thoughts as one item of this dialect says them: summaries before texts, and what closes
    them at the last one."""
    id = "rs_" + draw(NAMES)
    summaries = draw(st.lists(WORDS, max_size=2))
    texts = draw(st.lists(WORDS, max_size=2, min_size=0 if summaries else 1))
    made = [Thinking(text, id=id, is_summary=True) for text in summaries]
    made += [Thinking(text, id=id) for text in texts]
    closing = draw(st.sampled_from(["", "encrypted", "signature"]))
    if closing:
        made[-1] = msgspec.structs.replace(made[-1], **{closing: draw(WORDS)})
    return made


SPOKEN: st.SearchStrategy[list[Part]] = st.one_of(
    st.builds(lambda text: [Text(text)], WORDS),
    st.builds(lambda text: [Refusal(text)], WORDS),
    st.builds(lambda id, name, args: [ToolCall(f"call_{id}", name, args)], NAMES, NAMES, JSON),
    st.builds(
        lambda id, text: [ToolCall(f"call_{id}", "apply_patch", text, custom=True)], NAMES, WORDS
    ),
    thoughts(),
)
USAGES = st.builds(
    Usage,
    input_tokens=st.integers(0, 1 << 30),
    output_tokens=st.integers(0, 1 << 30),
    cache_read_tokens=st.integers(0, 1 << 20),
    cache_write_tokens=st.integers(0, 1 << 20),
    reasoning_tokens=st.integers(0, 1 << 20),
    service_tier=st.sampled_from(["default", "priority"]),
)


def _is_apart(parts: list[Part]) -> bool:
    """Whether no two refusals touch: their pieces have no number, so that two in a row are one."""
    return not any(isinstance(a, Refusal) and isinstance(b, Refusal) for a, b in pairwise(parts))


def _finish(parts: list[Part], ending: str) -> str:
    if ending:
        return ending
    if any(isinstance(part, ToolCall) for part in parts):
        return "tool_calls"
    return "refusal" if any(isinstance(part, Refusal) for part in parts) else "stop"


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Answers that this dialect can say without a loss."""
    groups = draw(st.lists(SPOKEN, max_size=5))
    unlike: list[Part] = []
    for number, group in enumerate(groups):
        for part in group:
            if isinstance(part, Thinking | ToolCall):  # clients tell calls apart by their ids
                unlike.append(msgspec.structs.replace(part, id=f"{part.id}{number}"))
            else:
                unlike.append(part)
    if not _is_apart(unlike):
        unlike = [part for part in unlike if not isinstance(part, Refusal)]
    return Answer(
        id="resp_" + draw(st.text("abc019", min_size=1, max_size=12)),
        model="m",
        created_s=draw(st.integers(1, 1 << 32)),
        parts=tuple(unlike),  # type: ignore[arg-type]
        finish=_finish(unlike, draw(st.sampled_from(["", "", "length", "content_filter"]))),
        usage=draw(st.none() | USAGES),
    )


PATCH_TOOL = Tool("apply_patch", "Edits files.", custom=True)
