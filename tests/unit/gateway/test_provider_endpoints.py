"""What goes over the wire to each kind of provider, and which of its keys."""

import json
from collections import Counter
from pathlib import Path

import pytest
from tests.stand_in import Call, StandIn, stand_in

from modelyard.domain.providers.addresses import base_url
from modelyard.domain.providers.endpoints import Provider
from modelyard.domain.providers.endpoints import endpoint as made
from modelyard.domain.providers.kinds import KINDS
from modelyard.domain.snapshot import Endpoint
from modelyard.gateway.endpoints import address_of
from modelyard.gateway.upstream import Pool

from .rig import Rig, post, question, rig, service

pytestmark = pytest.mark.anyio


def endpoint(
    there: StandIn, kind: str, key: str = "sk-good", number: int = 0, **more: object
) -> Endpoint:
    weight = float(str(more.pop("weight", 1.0)))
    known = KINDS[kind]
    provider = Provider(
        "p", kind, base_url(known, there.url), known.dialects, known.headers, str(more.get("v", ""))
    )
    return made(f"bot/p/{number}", provider, "upstream-model", key, weight)


async def ask(one: Rig, times: int = 1) -> list[int]:
    """The statuses of so many chat requests."""
    found = []
    for _ in range(times):
        wire = await one.connect()
        wire.writer.write(post(question("bot")))
        status, _ = await wire.answer()
        wire.close()
        found.append(status)
    return found


@pytest.mark.parametrize(
    ("kind", "base", "version", "path", "header"),
    [
        ("openai", "/v1", "", "/v1/chat/completions", "authorization"),
        ("azure", "/openai/v1", "", "/openai/v1/chat/completions", "api-key"),
        ("azure", "", "2024-10-21",
         "/openai/deployments/upstream-model/chat/completions?api-version=2024-10-21", "api-key"),
        ("gemini", "/v1beta/openai", "", "/v1beta/openai/chat/completions", "authorization"),
        ("openrouter", "/api/v1", "", "/api/v1/chat/completions", "authorization"),
        ("deepseek", "", "", "/chat/completions", "authorization"),
        ("compatible", "/api/paas/v4", "", "/api/paas/v4/chat/completions", "authorization"),
    ],
)  # fmt: skip
async def test_each_kind_is_called_as_it_wants_to_be(
    tmp_path: Path, kind: str, base: str, version: str, path: str, header: str
) -> None:
    with stand_in(kind, base, "sk-good") as there:
        async with rig(tmp_path) as one:
            one.offer(service("bot", endpoint(there, kind, v=version)))
            assert await ask(one) == [200]
    (call,) = there.calls
    assert call.target == path
    assert call.key == "sk-good"
    shown = {"authorization", "api-key", "x-api-key"} & set(call.headers)
    assert shown == {header}
    assert call.body["model"] == "upstream-model"


async def test_a_providers_own_headers_are_sent_and_may_be_replaced_by_a_requests() -> None:
    with stand_in("anthropic", None, "sk-good") as there:
        spec = endpoint(there, "anthropic")
    pool = Pool(address_of(spec))
    plain = pool.request("/v1/messages", "req_1", b"{}")
    assert plain.startswith(b"POST /v1/messages HTTP/1.1\r\n")
    assert b"\r\nX-Api-Key: sk-good\r\n" in plain
    assert b"\r\nanthropic-version: 2023-06-01\r\n" in plain
    assert b"Authorization" not in plain
    assert plain.endswith(b"\r\nContent-Length: 2\r\nX-Request-Id: req_1\r\n\r\n{}")
    beta = pool.request("/v1/messages", "req_2", b"{}", b"anthropic-beta: x\r\n")
    assert b"\r\nanthropic-version: 2023-06-01\r\n" in beta
    assert beta.endswith(b"\r\nX-Request-Id: req_2\r\nanthropic-beta: x\r\n\r\n{}")
    both = b"Anthropic-Version: 2099-01-01\r\nanthropic-beta: x\r\n"
    for _ in range(2):
        newer = pool.request("/v1/messages", "req_3", b"{}", both)
        assert newer.lower().count(b"anthropic-version") == 1
        assert both in newer
    assert pool.request("/v1/messages", "req_1", b"{}") == plain


def test_an_address_without_headers_passes_those_of_a_request_on() -> None:
    pool = Pool(address_of(Endpoint(id="x", url="http://127.0.0.1:9/v1")))
    sent = pool.request("/v1/messages", "req_1", b"", b"anthropic-version: 1\r\n")
    assert sent == (
        b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:9\r\nContent-Type: application/json\r\n"
        b"Accept-Encoding: identity\r\nContent-Length: 0\r\nX-Request-Id: req_1\r\n"
        b"anthropic-version: 1\r\n\r\n"
    )


async def test_keys_share_the_requests_by_their_weights(tmp_path: Path) -> None:
    with stand_in("openai", None, "sk-a", "sk-b") as there:
        async with rig(tmp_path) as one:
            one.offer(service(
                "bot", endpoint(there, "openai", "sk-a", 0, weight=0.75),
                endpoint(there, "openai", "sk-b", 1, weight=0.25),
            ))  # fmt: skip
            assert await ask(one, 40) == [200] * 40
            (record, *_) = one.records()
    keys = Counter(call.key for call in there.calls)
    assert abs(keys["sk-a"] - 30) <= 1, keys
    assert record["routing"].startswith("weighted: by weight: bot/p/")


async def test_a_revoked_key_is_left_alone_while_the_other_answers(tmp_path: Path) -> None:
    with stand_in("openai", None, "sk-b") as there:
        async with rig(tmp_path) as one:
            one.offer(service(
                "bot", endpoint(there, "openai", "sk-revoked", 0, weight=0.9),
                endpoint(there, "openai", "sk-b", 1, weight=0.1),
            ))  # fmt: skip
            assert await ask(one, 20) == [200] * 20
            failed = [row for row in one.records("attempt") if row["outcome"] != "ok"]
    keys = Counter(call.key for call in there.calls)
    assert keys["sk-b"] == 20
    assert 1 <= keys["sk-revoked"] < 5, "it is only tried out now and then"
    assert {row["outcome"] for row in failed} == {"upstream_credentials"}


async def test_a_rotated_key_is_used_by_the_next_request(tmp_path: Path) -> None:
    with stand_in("openai", None, "sk-old", "sk-new") as there:
        async with rig(tmp_path) as one:
            one.offer(service("bot", endpoint(there, "openai", "sk-old")))
            await ask(one, 2)
            one.offer(service("bot", endpoint(there, "openai", "sk-new")))
            await ask(one, 2)
    assert [call.key for call in there.calls] == ["sk-old", "sk-old", "sk-new", "sk-new"]


async def test_endpoints_that_change_places_keep_their_own_weights(tmp_path: Path) -> None:
    """The router's own order is that of their coming; the choice is by the revision's order."""
    with stand_in("openai", None, "sk-a", "sk-b", "sk-c") as there:
        first = endpoint(there, "openai", "sk-a", 0, weight=1.0)
        second = endpoint(there, "openai", "sk-b", 1, weight=3.0)
        third = endpoint(there, "openai", "sk-c", 2, weight=4.0)
        async with rig(tmp_path) as one:
            one.offer(service("bot", first, second))
            await ask(one)
            one.offer(service("bot", third, second, first))
            there.calls.clear()
            await ask(one, 80)
    keys = Counter(call.key for call in there.calls)
    for key, wanted in (("sk-a", 10), ("sk-b", 30), ("sk-c", 40)):
        assert abs(keys[key] - wanted) <= 2, keys


async def test_what_a_provider_says_of_a_wrong_key_reaches_no_client(tmp_path: Path) -> None:
    with stand_in("openai", None, "sk-good") as there:
        async with rig(tmp_path) as one:
            one.offer(service("bot", endpoint(there, "openai", "sk-secret-wrong")))
            answer = await one.talk(post(question("bot"), b"Connection: close"))
            rows = json.dumps([*one.records(), *one.records("attempt")])
    assert isinstance(there.calls[0], Call)
    assert b"502" in answer.split(b"\r\n")[0]
    assert b"sk-secret" not in answer
    assert "sk-secret" not in rows
