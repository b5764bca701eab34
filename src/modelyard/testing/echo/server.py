"""The echo engine's server: enough HTTP/1.1 for a gateway and for tests."""

import asyncio
import math
import time
from typing import Any

import msgspec

from modelyard.errors import Invalid
from modelyard.testing.echo import behaviour as behaviours
from modelyard.testing.echo import embeddings
from modelyard.testing.echo.answer import Answer
from modelyard.testing.echo.behaviour import Behaviour
from modelyard.testing.echo.prefill import Prefill
from modelyard.testing.echo.script import prompt_words
from modelyard.testing.echo.wire import Wire, error

COMPLETIONS = ("/v1/chat/completions", "/v1/completions")


class Reader(asyncio.StreamReader):
    """Tells at once when its connection has ended, without being asked again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        """The client closed its side."""
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        """The connection broke."""
        super().set_exception(exc)
        self.gone.set()


class EchoServer:
    """Speaks OpenAI on loopback. `calls`, `active` and `cancelled` tell what it saw."""

    def __init__(self, behaviour: Behaviour | None = None, api_key: str = "") -> None:
        self.behaviour = behaviour or Behaviour()
        self.prefill = Prefill()
        self.calls: list[dict[str, Any]] = []
        self.active = 0
        self.cancelled_at_s: list[float] = []
        """When each answer was given up because its client had gone away; monotonic."""
        self._api_key = api_key
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._ready_at_s = time.monotonic() + self.behaviour.start_s
        self._faults_asked = 0
        self._blocks_in_use = 0

    @property
    def cancelled(self) -> int:
        """Answers whose client went away before their end."""
        return len(self.cancelled_at_s)

    async def start(self, port: int = 0) -> str:
        """Listen; the base URL up to `/v1`."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: asyncio.StreamReaderProtocol(Reader(), self._accept), "127.0.0.1", port
        )
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert isinstance(reader, Reader)
        self._connections.add(task)
        try:
            while await self._serve_one(reader, writer):
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # the client is gone
        except asyncio.CancelledError:
            return  # `stop`; asyncio would log the cancellation of a connection as an error
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve_one(self, reader: Reader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        headers = {
            name.lower(): text.strip() for name, _, text in (f.partition(":") for f in fields)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = line.split(" ")
        wire = Wire(writer)
        if path == "/health":
            ready = time.monotonic() >= self._ready_at_s
            await wire.answer(200 if ready else 503, {"status": "ok" if ready else "loading"})
        elif path == "/metrics":
            await wire.raw(200, b"text/plain; version=0.0.4", self._metrics())
        elif self._api_key and headers.get("authorization") != f"Bearer {self._api_key}":
            await wire.answer(401, error("no or bad key", "invalid_api_key"))
        elif path == "/v1/models":
            models = [{"id": "echo", "object": "model", "owned_by": "echo", "created": 0}]
            await wire.answer(200, {"object": "list", "data": models})
        elif method == "POST" and path in (*COMPLETIONS, "/v1/embeddings"):
            return await self._post(path, body, reader, writer)
        else:
            await wire.answer(404, error(f"no {path} here", "not_found"))
        return True

    def _metrics(self) -> bytes:
        """Under the names that vLLM gives them."""
        figures = {
            "num_requests_running": self.active - self.prefill.waiting,
            "num_requests_waiting": self.prefill.waiting,
            "kv_cache_usage_perc": self._cache_usage(),
            "prefix_cache_queries_total": self.prefill.asked_tokens,
            "prefix_cache_hits_total": self.prefill.cached_tokens,
        }
        lines = (
            f"# TYPE vllm:{name} {'counter' if name.endswith('_total') else 'gauge'}\n"
            f'vllm:{name}{{model_name="echo"}} {float(value)}\n'
            for name, value in figures.items()
        )
        return "".join(lines).encode()

    def _cache_usage(self) -> float:
        blocks = self.behaviour.cache_blocks
        return min(1.0, self._blocks_in_use / blocks if blocks else self.active / self._slots)

    @property
    def _slots(self) -> int:
        return max(1, self.behaviour.slots)

    # --- questions --------------------------------------------------------------------------

    async def _post(
        self, path: str, body: bytes, reader: Reader, writer: asyncio.StreamWriter
    ) -> bool:
        try:
            question = msgspec.json.decode(body, type=dict[str, Any])
            behaviour = self._behave(question)
        except (msgspec.DecodeError, Invalid) as problem:
            await Wire(writer).answer(400, error(str(problem), "invalid_request_error"))
            return True
        self.calls.append(question)
        wire = Wire(writer, behaviour)
        first = "error" if behaviour.fault == "error_first" else behaviour.fault
        if first == "refuse":
            return False
        if first == "error":
            await self._error(question, behaviour, wire)
            return True
        if path == "/v1/embeddings":
            await asyncio.sleep(behaviour.first_token_s)
            await wire.answer(200, embeddings.answer(question))
            return True
        return await self._watched(path, question, behaviour, wire, reader)

    def _behave(self, question: dict[str, Any]) -> Behaviour:
        """How this request is answered; a fault takes its turn by counting."""
        behaviour = behaviours.read(question.get("echo") or {}, self.behaviour)
        if not behaviour.fault:
            return behaviour
        before = math.floor(self._faults_asked * behaviour.fault_share)
        self._faults_asked += 1
        if math.floor(self._faults_asked * behaviour.fault_share) > before:
            return behaviour
        return msgspec.structs.replace(behaviour, fault="")

    async def _error(self, question: dict[str, Any], behaviour: Behaviour, wire: Wire) -> None:
        said = error("as told", "server_error")
        if behaviour.fault == "error_first" and question.get("stream"):
            said["error"]["status"] = behaviour.status
            await wire.begin()
            await wire.event(said)
            await wire.end()
            return
        waits = behaviour.retry_after_s and behaviour.status in (429, 503)
        headers = b"Retry-After: %d\r\n" % behaviour.retry_after_s if waits else b""
        await wire.answer(behaviour.status, said, headers)

    async def _watched(
        self, path: str, question: dict[str, Any], behaviour: Behaviour, wire: Wire, reader: Reader
    ) -> bool:
        """Answer until the end or until the client goes away, whatever comes first."""
        answer = asyncio.ensure_future(self._complete(path, question, behaviour, wire))
        gone = asyncio.ensure_future(reader.gone.wait())
        self.active += 1
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                self.cancelled_at_s.append(time.monotonic())
                return False
            return answer.result()
        finally:
            answer.cancel()
            gone.cancel()
            self.active -= 1

    async def _complete(
        self, path: str, question: dict[str, Any], behaviour: Behaviour, wire: Wire
    ) -> bool:
        number = len(self.calls)
        words = prompt_words(question)
        blocks = math.ceil(len(words) / behaviour.block_tokens)
        self._blocks_in_use += blocks
        try:
            cached = await self.prefill.run(words, behaviour)
            answer = Answer(
                number=number,
                chat=path == COMPLETIONS[0],
                question=question,
                prompt_tokens=len(words),
                cached_tokens=cached if behaviour.cache_blocks else None,
                behaviour=behaviour,
                wire=wire,
            )
            return await answer.run()
        finally:
            self._blocks_in_use -= blocks
