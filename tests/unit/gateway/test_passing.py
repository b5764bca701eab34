"""Routes that no dialect models: bytes there, bytes back, metered like all others."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.rig import KEY, Rig, endpoint, rig, service, upstream
from tests.unit.gateway.test_forms import form

from modelyard.domain.snapshot import Bounds, Price

pytestmark = pytest.mark.anyio
DOLLAR = 1_000_000_000


class There:
    """An upstream that keeps what it was sent and says what it was told to."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                writer.write(self.answers.pop(0))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, IndexError):
            writer.close()


def says(body: bytes, kind: bytes = b"application/json", status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\nX-Secret: 1\r\n\r\n%b" % (
        status, kind, len(body), body,
    )  # fmt: skip


def call(
    path: str, body: bytes = b"", kind: str = "application/json", method: str = "POST"
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {KEY.decode()}",
             f"Content-Type: {kind}", f"Content-Length: {len(body)}"]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def tell(
    folder: Path, there: There, sent: bytes, *, bounds: Bounds | None = None, **options: Any
) -> tuple[int, bytes, dict[str, Any], bytes]:
    """Status, body, the one record, and the head of the answer."""
    server = await asyncio.start_server(there.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    price = options.pop("price", None)
    passes = options.pop("passes", ())
    async with rig(folder) as one:
        end = endpoint(f"http://127.0.0.1:{port}/v1", upstream_model="theirs", **options)
        one.offer(service("echo", end, price=price, passes=passes), bounds=bounds)
        answer = await _ask(one, sent)
        (record,) = one.records()
    server.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body, record, head


async def _ask(one: Rig, sent: bytes) -> bytes:
    closing = sent.replace(b"Host: x", b"Host: x\r\nConnection: close", 1)
    return await one.talk(closing)


async def test_a_form_with_a_file_goes_there_with_the_models_name_there(tmp_path: Path) -> None:
    told = b'{"text":"hi","usage":{"type":"duration","seconds":7}}'
    there = There(says(told))
    body = form(("file", bytes(range(256)) * 50), ("model", b"echo"))
    price = Price(server_tools={"seconds": 2_000_000})
    sent = call("/v1/audio/transcriptions", body, "multipart/form-data; boundary=cut")
    status, answer, record, _ = await tell(tmp_path, there, sent, price=price)
    assert (status, answer) == (200, told)
    head, _, _ = there.asked[0].partition(b"\r\n\r\n")
    assert there.asked[0].partition(b"\r\n\r\n")[2] == form(
        ("file", bytes(range(256)) * 50), ("model", b"theirs")
    )
    assert head.startswith(b"POST /v1/audio/transcriptions HTTP/1.1\r\n")
    assert head.lower().count(b"content-type:") == 1
    assert b"content-type: multipart/form-data; boundary=cut" in head
    assert record["route"] == "/v1/audio/transcriptions"
    assert (record["outcome"], record["cost_nano_usd"]) == ("completed", 14_000_000)
    assert record["tokens_input"] is None


async def test_sound_comes_back_byte_for_byte_as_it_comes(tmp_path: Path) -> None:
    sound = bytes(range(256)) * 40
    there = There(says(sound, b"audio/mpeg"))
    sent = call("/v1/audio/speech", b'{"model":"echo","input":"hi","seed":12345678901234567890}')
    status, answer, record, head = await tell(tmp_path, there, sent, price=Price())
    assert status == 200
    assert sound in answer or _unchunked(answer) == sound
    assert b"Content-Type: audio/mpeg" in head
    assert b"X-Secret" not in head
    assert b"12345678901234567890" in there.asked[0]
    assert record["unpriced"] == "server_tools./v1/audio/speech=1", "seen, and not free"


def _unchunked(body: bytes) -> bytes:
    found, rest = b"", body
    while rest and (size := int(rest.partition(b"\r\n")[0], 16)):
        rest = rest.partition(b"\r\n")[2]
        found, rest = found + rest[:size], rest[size + 2 :]
    return found


async def test_pictures_that_are_streamed_tell_their_usage_at_the_end(tmp_path: Path) -> None:
    usage = {"input_tokens": 10, "output_tokens": 100, "total_tokens": 110}
    events = [{"type": "image_generation.partial_image"},
              {"type": "image_generation.completed", "usage": usage}]  # fmt: skip
    stream = b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in events)
    sent = call("/v1/images/generations", b'{"model":"echo","stream":true}')
    price = Price(input=5 * DOLLAR, output=10 * DOLLAR, image_output=40 * DOLLAR)
    _, answer, record, _ = await tell(
        tmp_path, There(says(stream, b"text/event-stream")), sent, price=price
    )
    assert _unchunked(answer) == stream
    assert record["tokens_output"] == 100
    assert record["cost_nano_usd"] == 10 * 5_000 + 100 * 40_000


async def test_reranking_is_counted_in_tokens(tmp_path: Path) -> None:
    told = b'{"results":[{"index":0,"relevance_score":0.9}],"usage":{"total_tokens":56}}'
    sent = call("/v1/rerank", b'{"model":"echo","query":"q","documents":["a","b"]}')
    _, answer, record, _ = await tell(tmp_path, There(says(told)), sent, price=Price(input=DOLLAR))
    assert answer == told
    assert (record["tokens_input"], record["cost_nano_usd"]) == (56, 56_000)


async def test_an_error_of_the_upstream_is_told_and_recorded(tmp_path: Path) -> None:
    error = b'{"error":{"message":"no such voice","type":"invalid_request_error"}}'
    sent = call("/v1/audio/speech", b'{"model":"echo"}')
    status, answer, record, _ = await tell(tmp_path, There(says(error, status=400)), sent)
    assert (status, answer) == (400, error)
    assert record["outcome"] == "rejected"


async def test_what_has_no_price_uses_what_was_reserved(tmp_path: Path) -> None:
    """A budget must not be empty of meaning because a unit has no price."""
    sound = says(b"sound", b"audio/mpeg")
    sent = call("/v1/audio/speech", b'{"model":"echo"}')
    bounds = Bounds(budget_nano_usd=DOLLAR, budget_per="total")
    price = Price(output=DOLLAR * 1000)
    server_side = There(sound, sound, sound)
    server = await asyncio.start_server(server_side.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with rig(tmp_path, reserve_output_tokens=400) as one:
        one.offer(service("echo", endpoint(url), price=price), bounds=bounds)
        codes = [int((await _ask(one, sent)).split(b" ")[1]) for _ in range(4)]
    server.close()
    assert codes == [200, 200, 429, 429], "0.4 dollars each"


async def test_a_path_that_the_document_lists_takes_any_method(tmp_path: Path) -> None:
    there = There(says(b'{"id":"v-1","status":"queued"}'))
    sent = call("/pass/echo/v1/videos/v-1?wait=1", method="GET")
    _, answer, record, _ = await tell(
        tmp_path, there, sent, passes=("/v1/videos/*",), price=Price()
    )
    assert json.loads(answer)["id"] == "v-1"
    assert there.asked[0].startswith(b"GET /v1/videos/v-1?wait=1 HTTP/1.1\r\n")
    assert record["route"] == "/pass/v1/videos/*"
    assert record["service"] == "echo"
    assert record["unpriced"] == "", "looking costs nothing"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/pass/echo/v1/files", 403, "route_not_passed"),
        ("/pass/echo/v1/videos/../files", 404, "unknown_route"),
        ("/pass/echo/v1/videos/%2e%2e/files", 404, "unknown_route"),
        ("/pass/echo/v1/videos//x", 404, "unknown_route"),
        ("/pass/nobody/v1/videos/x", 404, "model_not_found"),
        ("/pass/echo", 404, "model_not_found"),
    ],
)
async def test_other_paths_are_not_reached(
    tmp_path: Path, path: str, status: int, code: str
) -> None:
    there = There()
    found, body, record, _ = await tell(
        tmp_path, there, call(path, method="DELETE"), passes=("/v1/videos/*",)
    )
    assert (found, json.loads(body)["error"]["code"]) == (status, code)
    assert there.asked == []
    assert record["outcome"] == "rejected"


async def test_a_providers_own_base_and_query_hold(tmp_path: Path) -> None:
    there = There(says(b"{}"))
    port_paths = {
        "/v1/images/generations": "/openai/deployments/d/images/generations?api-version=1"
    }
    sent = call("/v1/images/generations?x=y", b'{"model":"echo"}')
    await tell(tmp_path, there, sent, paths=port_paths)
    target = there.asked[0].split(b" ")[1]
    assert target == b"/openai/deployments/d/images/generations?api-version=1&x=y"


async def test_upstreams_that_are_not_there_are_tried_elsewhere(tmp_path: Path) -> None:
    async def gone(_: bytes, writer: asyncio.StreamWriter) -> bool:
        return False

    there = There(says(b'{"text":"hi"}'))
    server = await asyncio.start_server(there.serve, "127.0.0.1", 0)
    good = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with upstream(gone) as bad, rig(tmp_path) as one:
        one.offer(service("echo", endpoint(bad, "bad"), endpoint(good, "good")))
        answer = await _ask(one, call("/v1/audio/translations", form(("model", b"echo")),
                                      "multipart/form-data; boundary=cut"))  # fmt: skip
        (record,) = one.records()
    server.close()
    assert b'{"text":"hi"}' in answer
    assert record["endpoint"] == "good"
