"""An outside provider that stands in for the real ones: it wants the key shown as its kind does, at
the paths that its kind has, and remembers what it was asked."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

from modelyard.domain.providers.kinds import KINDS


class Call(NamedTuple):
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any

    @property
    def key(self) -> str:
        """The key that was shown, however."""
        shown = self.headers.get("authorization", "").removeprefix("Bearer ")
        return shown or self.headers.get("x-api-key", "") or self.headers.get("api-key", "")


Answer = tuple[int, dict[str, str], Any]
_HEADER = {"bearer": "authorization", "x-api-key": "x-api-key", "api-key": "api-key"}


class StandIn:
    """A server in a thread of its own. `keys` are those it accepts; `models` what it lists;
    `answers`, if set, decides instead."""

    def __init__(self, kind: str = "openai", base: str | None = None, *keys: str) -> None:
        self.kind = KINDS[kind]
        self.base = self.kind.base if base is None else base
        self.keys = set(keys)
        self.models: list[str] | None = ["m"]
        self.answers: Callable[[Call], Answer | None] = lambda _: None
        self.calls: list[Call] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.origin = ""

    def __enter__(self) -> Self:
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self.origin = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """What a document says."""
        return self.origin + self.base

    async def _start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                call = await _read(reader)
                self.calls.append(call)
                await _write(writer, *(self.answers(call) or self._answer(call)))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    # --- what a provider says ----------------------------------------------------------------

    def _answer(self, call: Call) -> Answer:
        if self.keys and (_HEADER[self.kind.auth] not in call.headers or call.key not in self.keys):
            error = {"message": f"Incorrect API key provided: {call.key}", "type": "auth"}
            return 401, {}, {"error": error}
        path = call.target.partition("?")[0]
        if call.method == "GET" and path.endswith("/models") and self.models is not None:
            return 200, {}, {"object": "list", "data": [{"id": one} for one in self.models]}
        if call.method == "GET" and path == f"{self.base}/key":
            return 200, {}, {"data": {"label": "a key"}}
        if call.method == "POST" and path.endswith("/messages"):
            return 200, {}, {"type": "message", "content": [{"type": "text", "text": "hello"}]}
        if call.method == "POST" and path.endswith("/chat/completions"):
            return 200, {}, _completion(call.body)
        return 404, {}, {"error": {"message": "nothing here"}}


def _completion(question: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    return {"id": "c-1", "object": "chat.completion", "created": 1, "model": question["model"],
            "choices": [choice], "usage": usage}  # fmt: skip


async def _read(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n")
    line, *fields = head.split("\r\n")
    headers: dict[str, str] = {}
    for field in fields:
        name, _, value = field.partition(":")
        assert name.lower() not in headers, f"{name} is sent twice"
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = line.split(" ")
    is_json = headers.get("content-type", "").startswith("application/json")
    return Call(method, target, headers, json.loads(body) if body and is_json else body or None)


async def _write(
    writer: asyncio.StreamWriter, status: int, headers: dict[str, str], value: Any
) -> None:
    """A JSON value, or text and bytes as they are; status 0 says nothing for ever."""
    if not status:
        await asyncio.Event().wait()
    text = value if isinstance(value, str | bytes) else json.dumps(value)
    body = text if isinstance(text, bytes) else text.encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {text}" for name, text in fields.items())]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()


@contextlib.contextmanager
def stand_in(kind: str = "openai", base: str | None = None, *keys: str) -> Iterator[StandIn]:
    """A provider for the time of a block."""
    with StandIn(kind, base, *keys) as one:
        yield one
