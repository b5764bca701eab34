"""A gateway whose service keeps responses, and endpoints that say what they were asked."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.unit.gateway.rig import PEPPER, Rig, endpoint, rig, service, upstream

from modelyard.domain.snapshot import AccessKey, Content, Service, Snapshot
from modelyard.lib import clock

KEEP = Content(responses_keep_s=3600.0)
NO_KEEP = Content()
CHAT, RESPONSES = ("chat",), ("responses",)
OWN = "my_abc_secret"


class Said:
    """What a client was told."""

    def __init__(self, raw: bytes) -> None:
        head, _, rest = raw.partition(b"\r\n\r\n")
        if b"chunked" in head:
            rest = b"".join(p for number, p in enumerate(rest.split(b"\r\n")) if number % 2)
        self.status = int(head.split(b" ")[1])
        self.head, self.body = head, rest

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.json["error"]["code"]

    @property
    def events(self) -> list[Any]:
        lines = self.body.decode().split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]

    @property
    def last(self) -> Any:
        """The response at the end of a stream."""
        return self.events[-1]["response"]


class Talker:
    """A rig, its endpoint, and what that was asked."""

    def __init__(self, one: Rig, url: str, asked: list[Any]) -> None:
        self.rig = one
        self.url = url
        self.asked = asked

    def offer(self, *services: Service, keys: tuple[AccessKey, ...] = (), **options: Any) -> None:
        """Serve these; without any, one service `bot` that keeps what it is told."""
        made = services or (service("bot", endpoint(self.url, **options), content=KEEP),)
        self.rig.gateway.swap(
            Snapshot(
                epoch="e", generation=self.rig.gateway.catalog.generation + 1,
                created_at_us=clock.now_us(), services=made, keys=keys or (key(),),
            )
        )  # fmt: skip

    async def ask(
        self, text: Any = "hi", *, by: str = OWN, lines: bytes = b"", **more: Any
    ) -> Said:
        """One request to `bot`."""
        body = json.dumps({"model": "bot", "input": text, **more}).encode()
        return await self.call(b"POST", "/v1/responses", by, body, lines)

    async def call(
        self, method: bytes, path: str, by: str = OWN, body: bytes = b"", lines: bytes = b""
    ) -> Said:
        """Any request."""
        head = (
            b"%b %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nConnection: close\r\n"
            b"%bContent-Length: %d\r\n\r\n"
        ) % (method, path.encode(), by.encode(), lines, len(body))
        return Said(await self.rig.talk(head + body))


def key(name: str = "abc", **more: Any) -> AccessKey:
    """The key whose text is `my_NAME_secret`."""
    digest = hmac.new(PEPPER, f"my_{name}_secret".encode(), hashlib.sha256).hexdigest()
    return AccessKey(
        **{"id": name, "digest": digest, "tenant": "default", "role": "caller", **more}
    )


@asynccontextmanager
async def talking(folder: Path, answers: Any, **options: Any) -> AsyncIterator[Talker]:
    """With one endpoint whose answer to the request number n is `answers(n, body)`: bytes of a
    whole HTTP message."""
    asked: list[Any] = []

    async def listens(body: bytes, writer: asyncio.StreamWriter) -> bool:
        asked.append(json.loads(body))
        writer.write(answers(len(asked), asked[-1]))
        return False

    async with rig(folder, **options) as one, upstream(listens) as url:
        yield Talker(one, url, asked)


# --- endpoints -----------------------------------------------------------------------------------


def whole(body: Any, status: int = 200) -> bytes:
    """One JSON value."""
    data = json.dumps(body).encode()
    head = "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return (head % (status, len(data))).encode() + data


def stream(*events: Any, done: bool = False) -> bytes:
    """Server-sent events."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    said = "".join(
        (f"event: {event['type']}\n" if "type" in event else "") + f"data: {json.dumps(event)}\n\n"
        for event in events
    )
    return (head + said + ("data: [DONE]\n\n" if done else "")).encode()


def speaks_chat(number: int, body: Any) -> bytes:
    """Streams `answer 1`, `answer 2` …; the gateway asks nothing else of it."""

    def chunk(**choice: Any) -> Any:
        return {"id": f"c-{number}", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [{"index": 0, "finish_reason": None, **choice}]}  # fmt: skip

    usage = {"prompt_tokens": len(body["messages"]), "completion_tokens": 2, "total_tokens": 9}
    return stream(
        chunk(delta={"role": "assistant"}), chunk(delta={"content": "answer "}),
        chunk(delta={"content": str(number)}), chunk(delta={}, finish_reason="stop"),
        {**chunk(delta={}), "choices": [], "usage": usage}, done=True,
    )  # fmt: skip


def message(text: str, number: int = 0) -> Any:
    """An item of an answer."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": f"msg_up_{number}", "status": "completed", "role": "assistant",
            "content": [part]}  # fmt: skip


def response(number: int, *items: Any, status: str = "completed") -> Any:
    """An endpoint's own response object."""
    usage = {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14,
             "input_tokens_details": {"cached_tokens": 0},
             "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
    return {"id": f"resp_up_{number}", "object": "response", "created_at": 5, "model": "m",
            "status": status, "store": True, "previous_response_id": None, "tools": [],
            "parallel_tool_calls": True, "tool_choice": "auto", "output": list(items),
            "usage": usage, "x_own": 12345678901234567890}  # fmt: skip


def speaks_responses(number: int, body: Any) -> bytes:
    """Answers `answer 1`, `answer 2` …, streamed where it is asked to."""
    return tells(number, body, response(number, message(f"answer {number}", number)))


def tells(number: int, body: Any, done: Any) -> bytes:
    """This response, streamed where it is asked to."""
    if not body.get("stream"):
        return whole(done)
    begun = {**done, "status": "in_progress", "output": []}
    events = [{"type": "response.created", "response": begun},
              {"type": "response.in_progress", "response": begun}]  # fmt: skip
    for at, item in enumerate(done["output"]):
        events.append({"type": "response.output_text.delta", "output_index": at, "delta": "piece"})
        events.append({"type": "response.output_item.done", "output_index": at, "item": item})
    events.append({"type": f"response.{done['status']}", "response": done})
    return stream(*[{**event, "sequence_number": at} for at, event in enumerate(events)])
