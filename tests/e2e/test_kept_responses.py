"""Conversations that are kept, with the official `openai` client: over two gateway processes, after
they were killed, after everything was started anew."""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from bench.processes import alive, kill, tree
from openai.types.responses import Response, ResponseInputItemParam
from tests.platform import Platform
from tests.regression.clients import stopped
from tests.stand_in import Answer, Call, StandIn, stand_in

KEPT = {"responses": {"keep_s": 86400}}
SERVICES = ("native", "translated")
BOTH = pytest.mark.parametrize("service", SERVICES)


def texts(items: list[Any]) -> list[str]:
    """What the user said, in a request of either dialect."""
    said = []
    for item in items:
        if item.get("role") == "user":
            content = item["content"]
            said.append(content if isinstance(content, str) else content[0]["text"])
    return said


def heard(call: Call) -> Answer | None:
    """An upstream that repeats all that it heard from the user."""
    if call.method != "POST":
        return None
    if call.target.endswith("/responses"):
        assert call.body["store"] is False
        assert "previous_response_id" not in call.body
        given = call.body["input"]
        said = [given] if isinstance(given, str) else texts(given)
        return _responses(call.body, "heard " + " ".join(said))
    return _chunks("heard " + " ".join(texts(call.body["messages"])))


def _responses(asked: Any, text: str) -> Answer:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [part]}  # fmt: skip
    done = {"id": "resp_upstream", "object": "response", "created_at": 1, "status": "completed",
            "model": "m", "output": [item], "parallel_tool_calls": True, "tool_choice": "auto",
            "tools": []}  # fmt: skip
    if not asked.get("stream"):
        return 200, {}, done
    events = [
        {"type": "response.created", "response": {**done, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", "output_index": 0, "content_index": 0,
         "item_id": "msg_1", "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0,
         "item_id": "msg_1", "delta": text, "logprobs": []},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]  # fmt: skip
    return _stream([{**event, "sequence_number": at} for at, event in enumerate(events)])


def _chunks(text: str) -> Answer:
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas: list[dict[str, Any]] = [{"role": "assistant"}, {"content": text}]
    chunks: list[Any] = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    status, headers, told = _stream(chunks)
    return status, headers, told + "data: [DONE]\n\n"


def _stream(events: list[Any]) -> tuple[int, dict[str, str], str]:
    told = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return 200, {"Content-Type": "text/event-stream"}, told


class Installation:
    """A data folder, what serves it now, and the upstream."""

    def __init__(self, data: Path, there: StandIn) -> None:
        self.data = data
        self.there = there
        self.running: Platform
        there.answers = heard

    def start(self) -> None:
        self.running = Platform(self.data, "--workers", "2")

    def offer(self) -> None:
        client = self.running.client
        client.apply({"apiVersion": "modelyard/v1", "kind": "Provider", "name": "lab",
                      "spec": {"kind": "vllm", "url": self.there.url}})  # fmt: skip
        engine = {"name": "provider", "provider": "lab", "model": "m"}
        self.running.apply("native", engine=engine, content=KEPT)
        self.running.apply("translated", engine={**engine, "dialects": ["chat"]}, content=KEPT)
        self.running.apply("forgetful", engine={**engine, "dialects": ["chat"]})

    def gateways(self) -> list[int]:
        return sorted(one.pid for one in tree(self.running.process.pid) if one.kind == "gateway")

    @contextlib.contextmanager
    def client(self, key: str = "") -> Iterator[openai.OpenAI]:
        """With a connection of its own."""
        with openai.OpenAI(
            base_url=f"{self.running.gateway_url}/v1", api_key=key or self.running.key,
            max_retries=0,
        ) as one:  # fmt: skip
            yield one

    @contextlib.contextmanager
    def client_of(self, number: int) -> Iterator[openai.OpenAI]:
        """A client whose connection goes to this gateway process."""
        others = [pid for at, pid in enumerate(self.gateways()) if at != number]
        with stopped(*others), self.client() as one:
            yield one

    def kill_gateways(self) -> None:
        """As the kernel would; returns when others serve in their place."""
        before = self.gateways()
        for pid in before:
            kill(pid)
        deadline_s = time.monotonic() + 30
        while len(now := self.gateways()) < 2 or set(now) & set(before) or any(map(alive, before)):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        with self.client() as client:
            while True:
                try:
                    client.models.list()
                    return
                except openai.APIError:
                    assert time.monotonic() < deadline_s
                    time.sleep(0.05)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with stand_in("vllm") as there:
        one = Installation(tmp_path_factory.mktemp("kept") / "data", there)
        one.start()
        try:
            one.offer()
            yield one
        finally:
            one.running.stop()


def create(
    client: openai.OpenAI, service: str, text: str, after: str = "", **more: Any
) -> Response:
    previous: Any = {"previous_response_id": after} if after else {}
    return client.responses.create(model=service, input=text, **previous, **more)


def streamed(client: openai.OpenAI, service: str, text: str, after: str = "") -> Response:
    """The same, from the events of a stream."""
    previous: Any = {"previous_response_id": after} if after else {}
    events = list(client.responses.create(model=service, input=text, stream=True, **previous))
    last = events[-1]
    assert last.type == "response.completed"
    first = events[0]
    assert first.type == "response.created"
    assert first.response.id == last.response.id
    return last.response


@BOTH
def test_turns_over_two_processes_streamed_and_not(installed: Installation, service: str) -> None:
    words, last = [], ""
    ways = [create, streamed]
    for turn, (number, ask) in enumerate(itertools.product((0, 1, 0, 1), ways)):
        words.append(f"w{turn}")
        with installed.client_of(number) as client:
            said = ask(client, service, words[-1], last)
        assert said.output_text == "heard " + " ".join(words)
        assert said.previous_response_id == (last or None)
        last = said.id
    record_of = installed.running.record
    with installed.client_of(0) as client:
        said = create(client, service, "end", last)
    record = record_of(said._request_id or "")["request"]
    assert record["translated_to"] == ("chat" if service == "translated" else "")


@BOTH
def test_what_was_answered_outlives_processes_and_the_platform(
    installed: Installation, service: str
) -> None:
    with installed.client() as client:
        first = create(client, service, "one")
    installed.kill_gateways()
    with installed.client() as client:
        second = streamed(client, service, "two", first.id)
        assert second.output_text == "heard one two"
    assert installed.running.stop() == 0
    installed.start()
    installed.running.client.wait_ready(service, 60)
    with installed.client() as client:
        third = create(client, service, "three", second.id)
        assert third.output_text == "heard one two three"
        assert client.responses.retrieve(first.id).output_text == "heard one"


@BOTH
def test_a_response_is_got_listed_and_deleted(installed: Installation, service: str) -> None:
    with installed.client_of(0) as client:
        first = create(client, service, "one", metadata={"a": "b"})
        second = create(client, service, "two", first.id)
    with installed.client_of(1) as client:
        assert client.responses.retrieve(second.id).to_dict() == second.to_dict()
        items = list(client.responses.input_items.list(second.id, order="asc", limit=1))
        assert [item.to_dict()["content"][0]["text"] for item in items] == [  # type: ignore[index]
            "one", "heard one", "two",
        ]  # fmt: skip
        client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)
    with installed.client_of(0) as client:
        with pytest.raises(openai.NotFoundError):
            client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError) as gone:
            create(client, service, "on", second.id)
        assert gone.value.code == "previous_response_not_found"
        assert gone.value.param == "previous_response_id"


@BOTH
def test_what_is_not_to_be_stored_is_not(installed: Installation, service: str) -> None:
    with installed.client() as client:
        first = create(client, service, "one")
        passing = create(client, service, "two", first.id, store=False)
        assert passing.output_text == "heard one two"
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(passing.id)
        with pytest.raises(openai.NotFoundError):
            create(client, service, "three", passing.id)


def test_another_key_finds_nothing(installed: Installation) -> None:
    running = installed.running
    other = running.client.create_key(label="other")["key"]
    with installed.client() as client:
        said = create(client, "native", "mine")
    installed_for_s = time.monotonic() + 20
    with installed.client(other) as client:
        while True:
            try:
                client.models.list()
                break
            except openai.AuthenticationError:
                assert time.monotonic() < installed_for_s
                time.sleep(0.05)
        with pytest.raises(openai.NotFoundError):
            create(client, "native", "on", said.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(said.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.delete(said.id)
    with installed.client() as client:
        assert client.responses.retrieve(said.id).output_text == "heard mine"


def test_a_tool_is_called_in_one_turn_and_answered_in_the_next(installed: Installation) -> None:
    installed.running.apply("tools", engine={"name": "echo"}, content=KEPT)
    tool: Any = {
        "type": "function",
        "name": "find",
        "strict": False,
        "parameters": {"type": "object", "properties": {"words": {"type": "string"}}},
    }
    with installed.client() as client:
        first = client.responses.create(
            model="tools", input="look", tools=[tool], tool_choice="required"
        )
        (call,) = first.output
        assert call.type == "function_call"
        result: ResponseInputItemParam = {
            "type": "function_call_output", "call_id": call.call_id, "output": "found nothing",
        }  # fmt: skip
        last = client.responses.create(
            model="tools", tools=[tool], input=[result], previous_response_id=first.id
        )
    assert last.output_text.strip() == "found nothing"


def test_a_service_that_keeps_nothing_says_what_to_set(installed: Installation) -> None:
    with (
        installed.client() as client,
        pytest.raises(openai.BadRequestError, match=r"spec\.content\.responses"),
    ):
        create(client, "forgetful", "on", "resp_1")


def test_it_is_shown_what_is_kept(installed: Installation) -> None:
    found = installed.running.client.service("native")["document"]["spec"]
    assert found["content"] == KEPT
    kept = list((installed.data / "kept").iterdir())
    assert kept
    assert {os.stat(path).st_mode & 0o777 for path in kept} == {0o600}
