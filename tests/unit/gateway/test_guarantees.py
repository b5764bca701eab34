"""What a request demands of its answer, at engines that give it, give less, or break it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.unit.gateway.rig import Rig, endpoint, post, rig, service, until
from tests.unit.gateway.test_dialects import END as STOPPED
from tests.unit.gateway.test_dialects import ask, delta, says, sse, streams, tell

from modelyard.domain.snapshot import Cache, Guarantees, Price, Retries
from modelyard.testing.echo import EchoServer

pytestmark = pytest.mark.anyio
CHAT, MESSAGES, RESPONSES = b"/v1/chat/completions", b"/v1/messages", b"/v1/responses"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
GOOD, BAD = '{"city": "Bern", "days": 3}', '{"city": "Bern", "days": "three"}'
FORM = {"type": "json_schema", "json_schema": {"name": "trip", "strict": True, "schema": SCHEMA}}
OBJECT = {"type": "json_object"}
TOOLS = [
    {"type": "function", "function": {"name": "plan", "strict": True, "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "rest", "parameters": {"type": "object"}}},
]
NAMED = {"type": "function", "function": {"name": "plan"}}


class Told(NamedTuple):
    """What a client was told, what the engine was asked, and what was recorded."""

    status: int
    head: bytes
    body: bytes
    asked: list[dict[str, Any]]
    record: dict[str, Any]
    attempts: list[dict[str, Any]]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        told: dict[str, Any] = self.json["error"]
        return told

    @property
    def chunks(self) -> list[Any]:
        """Of a stream."""
        return list(events(self.body))

    @property
    def text(self) -> str:
        """Of a stream in the chat dialect."""
        said = (one["choices"][0]["delta"] for one in self.chunks if one.get("choices"))
        return "".join(one.get("content") or "" for one in said)


def events(body: bytes) -> Iterator[Any]:
    for line in body.split(b"\n"):
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            yield json.loads(line[6:])


async def told(
    folder: Path, body: dict[str, Any], *, path: bytes = CHAT, spec: dict[str, Any] | None = None,
    guarantees: Guarantees | None = None, **options: Any,
) -> Told:  # fmt: skip
    """One request to a service of one echo engine."""
    asked = {"model": "bot", "messages": [{"role": "user", "content": "where to?"}], **body}
    server = EchoServer()
    async with rig(folder) as one, server as url:
        one.offer(
            service(
                "bot", endpoint(url, **options), guarantees=guarantees or Guarantees(),
                **(spec or {}),
            )
        )  # fmt: skip
        return await once(one, server, asked, path)


async def once(one: Rig, server: EchoServer, body: dict[str, Any], path: bytes = CHAT) -> Told:
    head, said = await ask(one, body, path)
    status = int(head.split(b" ")[1])
    record = one.records()[-1]
    tries = [row for row in one.records("attempt") if row["request_id"] == record["request_id"]]
    return Told(status, head, said, server.calls, record, tries)


def saying(*texts: str, **more: Any) -> dict[str, Any]:
    return {"echo": {"say": texts, **more}}


def call_said(arguments: str) -> str:
    """A call as an engine is asked to write it that knows none."""
    return f'{{"name": "plan", "arguments": {arguments}}}'


# --- the form of the text ------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("keeps", [(), ("json_schema",)])
@pytest.mark.parametrize("cancels", [False, True])
async def test_a_valid_answer_passes_as_it_is(
    tmp_path: Path, stream: bool, keeps: tuple[str, ...], cancels: bool
) -> None:
    body = {"response_format": FORM, "stream": stream, **saying(GOOD)}
    one = await told(tmp_path, body, keeps=keeps, cancels_without_stream=cancels)
    assert one.status == 200
    text = one.text if stream else one.json["choices"][0]["message"]["content"]
    assert text == GOOD
    assert len(one.asked) == 1
    assert one.asked[0]["response_format"] == FORM
    assert one.record["guarantee"] == f"json_schema {'native' if keeps else 'checked'}"
    assert stream is (b"[DONE]" in one.body)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_invalid_answer_is_repaired_once(tmp_path: Path, stream: bool) -> None:
    price = Price(input=1_000_000, output=2_000_000)
    body = {"response_format": FORM, "stream": stream, "seed": 7, **saying(BAD, GOOD)}
    asked = {"model": "bot", "messages": [{"role": "user", "content": "where to?"}], **body}
    server = EchoServer()
    async with rig(tmp_path) as rigged, server as url:
        rigged.offer(service("bot", endpoint(url), price=price))
        one = await once(rigged, server, asked)
    assert one.status == 200
    assert (one.text if stream else one.json["choices"][0]["message"]["content"]) == GOOD
    first, second = one.asked
    assert second["messages"][:1] == first["messages"]
    assert second["messages"][1] == {"role": "assistant", "content": BAD}
    assert "$.days" in second["messages"][2]["content"]
    assert {**second, "messages": 0} == {**first, "messages": 0}
    assert [row["outcome"] for row in one.attempts] == ["output_invalid", "ok"]
    assert "$.days" in one.attempts[0]["error_message"]
    record = one.record
    assert record["guarantee"] == "json_schema checked, repaired"
    assert (record["attempts"], record["outcome"]) == (2, "completed")
    assert not record["usage_estimated"]
    words = [2, sum(len(m["content"].split()) for m in second["messages"])]
    answers = [len(BAD.split()), len(GOOD.split())]
    assert record["tokens_input"] == sum(words)
    assert record["tokens_output"] == sum(answers)
    assert record["cost_nano_usd"] == sum(words) + 2 * sum(answers)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_stays_invalid_is_a_typed_error(tmp_path: Path, stream: bool) -> None:
    body = {"response_format": FORM, "stream": stream, **saying(BAD)}
    one = await told(tmp_path, body)
    assert one.status == 502
    assert b"X-Modelyard-Error-Source: upstream" in one.head
    assert one.error["code"] == "output_invalid"
    assert "$.days" in one.error["message"]
    assert len(one.asked) == 2
    assert [row["outcome"] for row in one.attempts] == ["output_invalid"] * 2
    assert (one.record["outcome"], one.record["error_code"]) == ("failed", "output_invalid")
    assert one.record["tokens_output"] > len(BAD.split())


async def test_the_endpoint_is_not_blamed(tmp_path: Path) -> None:
    server = EchoServer()
    async with rig(tmp_path) as one, server as url:
        one.serve(bot=[endpoint(url)])
        for _ in range(4):
            body = {"model": "bot", "messages": [{"role": "user", "content": "x"}],
                    "response_format": OBJECT, **saying("no")}  # fmt: skip
            await ask(one, body, CHAT)
        assert not any(e.breaker.watched for e in one.gateway.catalog.endpoints.by_id.values())


async def test_a_stream_of_an_engine_that_promised_ends_in_an_error(tmp_path: Path) -> None:
    many = json.dumps({"city": " ".join(["Bern"] * 500), "days": "three"})
    body = {
        "response_format": FORM, "stream": True, "echo": {"say": [many], "token_interval_s": 1e-6},
    }  # fmt: skip
    one = await told(tmp_path, body, keeps=("json_schema",))
    assert one.status == 200
    assert one.text.startswith('{"city": "Bern Bern')
    assert b"[DONE]" not in one.body
    assert one.chunks[-1]["error"]["code"] == "output_invalid"
    assert "$.days" in one.chunks[-1]["error"]["message"]
    assert len(one.asked) == 1
    assert one.record["outcome"] == "failed"


@pytest.mark.parametrize(
    ("form", "text", "problem"),
    [
        (OBJECT, "[1]", "must be a JSON object"),
        (OBJECT, '{"a": 1', "is not JSON"),
        (OBJECT, "", "is empty"),
        (FORM, "Bern, for three days", "is not JSON"),
        (FORM, '{"city": "Bern"}', '"days" is a required property'),
        (FORM, '{"city": "Bern", "days": 0}', "$.days"),
        ({**FORM, "json_schema": {"name": "free"}}, "Bern", "is not JSON"),
    ],
)
async def test_what_is_wrong_is_said(
    tmp_path: Path, form: dict[str, Any], text: str, problem: str
) -> None:
    one = await told(tmp_path, {"response_format": form, **saying(text or " ")})
    assert one.status == 502
    assert problem in one.error["message"]


@pytest.mark.parametrize("finish", ["length", "content_filter"])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_cut_off_passes_as_it_does_at_openai(
    tmp_path: Path, finish: str, stream: bool
) -> None:
    body = {"response_format": FORM, "stream": stream, **saying('{"city":', finish=finish)}
    one = await told(tmp_path, body)
    assert one.status == 200
    last = one.chunks[-1] if stream else one.json
    assert last["choices"][0]["finish_reason"] == finish


async def test_a_refusal_passes(tmp_path: Path) -> None:
    refusal = {
        "id": "a", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": None, "refusal": "I must not."}}],
    }  # fmt: skip
    body = {"model": "bot", "messages": [{"role": "user", "content": "x"}], "response_format": FORM}
    one = await tell(tmp_path, says(200, refusal), body, CHAT, dialects=("chat",))
    assert one.json == refusal


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "nope"}, "response_format.json_schema.schema.type"),
        ({"$ref": "https://example.com/s.json"}, "nothing is fetched"),
        ({"properties": {"a": {"pattern": "("}}}, "schema.properties.a.pattern"),
        ({"$ref": "#/$defs/none"}, "/$defs/none"),
    ],
)
async def test_an_invalid_schema_is_the_clients_mistake(
    tmp_path: Path, schema: dict[str, Any], problem: str
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    one = await told(tmp_path, {"response_format": form}, keeps=("json_schema",))
    assert (one.status, one.error["code"]) == (400, "invalid_json_schema")
    assert problem in one.error["message"]
    assert one.asked == []
    assert one.record["outcome"] == "rejected"


async def test_all_of_several_answers_are_looked_at_and_none_is_repaired(tmp_path: Path) -> None:
    for stream in (False, True):
        folder = tmp_path / str(stream)
        folder.mkdir()
        body = {"response_format": FORM, "n": 2, "stream": stream}
        good = await told(folder, {**body, **saying('{"city": "Bern", "days": 3}')})
        assert good.status == 200
        assert len(good.asked) == 1
    bad = await told(tmp_path, {"response_format": FORM, "n": 2, **saying(BAD)})
    assert (bad.status, len(bad.asked)) == (502, 1)


async def test_an_unknown_form_is_left_to_the_engine(tmp_path: Path) -> None:
    form = {"type": "structural_tag", "structures": []}
    one = await told(tmp_path, {"response_format": form})
    assert one.status == 200
    assert one.asked[0]["response_format"] == form
    assert one.record["guarantee"] == ""


# --- asked in words ------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_form_that_is_not_known_is_asked_for_in_words(tmp_path: Path, stream: bool) -> None:
    fenced = f"```json\n{GOOD}\n```"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "where?"}]
    body = {"response_format": FORM, "stream": stream, "messages": messages, **saying(fenced)}
    one = await told(tmp_path, body, lacks=("json_schema",))
    assert one.status == 200
    text = one.text if stream else one.json["choices"][0]["message"]["content"]
    assert text == GOOD
    (asked,) = one.asked
    assert asked["response_format"] == OBJECT
    assert '"additionalProperties"' in json.dumps(asked["messages"][0]).replace("\\", "")
    assert one.record["guarantee"] == "json_schema asked in words"
    assert one.record["translated_to"] == ""


async def test_words_alone_where_there_is_no_json_mode(tmp_path: Path) -> None:
    body = {"response_format": OBJECT, **saying("no", '{"a": 1}')}
    one = await told(tmp_path, body, lacks=("json_schema", "json_object"))
    assert one.json["choices"][0]["message"]["content"] == '{"a": 1}'
    assert len(one.asked) == 2
    assert all("response_format" not in asked for asked in one.asked)
    assert all("JSON object" in asked["messages"][0]["content"] for asked in one.asked)


# --- calls ---------------------------------------------------------------------------------


def call_of(one: Told, stream: bool) -> tuple[str, str, str]:
    """Name, arguments and finish reason of the one call."""
    if not stream:
        choice = one.json["choices"][0]
        (call,) = choice["message"]["tool_calls"]
        function, finish = call["function"], choice["finish_reason"]
        assert call["id"]
        return function["name"], function["arguments"], finish
    choices = [c["choices"][0] for c in one.chunks if c.get("choices")]
    pieces = [piece for c in choices for piece in c["delta"].get("tool_calls") or ()]
    assert {piece["index"] for piece in pieces} == {0}
    name = "".join(piece["function"].get("name") or "" for piece in pieces)
    arguments = "".join(piece["function"].get("arguments") or "" for piece in pieces)
    return name, arguments, choices[-1]["finish_reason"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", NAMED])
async def test_a_forced_call_is_emulated_where_the_engine_takes_no_notice(
    tmp_path: Path, stream: bool, choice: Any
) -> None:
    said = json.dumps({"name": "plan", "arguments": json.loads(GOOD)})
    body = {"tools": TOOLS, "tool_choice": choice, "stream": stream, **saying(said)}
    one = await told(tmp_path, body, lacks=("tool_choice",), keeps=("json_schema",))
    assert one.status == 200
    name, arguments, finish = call_of(one, stream)
    assert (name, json.loads(arguments), finish) == ("plan", json.loads(GOOD), "tool_calls")
    (asked,) = one.asked
    assert "tools" not in asked
    assert "tool_choice" not in asked
    form = asked["response_format"]["json_schema"]["schema"]
    names = [one["properties"]["name"]["const"] for one in form.get("anyOf", [form])]
    assert names == (["plan", "rest"] if choice == "required" else ["plan"])
    assert '"plan"' in asked["messages"][0]["content"]
    assert one.record["guarantee"] == "tool_choice emulated, strict checked"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_emulated_call_that_is_none_is_repaired(tmp_path: Path, stream: bool) -> None:
    good = call_said(GOOD)
    for number, bad in enumerate(("Bern!", call_said(BAD))):
        folder = tmp_path / str(number)
        folder.mkdir()
        body = {"tools": TOOLS, "tool_choice": "required", "stream": stream, **saying(bad, good)}
        one = await told(folder, body, lacks=("tool_choice",))
        assert call_of(one, stream)[0] == "plan"
        assert len(one.asked) == 2


async def test_an_emulated_call_that_is_cut_off_shows_what_there_is(tmp_path: Path) -> None:
    said = '{"name": "plan", "arguments": {"city": "Be'
    body = {"tools": TOOLS, "tool_choice": NAMED, **saying(said, finish="length")}
    one = await told(tmp_path, body, lacks=("tool_choice",))
    assert call_of(one, False) == ("plan", '{"city": "Be', "length")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("choice", "more", "problem"),
    [
        ("required", {"ignore": ["tool_choice"]}, "calls nothing"),
        ("required", {"call": "fly"}, "calls none of the tools: plan, rest"),
        (NAMED, {"call": "rest"}, "is not the call of 'plan'"),
        (NAMED, {"say": [BAD]}, "$.days"),
        ({"type": "function", "function": {"name": "rest"}}, {"say": ["[1]"]}, "JSON object"),
    ],
)
async def test_calls_of_engines_that_know_tool_choice_are_checked(
    tmp_path: Path, stream: bool, choice: Any, more: dict[str, Any], problem: str
) -> None:
    body = {"tools": TOOLS, "tool_choice": choice, "stream": stream, "echo": more}
    one = await told(tmp_path, body)
    assert (one.status, one.error["code"]) == (502, "output_invalid")
    assert problem in one.error["message"]
    assert [set(asked) >= {"tools", "tool_choice"} for asked in one.asked] == [True, True]


async def test_a_bad_call_is_repaired_as_calls_are(tmp_path: Path) -> None:
    body = {"tools": TOOLS, "tool_choice": NAMED, **saying(BAD, GOOD)}
    one = await told(tmp_path, body)
    assert json.loads(call_of(one, False)[1]) == json.loads(GOOD)
    _, said, result = one.asked[1]["messages"]
    assert said["tool_calls"][0]["function"]["arguments"] == BAD
    assert result["role"] == "tool"
    assert result["tool_call_id"] == said["tool_calls"][0]["id"]
    assert "$.days" in result["content"]


@pytest.mark.parametrize("choice", ["auto", None, "none"])
async def test_a_free_choice_is_free(tmp_path: Path, choice: Any) -> None:
    one = await told(tmp_path, {"tools": TOOLS, "tool_choice": choice, **saying("no tool needed")})
    assert one.json["choices"][0]["message"]["content"] == "no tool needed"
    assert len(one.asked) == 1


async def test_functions_from_before_there_were_tools(tmp_path: Path) -> None:
    functions = [{"name": "plan", "parameters": SCHEMA}]
    said = call_said(GOOD)
    body = {"functions": functions, "function_call": {"name": "plan"}, **saying(said)}
    one = await told(tmp_path, body, lacks=("tool_choice",))
    message = one.json["choices"][0]["message"]
    assert message["function_call"] == {"name": "plan", "arguments": GOOD}


async def test_a_tool_that_is_not_there_cannot_be_demanded(tmp_path: Path) -> None:
    choice = {"type": "function", "function": {"name": "fly"}}
    one = await told(tmp_path, {"tools": TOOLS, "tool_choice": choice}, lacks=("tool_choice",))
    assert one.status == 400
    assert "'fly'" in one.error["message"]


# --- other dialects ------------------------------------------------------------------------

OUTPUT = {"format": {"type": "json_schema", "schema": SCHEMA}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "plan"}])
async def test_an_anthropic_client_forces_a_tool_of_an_engine_without(
    tmp_path: Path, stream: bool, choice: Any
) -> None:
    tools = [{"name": "plan", "input_schema": SCHEMA}]
    said = call_said(GOOD)
    body = {"max_tokens": 50, "tools": tools, "tool_choice": choice, "stream": stream,
            **saying("no", said)}  # fmt: skip
    one = await told(tmp_path, body, path=MESSAGES, lacks=("tool_choice",))
    assert one.status == 200
    assert one.record["translated_to"] == "chat"
    assert len(one.asked) == 2
    if not stream:
        (block,) = one.json["content"]
        assert (block["type"], block["name"]) == ("tool_use", "plan")
        assert block["input"] == json.loads(GOOD)
        assert one.json["stop_reason"] == "tool_use"
        return
    seen = one.chunks
    assert seen[-1] == {"type": "message_stop"}
    pieces = [e["delta"]["partial_json"] for e in seen if e["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == json.loads(GOOD)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (MESSAGES, {"max_tokens": 50, "output_config": OUTPUT}),
        (MESSAGES, {"max_tokens": 50, "output_format": OUTPUT["format"]}),
        (RESPONSES, {"input": "x", "text": {"format": {**OUTPUT["format"], "name": "trip"}}}),
    ],
)
async def test_a_schema_in_other_dialects_is_kept_through_a_translation(
    tmp_path: Path, stream: bool, path: bytes, body: dict[str, Any]
) -> None:
    bad = await told(tmp_path, {**body, "stream": stream, **saying(BAD)}, path=path)
    assert bad.status == 502
    assert "$.days" in bad.error["message"]
    (tmp_path / "good").mkdir()
    good = await told(tmp_path / "good", {**body, "stream": stream, **saying(BAD, GOOD)}, path=path)
    assert good.status == 200
    assert json.dumps(GOOD)[1:-1] in good.body.decode() or stream
    assert len(good.asked) == 2


async def test_native_responses_are_looked_at(tmp_path: Path) -> None:
    def response(text: str) -> dict[str, Any]:
        part = {"type": "output_text", "text": text, "annotations": []}
        item = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
                "content": [part]}  # fmt: skip
        return {"id": "resp_1", "object": "response", "status": "completed", "output": [item],
                "model": "m", "created_at": 1}  # fmt: skip

    body = {"model": "bot", "input": "x", "text": {"format": {**OUTPUT["format"], "name": "t"}}}
    good = await tell(tmp_path, says(200, response(GOOD)), body, dialects=("responses",))
    assert good.json == response(GOOD)
    (tmp_path / "bad").mkdir()
    bad = await tell(tmp_path / "bad", says(200, response(BAD)), body, dialects=("responses",))
    assert bad.json["error"]["code"] == "output_invalid"
    first, second = bad.asked
    assert [item["role"] for item in second["input"]] == ["user", "assistant", "user"]
    assert second["input"][0]["content"] == first["input"]
    assert second["text"] == first["text"]


async def test_native_messages_are_looked_at(tmp_path: Path) -> None:
    def message(**block: Any) -> dict[str, Any]:
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
                "content": [block], "stop_reason": "end_turn", "stop_sequence": None,
                "usage": {"input_tokens": 3, "output_tokens": 2}}  # fmt: skip

    tools = [{"name": "plan", "input_schema": SCHEMA}]
    body = {"model": "bot", "max_tokens": 9, "tools": tools, "tool_choice": {"type": "any"},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}  # fmt: skip
    options = {"dialects": ("messages",)}
    call = message(type="tool_use", id="toolu_1", name="plan", input=json.loads(GOOD))
    good = await tell(tmp_path, says(200, call), body, MESSAGES, **options)
    assert good.json == call
    (tmp_path / "bad").mkdir()
    text = says(200, message(type="text", text="no"))
    bad = await tell(tmp_path / "bad", text, body, MESSAGES, **options)
    assert "calls nothing" in bad.json["error"]["message"]
    assert bad.json["type"] == "error"
    assert [one["role"] for one in bad.asked[1]["messages"]] == ["user", "assistant", "user"]
    assert bad.record["tokens_input"] == 6


# --- what an engine does not know ----------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("n", 2), ("logprobs", True)], ids=["n", "logprobs"])
@pytest.mark.parametrize("path", [CHAT, b"/v1/completions"])
async def test_what_is_lacking_is_refused(
    tmp_path: Path, name: str, value: Any, path: bytes
) -> None:
    one = await told(
        tmp_path, {name: value, "prompt": "x"}, path=path, lacks=(name,), provider_kind="groq"
    )
    assert (one.status, one.error["code"]) == (400, "unsupported_parameter")
    assert name in one.error["message"]
    assert "groq" in one.error["message"]
    assert one.asked == []
    (tmp_path / "has").mkdir()
    has = await told(tmp_path / "has", {name: value, "prompt": "x"}, path=path)
    assert has.status == 200


@pytest.mark.parametrize(("name", "value"), [("echo", True), ("suffix", "}")])
async def test_what_completions_alone_have_is_refused_there_alone(
    tmp_path: Path, name: str, value: Any
) -> None:
    body = {name: value, "prompt": "x"}
    one = await told(tmp_path, body, path=b"/v1/completions", lacks=(name,))
    assert (one.status, one.error["code"]) == (400, "unsupported_parameter")
    assert name in one.error["message"]
    assert one.asked == []
    for folder, options in (
        ("has", {"path": b"/v1/completions"}),
        ("chat", {"lacks": (name,)}),
        ("nothing", {"path": b"/v1/completions", "lacks": (name,), "no": True}),
    ):
        (tmp_path / folder).mkdir()
        sent = {**body, name: None} if options.pop("no", False) else body
        other = await told(tmp_path / folder, sent, **options)
        assert other.record["attempts"] == 1, "the endpoint says what it thinks of it"
        assert b"unsupported_parameter" not in other.body


async def test_a_suffix_is_not_lacking_where_the_document_says_how_it_is_asked(
    tmp_path: Path,
) -> None:
    body = {"suffix": "}", "prompt": "{"}
    one = await told(
        tmp_path, body, path=b"/v1/completions", lacks=("suffix",), fim="<p>{prefix}<s>{suffix}"
    )
    assert one.status == 200
    assert [asked["prompt"] for asked in one.asked] == ["<p>{<s>}"]


@pytest.mark.parametrize(("name", "value"), [("n", 1), ("logprobs", False), ("n", None)])
async def test_asking_for_nothing_is_not_refused(tmp_path: Path, name: str, value: Any) -> None:
    one = await told(tmp_path, {name: value}, lacks=("n", "logprobs"))
    assert one.status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stop", ["four", ["nine", "four"]])
async def test_stop_is_emulated(tmp_path: Path, stream: bool, stop: Any) -> None:
    said = "one two three four five six"
    body = {"stop": stop, "stream": stream, **saying(said)}
    one = await told(tmp_path, body, lacks=("stop",))
    assert "stop" not in one.asked[0]
    choice = one.chunks[-1]["choices"][0] if stream else one.json["choices"][0]
    text = one.text if stream else choice["message"]["content"]
    assert (text, choice["finish_reason"]) == ("one two three ", "stop")
    assert one.record["usage_estimated"]
    assert stream is (b"[DONE]" in one.body)


async def test_generating_ends_at_the_stop_string(tmp_path: Path) -> None:
    server = EchoServer()
    body = {"model": "bot", "messages": [{"role": "user", "content": "x"}], "stop": "two",
            **saying("one two three", fault="stall", fault_after_tokens=2)}  # fmt: skip
    async with rig(tmp_path) as one, server as url:
        one.serve(bot=[endpoint(url, lacks=("stop",))])
        answer = await once(one, server, body)
    assert answer.json["choices"][0]["message"]["content"] == "one "
    assert answer.record["outcome"] == "completed"


async def test_stop_sequences_of_an_anthropic_client(tmp_path: Path) -> None:
    body = {"max_tokens": 9, "stop_sequences": ["three"], **saying("one two three four")}
    one = await told(tmp_path, body, path=MESSAGES, lacks=("stop",))
    assert [block["text"] for block in one.json["content"]] == ["one two "]
    assert (one.json["stop_reason"], one.json["stop_sequence"]) == ("stop_sequence", "three")


async def test_stop_without_a_match_changes_nothing(tmp_path: Path) -> None:
    body = {"stop": "fivesix", "stream": True, "stream_options": {"include_usage": True},
            **saying("one five")}  # fmt: skip
    one = await told(tmp_path, body, lacks=("stop",))
    assert one.text == "one five"
    assert one.chunks[-1]["usage"]["completion_tokens"] == 2


async def test_what_cannot_be_had_together_is_refused(tmp_path: Path) -> None:
    body = {"tools": TOOLS, "tool_choice": "required", "n": 2}
    one = await told(tmp_path, body, lacks=("tool_choice",))
    assert (one.status, one.error["code"]) == (400, "unsupported_parameter")
    (tmp_path / "text").mkdir()
    text = await told(
        tmp_path / "text", {"prompt": "x", "stop": "y"}, path=b"/v1/completions", lacks=("stop",)
    )
    assert (text.status, text.error["code"]) == (400, "unsupported_parameter")


# --- what the service says -----------------------------------------------------------------


async def test_off_looks_at_nothing(tmp_path: Path) -> None:
    body = {"response_format": FORM, "tools": TOOLS, "tool_choice": "required",
            **saying("no", ignore=["tool_choice"])}  # fmt: skip
    off = Guarantees(json_schema="off", tool_choice="off")
    one = await told(tmp_path, body, guarantees=off, lacks=("tool_choice", "json_schema"))
    assert one.json["choices"][0]["message"]["content"] == "no"
    assert one.record["guarantee"] == ""
    assert one.asked[0]["tool_choice"] == "required"


async def test_checked_holds_what_an_engine_promises(tmp_path: Path) -> None:
    body = {"response_format": FORM, "stream": True, **saying(BAD, GOOD)}
    checked = Guarantees(json_schema="checked")
    one = await told(tmp_path, body, guarantees=checked, keeps=("json_schema",))
    assert one.text == GOOD


async def test_native_lets_any_stream_pass(tmp_path: Path) -> None:
    many = json.dumps({"city": " ".join(["Bern"] * 500), "days": 0})
    body = {"response_format": FORM, "stream": True, **saying(many)}
    one = await told(tmp_path, body, guarantees=Guarantees(json_schema="native"))
    assert one.status == 200
    assert one.chunks[-1]["error"]["code"] == "output_invalid"


@pytest.mark.parametrize(
    "spec",
    [{"guarantees": Guarantees(repair=False)}, {"retries": Retries(budget=0.0)}],
    ids=["no repair", "no budget"],
)
async def test_without_a_second_try(tmp_path: Path, spec: dict[str, Any]) -> None:
    server = EchoServer()
    body = {"model": "bot", "messages": [{"role": "user", "content": "x"}],
            "response_format": FORM, **saying(BAD, GOOD)}  # fmt: skip
    async with rig(tmp_path) as one, server as url:
        one.offer(service("bot", endpoint(url), **spec))
        while one.gateway.catalog._services["default", "bot"].retry_budget.take(0.0):
            continue
        answer = await once(one, server, body)
    assert (answer.status, len(answer.asked)) == (502, 1)


# --- beside other things -------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_the_cache_keeps_what_the_client_was_told(tmp_path: Path, stream: bool) -> None:
    said = call_said(GOOD)
    body = {"model": "bot", "messages": [{"role": "user", "content": "x"}], "tools": TOOLS,
            "tool_choice": "required", "temperature": 0, **saying(said)}  # fmt: skip
    server = EchoServer()
    async with rig(tmp_path) as one, server as url:
        endpoint_ = endpoint(url, lacks=("tool_choice",))
        one.offer(service("bot", endpoint_, cache=Cache(ttl_s=60)))
        await ask(one, {**body, "stream": stream}, CHAT)
        again = await once(one, server, body)
    assert call_of(again, False)[0] == "plan"
    assert len(again.asked) == (2 if stream else 1)


async def test_an_invalid_answer_is_never_kept(tmp_path: Path) -> None:
    body = {"model": "bot", "messages": [{"role": "user", "content": "x"}],
            "response_format": FORM, "temperature": 0, **saying(BAD)}  # fmt: skip
    server = EchoServer()
    async with rig(tmp_path) as one, server as url:
        one.offer(service("bot", endpoint(url), cache=Cache(ttl_s=60)))
        assert (await once(one, server, body)).status == 502
        assert (await once(one, server, body)).status == 502


async def test_a_held_stream_that_breaks_off_shows_nothing(tmp_path: Path) -> None:
    body = {"response_format": FORM, "stream": True,
            "echo": {"say": [GOOD], "fault": "truncate", "fault_after_tokens": 2}}  # fmt: skip
    one = await told(tmp_path, body)
    assert one.status == 502
    assert one.error["code"] in ("upstream_truncated", "upstream_closed")


async def test_a_stream_without_its_end_mark_is_no_answer(tmp_path: Path) -> None:
    body = {"model": "bot", "messages": [{"role": "user", "content": "x"}], "stream": True,
            "response_format": OBJECT}  # fmt: skip
    cut = streams(sse(delta(role="assistant"), delta(content="{}"), STOPPED))
    one = await tell(tmp_path, cut, body, CHAT)
    assert b" 502 " in one.head


async def test_a_client_that_leaves_while_its_stream_is_held(tmp_path: Path) -> None:
    server = EchoServer()
    body = {"model": "bot", "messages": [{"role": "user", "content": "x"}], "stream": True,
            "response_format": FORM, "echo": {"fault": "stall", "say": [GOOD]}}  # fmt: skip
    async with rig(tmp_path) as one, server as url:
        one.serve(bot=[endpoint(url)])
        wire = await one.connect()
        wire.writer.write(post(json.dumps(body).encode()))
        await until(lambda: server.active == 1)
        wire.close()
        await until(lambda: server.cancelled == 1)
        (record,) = one.records()
    assert (record["outcome"], record["status"]) == ("cancelled", 499)
