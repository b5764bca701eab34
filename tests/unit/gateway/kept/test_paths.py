"""What clients ask of kept responses by their ids."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.kept.kept_rig import (
    RESPONSES,
    Talker,
    speaks_chat,
    speaks_responses,
    talking,
)

pytestmark = pytest.mark.anyio


async def conversation(one: Talker, turns: int) -> list[Any]:
    """So many turns; their responses."""
    said: list[Any] = []
    for turn in range(turns):
        more = {"previous_response_id": said[-1]["id"]} if said else {}
        said.append((await one.ask(f"question {turn}", **more)).json)
    return said


@pytest.mark.parametrize(("speaks", "dialects"), [(speaks_chat, ("chat",)),
                                                  (speaks_responses, RESPONSES)])  # fmt: skip
async def test_a_response_is_got_as_it_was(tmp_path: Path, speaks: Any, dialects: Any) -> None:
    async with talking(tmp_path, speaks) as one:
        one.offer(dialects=dialects)
        for said in await conversation(one, 2):
            got = await one.call(b"GET", f"/v1/responses/{said['id']}?include[]=x&stream=false")
            assert got.json == said
            head = await one.call(b"HEAD", f"/v1/responses/{said['id']}")
            assert (head.status, head.body) == (200, b"")
        assert len(one.rig.records()) == 2


async def test_the_input_of_a_response_is_all_that_was_said_before(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_chat) as one:
        one.offer()
        *_, last = await conversation(one, 3)
        page = (await one.call(b"GET", f"/v1/responses/{last['id']}/input_items?order=asc")).json
        texts = [item["content"][0]["text"] for item in page["data"]]
        assert texts == ["question 0", "answer 1", "question 1", "answer 2", "question 2"]
        assert [item["content"][0]["type"] for item in page["data"]][:2] == [
            "input_text", "output_text",
        ]  # fmt: skip
        ids = [item["id"] for item in page["data"]]
        assert len(set(ids)) == 5
        assert (page["object"], page["has_more"]) == ("list", False)
        assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])
        assert {item["status"] for item in page["data"]} == {"completed"}

        pages = []
        after = ""
        while True:
            path = f"/v1/responses/{last['id']}/input_items?limit=2{after}"
            part = (await one.call(b"GET", path)).json
            pages.append([item["id"] for item in part["data"]])
            if not part["has_more"]:
                break
            after = f"&after={part['last_id']}"
        assert [id for page in pages for id in page] == ids[::-1]


async def test_items_are_listed_whatever_they_look_like(tmp_path: Path) -> None:
    odd: list[Any] = [
        7, None, {}, {"role": "user", "content": [], "id": None}, {"type": 7, "role": 8},
        {"type": "function_call_output", "call_id": "c", "output": "x", "id": "mine"},
    ]  # fmt: skip
    async with talking(tmp_path, speaks_responses) as one:
        one.offer(dialects=RESPONSES)
        said = (await one.ask(odd)).json
        again = await one.ask("on", previous_response_id=said["id"])
        assert again.status == 200
        page = (await one.call(b"GET", f"/v1/responses/{said['id']}/input_items?order=asc")).json
    assert [item["type"] for item in page["data"]] == [
        "message", "message", 7, "function_call_output",
    ]  # fmt: skip
    assert page["last_id"] == "mine"
    assert one.asked[1]["input"][:6] == odd


@pytest.mark.parametrize(
    ("method", "rest", "status", "code"),
    [
        (b"GET", "/input_items?limit=0", 400, "invalid"),
        (b"GET", "/input_items?limit=x", 400, "invalid"),
        (b"GET", "/input_items?after=msg_7", 400, "invalid"),
        (b"GET", "?stream=true", 400, "unsupported_parameter"),
        (b"GET", "/else", 404, "unknown_route"),
        (b"DELETE", "/input_items", 404, "response_not_found"),
        (b"POST", "/cancel", 404, "unknown_route"),
        (b"PUT", "", 405, "method_not_allowed"),
    ],
)
async def test_what_is_wrong_is_told(
    tmp_path: Path, method: bytes, rest: str, status: int, code: str
) -> None:
    async with talking(tmp_path, speaks_chat) as one:
        one.offer()
        (said,) = await conversation(one, 1)
        wrong = await one.call(method, f"/v1/responses/{said['id']}{rest}")
        assert wrong.error == (status, code)
        if status == 405:
            assert b"Allow: GET, HEAD, DELETE\r\n" in wrong.head + b"\r\n"
        assert (await one.call(b"GET", f"/v1/responses/{said['id']}")).status == 200


async def test_a_key_is_needed(tmp_path: Path) -> None:
    async with talking(tmp_path, speaks_chat) as one:
        one.offer()
        (said,) = await conversation(one, 1)
        for method in (b"GET", b"DELETE"):
            refused = await one.call(method, f"/v1/responses/{said['id']}", "my_no_key")
            assert refused.status == 401
        assert (await one.call(b"GET", "/v1/responses/")).status == 404
