"""Conversations that the gateway keeps: of endpoints that speak responses and of those that do not,
streamed and not, from the client's side and the endpoint's."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.kept.kept_rig import (
    CHAT,
    KEEP,
    NO_KEEP,
    OWN,
    RESPONSES,
    Said,
    Talker,
    key,
    message,
    response,
    speaks_chat,
    speaks_responses,
    stream,
    talking,
    tells,
    whole,
)
from tests.unit.gateway.rig import endpoint, service, until

from modelyard.domain.snapshot import Bounds, Shadow
from modelyard.gateway.kept import conversation

pytestmark = pytest.mark.anyio
NOT_FOUND = (404, "previous_response_not_found")
GONE = (404, "response_not_found")


def text_of(one: Any) -> str:
    return "".join(part["text"] for item in one["output"] for part in item.get("content", []))


def spoken(asked: Any) -> list[tuple[str, str]]:
    """Who said what, in a request that an endpoint got."""
    found = []
    for item in asked["messages"] if "messages" in asked else asked["input"]:
        content = item["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        found.append((item["role"], text))
    return found


def end_of(said: Said, streamed: bool) -> Any:
    assert said.status == 200, said.body
    return said.last if streamed else said.json


BOTH_WAYS = pytest.mark.parametrize(
    ("speaks", "dialects"), [(speaks_chat, CHAT), (speaks_responses, RESPONSES)],
    ids=["translated", "native"],
)  # fmt: skip


@BOTH_WAYS
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_conversation_goes_on_from_its_last_answer(
    tmp_path: Path, speaks: Any, dialects: Any, streamed: bool
) -> None:
    async with talking(tmp_path, speaks) as one:
        one.offer(dialects=dialects)
        more = {"stream": streamed}
        first = end_of(await one.ask("one", instructions="Be short.", **more), streamed)
        second = end_of(await one.ask("two", previous_response_id=first["id"], **more), streamed)
        third = end_of(
            await one.ask([{"role": "user", "content": "three"}], **more,
                          previous_response_id=second["id"]), streamed,
        )  # fmt: skip
        branch = end_of(await one.ask("too", previous_response_id=first["id"], **more), streamed)
    assert [text_of(turn) for turn in (first, second, third, branch)] == [
        "answer 1", "answer 2", "answer 3", "answer 4",
    ]  # fmt: skip
    assert spoken(one.asked[2]) == [
        ("user", "one"), ("assistant", "answer 1"), ("user", "two"), ("assistant", "answer 2"),
        ("user", "three"),
    ]  # fmt: skip
    assert spoken(one.asked[3]) == [("user", "one"), ("assistant", "answer 1"), ("user", "too")]
    ids = [turn["id"] for turn in (first, second, third, branch)]
    assert len(set(ids)) == 4
    assert all(id.startswith("resp_") and "up" not in id and len(id) <= 64 for id in ids)
    assert [turn["previous_response_id"] for turn in (first, second, third, branch)] == [
        None, ids[0], ids[1], ids[0],
    ]  # fmt: skip
    assert all(turn["store"] is True for turn in (first, second, third, branch))
    assert not any("previous_response_id" in asked for asked in one.asked)
    if dialects == RESPONSES:
        assert [asked["store"] for asked in one.asked] == [False] * 4
        assert first["x_own"] == 12345678901234567890
        assert "instructions" not in one.asked[1]


@BOTH_WAYS
async def test_every_event_of_a_stream_has_the_one_id(
    tmp_path: Path, speaks: Any, dialects: Any
) -> None:
    async with talking(tmp_path, speaks) as one:
        one.offer(dialects=dialects)
        first = (await one.ask()).json
        said = await one.ask("on", stream=True, previous_response_id=first["id"])
    told = [event["response"] for event in said.events if "response" in event]
    assert [event["type"] for event in said.events if "response" in event] == [
        "response.created", "response.in_progress", "response.completed",
    ]  # fmt: skip
    assert {(one["id"], one["previous_response_id"], one["store"]) for one in told} == {
        (told[-1]["id"], first["id"], True)
    }
    numbers = [event["sequence_number"] for event in said.events]
    assert numbers == list(range(len(numbers)))
    assert said.body.count(b"event: ") == len(numbers)


async def test_it_is_kept_before_the_client_has_the_end(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_responses) as one:
        one.offer(dialects=RESPONSES)
        wire = await one.rig.connect()
        body = json.dumps({"model": "bot", "input": "x", "stream": True}).encode()
        wire.writer.write(
            b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (OWN.encode(), len(body), body)
        )
        told = await wire.reader.readuntil(b"event: response.completed")
        kept = told.partition(b'"id":"')[2].partition(b'"')[0].decode()
        assert (await one.call(b"GET", f"/v1/responses/{kept}")).status == 200


@pytest.mark.parametrize("streamed", [False, True])
async def test_nothing_is_kept_of_what_the_client_wants_forgotten(
    tmp_path: Path, streamed: bool
) -> None:
    async with talking(tmp_path, speaks_responses) as one:
        one.offer(dialects=RESPONSES)
        first = (await one.ask()).json
        said = end_of(await one.ask("on", store=False, stream=streamed,
                                    previous_response_id=first["id"]), streamed)  # fmt: skip
        assert (said["id"], said["store"]) == ("resp_up_2", False)
        assert said["previous_response_id"] == first["id"]
        assert spoken(one.asked[1])[0] == ("user", "hi")
        assert (await one.ask("on", previous_response_id=said["id"])).error == NOT_FOUND
        before = kept_bytes(tmp_path)
        plain = await one.ask("on", store=False)
        assert (plain.json["id"], one.asked[-1]["store"]) == ("resp_up_3", False)
        assert kept_bytes(tmp_path) == before


def kept_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "kept").glob("*"))


async def test_a_service_that_keeps_nothing_writes_nothing_and_says_what_to_set(
    tmp_path: Path,
) -> None:
    async with talking(tmp_path, speaks_chat) as one:
        one.offer(service("bot", endpoint(one.url), content=NO_KEEP))
        first = await one.ask()
        assert first.json["store"] is False
        refused = await one.ask(previous_response_id=first.json["id"])
    assert refused.error == (400, "unsupported_parameter")
    assert "spec.content.responses" in refused.json["error"]["message"]
    assert not (tmp_path / "kept").exists()


async def test_where_nothing_is_kept_ids_of_the_upstreams_own_pass(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_responses) as one:
        one.offer(service("bot", endpoint(one.url, dialects=RESPONSES), content=NO_KEEP))
        said = await one.ask(previous_response_id="resp_up_7")
    assert said.json["id"] == "resp_up_1"
    assert one.asked == [{"model": "bot", "input": "hi", "previous_response_id": "resp_up_7"}]


@pytest.mark.parametrize(
    ("more", "name"),
    [({"background": True}, "background"), ({"conversation": "conv_1"}, "conversation"),
     ({"conversation": {"id": "conv_1"}}, "conversation")],
)  # fmt: skip
async def test_what_needs_more_than_kept_answers_is_refused(
    tmp_path: Path, more: Any, name: str
) -> None:
    async with talking(tmp_path, speaks_responses) as one:
        one.offer(dialects=RESPONSES)
        said = await one.ask(**more)
    assert said.error == (400, "unsupported_parameter")
    assert said.json["error"]["message"].startswith(name)
    assert one.asked == []


@pytest.mark.parametrize(
    "more", [{"store": "yes"}, {"previous_response_id": 7}, {"input": 7}, {"input": {"a": 1}}]
)
async def test_what_cannot_be_read_is_told(tmp_path: Path, more: Any) -> None:
    async with talking(tmp_path, speaks_responses) as one:
        one.offer(dialects=RESPONSES)
        body = json.dumps({"model": "bot", "input": "x", **more}).encode()
        said = await one.call(b"POST", "/v1/responses", body=body)
    assert said.status == 400
    assert next(iter(more)) in said.json["error"]["message"]


# --- who --------------------------------------------------------------------------------------


async def all_ways(one: Talker, id: str, by: str, lines: bytes = b"") -> list[tuple[int, str]]:
    """What becomes of everything that one can do with an id; deleting last."""
    calls = [
        await one.ask(by=by, lines=lines, previous_response_id=id),
        await one.call(b"GET", f"/v1/responses/{id}", by, lines=lines),
        await one.call(b"GET", f"/v1/responses/{id}/input_items", by, lines=lines),
        await one.call(b"DELETE", f"/v1/responses/{id}", by, lines=lines),
    ]
    return [said.error if said.status != 200 else (200, "") for said in calls]


OPEN = [(200, "")] * 4
CLOSED = [NOT_FOUND, GONE, GONE, GONE]


async def test_another_key_has_no_part_in_it(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_chat) as one:
        keys = (
            key(), key("two", team="t"), key("far", tenant="other"), key("ada1", person="ada"),
            key("ada2", person="ada", team="t"), key("ada3", person="ada", services=("else",)),
        )  # fmt: skip
        bot = service("bot", endpoint(one.url), content=KEEP)
        far = service("bot", endpoint(one.url), content=KEEP)
        one.offer(
            bot,
            type(far)(tenant="other", name="bot", revision=far.revision, content=KEEP),
            keys=keys,
        )
        id = (await one.ask()).json["id"]
        for other in ("my_two_secret", "my_far_secret", "my_ada1_secret"):
            assert await all_ways(one, id, other) == CLOSED
        hers = (await one.ask(by="my_ada1_secret")).json["id"]
        assert await all_ways(one, hers, OWN) == CLOSED
        refused = await all_ways(one, hers, "my_ada3_secret")
        assert refused[1:] == CLOSED[1:]
        assert await all_ways(one, hers, "my_ada2_secret") == OPEN
        assert await all_ways(one, id, OWN) == OPEN
        assert await all_ways(one, id, OWN) == CLOSED


async def test_a_trusted_key_keeps_its_persons_apart(tmp_path: Path) -> None:
    ada, grace = b"x-modelyard-person: ada\r\n", b"x-modelyard-person: grace\r\n"
    async with talking(tmp_path, speaks_chat) as one:
        one.offer(keys=(key(trusted=True), key("two", person="ada")))
        hers = (await one.ask(user="ada")).json["id"]
        assert await all_ways(one, hers, OWN) == CLOSED
        assert await all_ways(one, hers, OWN, grace) == CLOSED
        assert (await one.ask(user="ada", previous_response_id=hers)).status == 200
        assert await all_ways(one, hers, OWN, ada) == OPEN


async def test_ids_of_nobody_are_not_found(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_chat) as one:
        one.offer()
        id = (await one.ask()).json["id"]
        flipped = id[:-1] + ("0" if id[-1] != "0" else "1")
        for wrong in ("resp_1", "x", flipped, id.upper(), "resp_" + "0" * 52, id + "0"):
            assert await all_ways(one, wrong, OWN) == CLOSED
        told = (await one.ask(previous_response_id=flipped)).json["error"]
        assert told["param"] == "previous_response_id"
        assert told["type"] == "invalid_request_error"
        assert len(one.asked) == 1
        records = one.rig.records()
    assert {row["outcome"] for row in records[1:]} == {"rejected"}
    assert {row["status"] for row in records[1:]} == {404}


async def test_what_has_expired_is_not_there(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_chat) as one:
        brief = type(KEEP)(responses_keep_s=0.001)
        one.offer(service("bot", endpoint(one.url), content=brief))
        id = (await one.ask()).json["id"]
        one.offer()
        assert await all_ways(one, id, OWN) == CLOSED


async def test_deleting_a_turn_ends_all_that_continue_from_it(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_chat) as one:
        one.offer()
        first = (await one.ask("a secret")).json["id"]
        second = (await one.ask("on", previous_response_id=first)).json["id"]
        said = await one.call(b"DELETE", f"/v1/responses/{first}")
        assert said.json == {"id": first, "object": "response", "deleted": True}
        told = await one.ask("more", previous_response_id=second)
        assert told.error == NOT_FOUND
        assert "not kept any more" in told.json["error"]["message"]
        assert (await one.call(b"GET", f"/v1/responses/{second}")).status == 200
    (file,) = (tmp_path / "kept").glob("*")
    assert b"a secret" not in file.read_bytes()


# --- the whole of it --------------------------------------------------------------------------


async def test_the_whole_conversation_is_counted_and_limited(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_chat, max_body_bytes=20_000) as one:
        one.offer()
        id = (await one.ask("a" * 4000)).json["id"]
        body = {"model": "bot", "input": "b", "previous_response_id": id}
        assert len(json.dumps(body)) < 200
        await one.ask("b", previous_response_id=id)
        bot = service("bot", endpoint(one.url), content=KEEP)
        one.rig.offer(bot, bounds=Bounds(tokens_per_minute=1500))
        assert (await one.ask("b", previous_response_id=id)).error[0] == 429
        assert (await one.ask("b")).status == 200
        one.offer()
        for _ in range(5):
            said = await one.ask("c" * 4000, previous_response_id=id)
            id = said.json.get("id", id)
    assert said.error == (413, "body_too_large")


async def test_a_long_conversation_is_read_in_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "SLICE_TURNS", 3)
    monkeypatch.setattr(conversation, "MOST_TURNS", 12)
    async with talking(tmp_path, speaks_chat) as one:
        one.offer()
        id = (await one.ask("0")).json["id"]
        for turn in range(1, 12):
            id = (await one.ask(str(turn), previous_response_id=id)).json["id"]
        asked = spoken(one.asked[-1])
        assert [text for role, text in asked if role == "user"] == [str(n) for n in range(12)]
        assert (await one.ask("x", previous_response_id=id)).status == 200
        id = (await one.ask("x", previous_response_id=id)).json["id"]
        assert (await one.ask("x", previous_response_id=id)).error == (400, "conversation_too_long")


async def test_a_client_that_leaves_while_its_conversation_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "SLICE_TURNS", 1)
    async with talking(tmp_path, speaks_chat) as one:
        one.offer()
        id = (await one.ask("0")).json["id"]
        for _ in range(3):
            id = (await one.ask("x", previous_response_id=id)).json["id"]
        wire = await one.rig.connect()
        body = json.dumps({"model": "bot", "input": "x", "previous_response_id": id}).encode()
        wire.feed(
            b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (OWN.encode(), len(body), body)
        )
        assert one.rig.gateway.active
        wire.close()
        await until(lambda: not one.rig.gateway.active)
        assert one.rig.records()[-1]["outcome"] == "cancelled"


# --- what endpoints do --------------------------------------------------------------------------


async def test_thoughts_that_only_their_store_knows_are_left_out(tmp_path: Path) -> None:
    bare = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}]}
    sealed = {**bare, "id": "rs_2", "encrypted_content": "gAAA"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}
    turns = [[bare, call], [sealed, message("done", 5)], [message("bye", 6)]]

    def answers(number: int, body: Any) -> bytes:
        return tells(number, body, response(number, *turns[number - 1]))

    async with talking(tmp_path, answers) as one:
        one.offer(dialects=RESPONSES, provider_kind="openai")
        first = (await one.ask(reasoning={"effort": "low"})).json
        assert first["output"] == turns[0]
        result = {"type": "function_call_output", "call_id": "c1", "output": "42"}
        second = (await one.ask([result], previous_response_id=first["id"])).json
        await one.ask("thanks", previous_response_id=second["id"], include=["x"],
                      reasoning={"effort": "none"})  # fmt: skip
    assert one.asked[0]["include"] == ["reasoning.encrypted_content"]
    assert "include" not in one.asked[1]
    assert one.asked[2]["include"] == ["x"]
    bare_call = {name: value for name, value in call.items() if name != "id"}
    assert one.asked[1]["input"][1:] == [bare_call, result]
    assert one.asked[2]["input"][3:] == [
        sealed, message("done", 5), {"type": "message", "role": "user", "content": "thanks"},
    ]  # fmt: skip


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_an_answer_that_failed_is_not_kept(tmp_path: Path, status: str) -> None:
    def answers(number: int, body: Any) -> bytes:
        return whole({**response(number, status=status), "error": {"code": "x", "message": "no"}})

    async with talking(tmp_path, answers) as one:
        one.offer(dialects=RESPONSES)
        said = (await one.ask()).json
        assert said["store"] is False
        assert (await one.call(b"GET", f"/v1/responses/{said['id']}")).error == GONE


@BOTH_WAYS
async def test_a_stream_that_breaks_off_is_not_kept(
    tmp_path: Path, speaks: Any, dialects: Any
) -> None:
    def answers(number: int, body: Any) -> bytes:
        whole_stream = speaks(number, body)
        mark = b"event: response.completed" if dialects == RESPONSES else b'"finish_reason": "stop"'
        cut = whole_stream[: whole_stream.index(mark)]
        return cut if dialects == RESPONSES else cut[: cut.rindex(b"data: ")]

    async with talking(tmp_path, answers) as one:
        one.offer(dialects=dialects)
        said = await one.ask(stream=True)
        ids = {event["response"]["id"] for event in said.events if "response" in event}
        assert len(ids) == 1
        (id,) = ids
        assert len(id) == 57
        assert (await one.call(b"GET", f"/v1/responses/{id}")).error == GONE
        assert one.rig.records()[0]["outcome"] == "failed"


async def test_items_that_only_the_stream_told_are_kept(tmp_path: Path) -> None:
    def answers(number: int, body: Any) -> bytes:
        told = tells(number, body, response(number, message("spoken", number)))
        empty = json.dumps({"type": "response.completed", "response": response(number)})
        return told[: told.index(b"event: response.completed")] + f"data: {empty}\n\n".encode()

    async with talking(tmp_path, answers) as one:
        one.offer(dialects=RESPONSES)
        id = (await one.ask(stream=True)).last["id"]
        await one.ask("on", stream=True, previous_response_id=id)
    assert spoken(one.asked[1]) == [("user", "hi"), ("assistant", "spoken"), ("user", "on")]


async def test_another_endpoint_answers_under_the_same_id(tmp_path: Path) -> None:
    def answers(number: int, body: Any) -> bytes:
        return whole({"error": {"message": "x"}}, 500) if number == 1 else speaks_chat(number, body)

    async with talking(tmp_path, answers) as one:
        bot = service("bot", endpoint(one.url, "a"), endpoint(one.url, "b"), content=KEEP)
        one.offer(bot)
        id = (await one.ask(stream=True)).last["id"]
        assert (await one.call(b"GET", f"/v1/responses/{id}")).json["id"] == id
        assert len(one.asked) == 2


async def test_a_shadow_stores_nothing_either(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_responses) as one:
        one.offer(
            service("bot", endpoint(one.url, dialects=RESPONSES), content=KEEP,
                    shadow=Shadow(service="next")),
            service("next", endpoint(one.url, dialects=RESPONSES)),
        )  # fmt: skip
        assert (await one.ask()).status == 200
        await until(lambda: len(one.asked) == 2 and not one.rig.gateway.active)
    assert [asked["store"] for asked in one.asked] == [False, False]


async def test_when_nothing_can_be_written_the_answer_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with talking(tmp_path, speaks_chat) as one:
        one.offer()
        (tmp_path / "kept").write_bytes(b"no folder")
        for streamed in (False, True, False):
            said = end_of(await one.ask(stream=streamed), streamed)
            assert said["store"] is False
            assert text_of(said).startswith("answer ")
        (tmp_path / "kept").unlink()
        assert (await one.ask()).json["store"] is True
    assert sum("cannot be kept" in one.message for one in caplog.records) == 1


async def test_other_dialects_of_a_service_that_keeps_are_as_they_were(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_chat) as one:
        one.offer(cancels_without_stream=False)
        body = {"model": "bot", "messages": [{"role": "user", "content": "x"}], "store": True}
        said = await one.call(b"POST", "/v1/chat/completions", body=json.dumps(body).encode())
        assert said.json["id"] == "c-1"
        assert one.asked[0]["store"] is True
    assert not (tmp_path / "kept").exists()


async def test_lone_events_with_the_word_response_pass_unread(tmp_path: Path) -> None:
    events = [
        {"type": "response.created", "response": {"id": "r"}},
        {"type": "response.output_text.delta", "delta": '"response"'},
        {"type": "response.output_text.done", "text": '"response":', "response": None},
        {"type": "response.completed", "response": response(1, message("x"))},
    ]

    async with talking(tmp_path, lambda *_: stream(*events)) as one:
        one.offer(dialects=RESPONSES)
        said = await one.ask(stream=True)
    assert said.events[1:3] == events[1:3]
