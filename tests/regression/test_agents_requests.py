"""What Claude Code, Codex and their SDKs send beside a plain question, byte for byte to an endpoint
that speaks their dialect. Their real selves are in `tests/clients`, where they are installed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.unit.gateway.rig import KEY, endpoint, post, rig

from modelyard.domain.chat import Members

pytestmark = pytest.mark.anyio
ANSWER = json.dumps({
    "id": "msg_1", "type": "message", "role": "assistant", "model": "bot",
    "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 1},
}).encode()  # fmt: skip
BODY = (
    b'{ "model" : "bot","max_tokens":64,\r\n'
    b'"system":[{"type":"text","text":"You are an agent.",'
    b'"cache_control":{ "ttl":"1h","type" :"ephemeral"}}],'
    b'"thinking":{"type":"adaptive","display":"omitted"},'
    b'"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},'
    b'"messages":[{"role":"user","content":[{"type":"text","text":"caf\\u00e9 \xe2\x82\xac",'
    b'"cache_control":{"type":"ephemeral"}}]}],'
    b'"tools":[{"name":"Bash","input_schema":{"type":"object"},"cache_control":null,"new":1.50}],'
    b'"a_field_of_tomorrow":{"big":12345678901234567890123,"deep":[[{}]]} }'
)


class Seen:
    """Heads and bodies that an endpoint of Anthropic's kind was sent."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(length))
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
        )
        writer.close()


def members(body: bytes) -> dict[str, bytes]:
    """The members of a body, each with its bytes."""
    return {name: bytes(raw) for name, raw in msgspec.json.decode(body, type=Members).items()}


@asynccontextmanager
async def speaking_messages() -> AsyncIterator[tuple[Seen, str]]:
    """An endpoint, and its URL."""
    seen = Seen()
    async with await asyncio.start_server(seen.answer, "127.0.0.1", 0) as server:
        yield seen, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def ask(
    folder: Path, path: bytes, *fields: bytes, body: bytes = BODY, **options: object
) -> tuple[Seen, bytes]:
    """What the endpoint saw of this request, and what the client was answered."""
    async with rig(folder) as one, speaking_messages() as (seen, url):
        spoken = {"dialects": ("messages", "count_tokens"), **options}
        one.serve(bot=[endpoint(url, **spoken)])
        raw = await one.talk(post(body, b"Connection: close", *fields, path=path))
    return seen, raw


def lines(head: bytes, name: bytes) -> list[bytes]:
    """The values of a header, one for each line that has it."""
    found = [line.partition(b":") for line in head.split(b"\r\n")]
    return [value.strip() for field, _, value in found if field.lower() == name]


async def test_the_body_is_the_clients_byte_for_byte(tmp_path: Path) -> None:
    """Cache marks are of use only where each byte before them is the same as last time."""
    seen, raw = await ask(tmp_path, b"/v1/messages")
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert seen.bodies == [BODY]


async def test_only_the_models_name_changes_where_it_has_another(tmp_path: Path) -> None:
    seen, _ = await ask(tmp_path, b"/v1/messages", upstream_model="claude-sonnet")
    (body,) = seen.bodies
    expected = members(BODY) | {"model": b'"claude-sonnet"'}
    assert members(body) == expected
    assert list(members(body)) == list(expected), "in their order"


@pytest.mark.parametrize("path", [b"/v1/messages", b"/v1/messages/count_tokens"])
async def test_every_version_and_beta_header_goes_along(tmp_path: Path, path: bytes) -> None:
    """Clients send the betas in one line or in several."""
    seen, _ = await ask(
        tmp_path, path, b"anthropic-version: 2099-01-01", b"Anthropic-Beta: one-2025-01-01,two",
        b"anthropic-beta: three", headers=(("anthropic-version", "2023-06-01"),),
    )  # fmt: skip
    (head,) = seen.heads
    assert lines(head, b"anthropic-version") == [b"2099-01-01"]
    betas = b",".join(lines(head, b"anthropic-beta")).replace(b" ", b"")
    assert betas == b"one-2025-01-01,two,three"


async def test_nobody_elses_headers_go_along(tmp_path: Path) -> None:
    """The gateway's key is not the provider's business, and neither is who asks."""
    seen, _ = await ask(
        tmp_path, b"/v1/messages", b"x-api-key: my_abc_secret", b"Cookie: a=b",
        b"x-modelyard-session: s", auth="x-api-key", api_key="sk-theirs",
    )  # fmt: skip
    (head,) = seen.heads
    assert lines(head, b"x-api-key") == [b"sk-theirs"]
    assert KEY not in head
    assert not lines(head, b"cookie") + lines(head, b"x-modelyard-session")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_beta_in_the_path_reaches_the_endpoint(tmp_path: Path, path: str) -> None:
    """As every request of the SDK's `beta` part has it."""
    asked = f"{path}?beta=true"
    seen, raw = await ask(tmp_path, asked.encode(), b"anthropic-beta: one")
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert seen.heads[0].startswith(f"POST {asked} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    ("there", "asked"), [("/a", b"/a?beta=true"), ("/a?v=1", b"/a?v=1&beta=true")]
)
async def test_beta_in_the_path_stands_behind_a_path_of_the_providers(
    tmp_path: Path, there: str, asked: bytes
) -> None:
    seen, _ = await ask(tmp_path, b"/v1/messages?beta=true", paths={"/v1/messages": there})
    assert seen.heads[0].startswith(b"POST %b HTTP/1.1\r\n" % asked)


async def test_no_other_query_goes_along(tmp_path: Path) -> None:
    seen, raw = await ask(tmp_path, b"/v1/messages?beta=true&n=1", b"anthropic-beta: one")
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert seen.heads[0].startswith(b"POST /v1/messages HTTP/1.1\r\n")


async def test_somebody_is_there(tmp_path: Path) -> None:
    """Claude Code asks `HEAD /` before anything else, without a key, on a connection it keeps."""
    async with rig(tmp_path) as one:
        raw = await one.talk(
            b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
    first, _, rest = raw.partition(b"\r\n\r\n")
    second, _, body = rest.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 200 "), "the answer to HEAD has no body"
    assert lines(first, b"content-length") == lines(second, b"content-length")
    assert json.loads(body)["anthropic"] == "/"


@pytest.mark.parametrize("path", [b"/v1/responses", b"/v1/responses?a=b"])
async def test_a_websocket_is_refused_at_once_and_http_goes_on(tmp_path: Path, path: bytes) -> None:
    """Codex tries one first. It gets 426 before it has sent more, and the connection stays."""
    async with rig(tmp_path) as one:
        one.serve()
        wire = await one.connect()
        wire.writer.write(
            b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %b\r\n\r\n"
            % (path, KEY)
        )
        status, body = await wire.answer()
        assert status == 426
        assert json.loads(body)["error"]["code"] == "upgrade_not_supported"
        wire.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await wire.answer() == (200, b'{"status":"ok"}')
        assert one.records() == [], "a try of another protocol is no request"
