"""An engine that answers with the words it was asked, at a chosen speed and with chosen faults.

For tests, benchmarks and trying things out without a model. `EchoServer` runs inside a process,
`EchoEngine` plans it as a replica, and `python -m modelyard.testing.echo` is that replica.

A request may bring `"echo": {…}` with fields of `Behaviour` for itself alone.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.errors import Invalid
from modelyard.ports.engine import LaunchSpec, ResolvedModel

FAULTS = ("", "error", "stall", "truncate", "garbage", "error_event", "crash", "refuse")


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it answers. Times in seconds."""

    tokens: int = 0
    """Words in the answer; 0: as many as the last message has."""
    first_token_s: float = 0.0
    token_interval_s: float = 0.0
    start_s: float = 0.0
    """How long loading takes, before it is healthy."""
    slots: int = 64
    fault: str = ""
    """`error` answers `status` · `stall` never goes on · `truncate` closes the connection ·
    `garbage` sends no JSON · `error_event` sends an error with `status` inside the stream ·
    `crash` kills the process · `refuse` closes without an answer. All but `error` and `refuse`
    happen after `fault_after_tokens`."""
    fault_after_tokens: int = 0
    status: int = 500


class EchoEngine:
    """`engine: {name: echo, tokens: 20, token_interval_s: 0.01}`; the model is optional."""

    def plan(self, model: ResolvedModel | None, options: Mapping[str, Any]) -> LaunchSpec:
        """See the port."""
        behaviour = _behaviour(options)
        return LaunchSpec(
            engine="echo",
            command=(sys.executable, "-m", "modelyard.testing.echo"),
            environment={
                "ECHO_BEHAVIOUR": msgspec.json.encode(behaviour).decode(),
                "ECHO_API_KEY": "{api_key}",
            },
            files={str(file.local): file.digest for file in model.files} if model else {},
            upstream_model=model.name if model else "echo",
            slots=behaviour.slots,
            memory_bytes=32 * 1024 * 1024,
            start_timeout_s=30.0 + behaviour.start_s,
        )


def _behaviour(options: Any, base: Behaviour | None = None) -> Behaviour:
    try:
        given = msgspec.to_builtins(base) if base else {}
        behaviour = msgspec.convert({**given, **options}, Behaviour)
    except (msgspec.ValidationError, TypeError) as error:
        raise Invalid(f"spec.engine: {error}", hint="see modelyard.testing.echo") from None
    if behaviour.fault not in FAULTS:
        raise Invalid(f"spec.engine.fault: {behaviour.fault!r} is none of {FAULTS}")
    return behaviour


class EchoServer:
    """Speaks OpenAI on loopback. `calls`, `active` and `cancelled` tell what it saw."""

    def __init__(self, behaviour: Behaviour | None = None, api_key: str = "") -> None:
        self.behaviour = behaviour or Behaviour()
        self._api_key = api_key
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._ready_at_s = time.monotonic() + self.behaviour.start_s
        self.calls: list[dict[str, Any]] = []
        self.active = 0
        self.cancelled = 0
        """Answers whose client went away before their end."""

    async def start(self, port: int = 0) -> str:
        """Listen; the base URL up to `/v1`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
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

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        headers = {
            name.lower(): text.strip() for name, _, text in (f.partition(":") for f in fields)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = line.split(" ")
        if path == "/health":
            ready = time.monotonic() >= self._ready_at_s
            _answer(writer, 200 if ready else 503, {"status": "ok" if ready else "loading"})
        elif path == "/metrics":
            _answer_raw(writer, 200, b"text/plain", f"echo_active {self.active}\n".encode())
        elif self._api_key and headers.get("authorization") != f"Bearer {self._api_key}":
            _answer(writer, 401, _error("no or bad key", "invalid_api_key"))
        elif path == "/v1/models":
            _answer(writer, 200, {"object": "list", "data": [{"id": "echo", "object": "model"}]})
        elif method == "POST" and path in ("/v1/chat/completions", "/v1/completions"):
            return await self._complete(path, json.loads(body), reader, writer)
        else:
            _answer(writer, 404, _error(f"no {path} here", "not_found"))
        return True

    async def _complete(
        self, path: str, question: dict[str, Any],
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
    ) -> bool:  # fmt: skip
        self.calls.append(question)
        behaviour = _behaviour(question.get("echo", {}), self.behaviour)
        if behaviour.fault == "refuse":
            return False
        if behaviour.fault == "error":
            _answer(writer, behaviour.status, _error("as told", "server_error"))
            return True
        self.active += 1
        answer = asyncio.ensure_future(_Answer(path, question, behaviour, writer).run())
        gone = asyncio.ensure_future(_closed(reader))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                self.cancelled += 1
                return False
            return answer.result()
        finally:
            answer.cancel()
            gone.cancel()
            self.active -= 1


class _Answer:
    """One completion being written."""

    def __init__(
        self, path: str, question: dict[str, Any], behaviour: Behaviour,
        writer: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        self._chat = path.endswith("/chat/completions")
        self._question = question
        self._behaviour = behaviour
        self._writer = writer
        self._prompt = _prompt(question).split()
        wanted = behaviour.tokens or max(1, len(self._prompt))
        limit = question.get("max_tokens") or question.get("max_completion_tokens") or wanted
        self._count = min(wanted, int(limit))
        self._reason = "length" if self._count < wanted else "stop"

    async def run(self) -> bool:
        """Whether the connection may be used again."""
        words = self._prompt or ["echo"]
        stream = bool(self._question.get("stream"))
        text: list[str] = []
        await asyncio.sleep(self._behaviour.first_token_s)
        if stream:
            self._begin()
        for number in range(self._count):
            if self._behaviour.fault and number == self._behaviour.fault_after_tokens:
                return await self._fail()
            word = words[number % len(words)] + " "
            text.append(word)
            if stream:
                self._event(self._chunk(word, None))
                await self._writer.drain()
            if self._behaviour.token_interval_s:
                await asyncio.sleep(self._behaviour.token_interval_s)
        if stream:
            self._finish()
        else:
            _answer(self._writer, 200, self._whole("".join(text)))
        return True

    async def _fail(self) -> bool:
        fault = self._behaviour.fault
        if fault == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "stall":
            await asyncio.sleep(3600)
        if fault == "garbage":
            self._raw(b"data: {not json\n\n")
        if fault == "error_event":
            error = _error("the engine gave up", "server_error")
            error["error"]["status"] = self._behaviour.status
            self._event(error)
        await self._writer.drain()
        return False

    def _begin(self) -> None:
        self._writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        if self._chat:
            self._event(self._chunk("", None, role="assistant"))

    def _finish(self) -> None:
        self._event(self._chunk("", self._reason))
        if (self._question.get("stream_options") or {}).get("include_usage"):
            self._event({**self._common(), "choices": [], "usage": self._usage()})
        self._raw(b"data: [DONE]\n\n")
        self._writer.write(b"0\r\n\r\n")

    def _event(self, value: dict[str, Any]) -> None:
        self._raw(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _raw(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _common(self) -> dict[str, Any]:
        kind = "chat.completion" if self._chat else "text_completion"
        chunk = ".chunk" if self._chat and self._question.get("stream") else ""
        return {
            "id": "echo-1",
            "object": kind + chunk,
            "created": int(time.time()),
            "model": self._question.get("model", "echo"),
        }

    def _chunk(self, text: str, reason: str | None, role: str = "") -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
        if self._chat:
            delta = {"role": role} if role else {}
            choice["delta"] = {**delta, **({"content": text} if text or role else {})}
        else:
            choice["text"] = text
        return {**self._common(), "choices": [choice]}

    def _whole(self, text: str) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": self._reason}
        if self._chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        return {**self._common(), "choices": [choice], "usage": self._usage()}

    def _usage(self) -> dict[str, int]:
        prompt = len(self._prompt)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._count,
            "total_tokens": prompt + self._count,
        }


def _prompt(question: Mapping[str, Any]) -> str:
    """The last message's text, or the prompt."""
    messages = question.get("messages")
    if not messages:
        return str(question.get("prompt", ""))
    content = messages[-1].get("content", "")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content)
    return str(content)


async def _closed(reader: asyncio.StreamReader) -> None:
    """Returns when the client closes its side; it sends nothing while it waits."""
    while not reader.at_eof():
        await asyncio.sleep(0.005)
        if reader.exception() is not None:
            return


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "code": code}}


def _answer(writer: asyncio.StreamWriter, status: int, value: Any) -> None:
    _answer_raw(writer, status, b"application/json", json.dumps(value).encode())


def _answer_raw(writer: asyncio.StreamWriter, status: int, kind: bytes, body: bytes) -> None:
    writer.write(
        b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (status, kind, len(body), body)
    )


async def _main(port: int) -> None:
    behaviour = msgspec.json.decode(os.environ.get("ECHO_BEHAVIOUR", "{}"), type=Behaviour)
    server = EchoServer(behaviour, os.environ.get("ECHO_API_KEY", ""))
    url = await server.start(port)
    print(f"listening {url.rsplit(':', 1)[1].removesuffix('/v1')}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_main(parser.parse_args().port))
