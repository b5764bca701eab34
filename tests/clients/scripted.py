"""A scripted model behind the gateway: an endpoint of the chat dialect that plays a coding agent.

It calls the client's own tool for shell commands once, with a command that writes a file, and after
the tool's result it says that it is done. A client has finished its task when the file is there and
it has shown the last words, so that both directions of the conversation must have been right.
Editors that ask for a continuation or for what is missing in the middle get `MIDDLE`.
"""

import asyncio
import json
import re
from typing import Any, NamedTuple

SHELLS = ("Bash", "exec_command", "shell", "bash", "run_command", "write_file")
"""What agents call their tool for commands."""
LAST_WORDS = "The file is written and the work is finished."
MIDDLE = "return left + right"
_GENERATING = ("/v1/completions", "/v1/fim/completions")


class Asked(NamedTuple):
    """One request as it came."""

    path: str
    body: dict[str, Any]


class ScriptedModel:
    """Serves chat completions, completions and `/v1/fim/completions`. `asked` are all requests;
    `last_words` is what it says when it has no tool to call, or has called it."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.last_words = LAST_WORDS
        self.asked: list[Asked] = []
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen; the base URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 24)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        """Listen no more, and hang up."""
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):  # the platform looks whether it is there
                    await _whole(writer, {"object": "list", "data": [{"id": "scripted"}]})
                    continue
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                await self._answer(Asked(head.split(b" ")[1].decode(), body), writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, one: Asked, writer: asyncio.StreamWriter) -> None:
        self.asked.append(one)
        if one.path in _GENERATING:
            await _continue(writer, one)
        else:
            await self._chat(one.body, writer)

    async def _chat(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        message = self._next(body)
        finish = "tool_calls" if "tool_calls" in message else "stop"
        if body.get("stream"):
            await _stream(writer, message, finish)
        else:
            choice = {"index": 0, "message": message, "finish_reason": finish}
            await _whole(writer, {**_COMMON, "object": "chat.completion", "choices": [choice],
                                  "usage": _USAGE})  # fmt: skip

    def _next(self, body: dict[str, Any]) -> dict[str, Any]:
        """The next turn: a call as long as no tool has answered, then the last words."""
        tool = _shell(body)
        said = body["messages"]
        if tool is None or any(message["role"] == "tool" for message in said):
            return {"role": "assistant", "content": self.last_words}
        function = {"name": tool["name"], "arguments": json.dumps(self._arguments(tool))}
        call = {"id": "call_0001", "type": "function", "function": function}
        return {"role": "assistant", "content": "I write it.", "tool_calls": [call]}

    def _arguments(self, tool: dict[str, Any]) -> dict[str, Any]:
        """The command under the name that the tool's schema gives it."""
        schema = tool["parameters"]["properties"]
        name = next(name for name in ("command", "cmd") if name in schema)
        listed = schema[name].get("type") == "array"
        arguments: dict[str, Any] = {
            name: ["bash", "-lc", self.command] if listed else self.command
        }
        if "description" in tool["parameters"].get("required", ()):
            arguments["description"] = "Write the file"
        return arguments


_WORD = re.compile(r"\S+\s*")
_COMMON = {"id": "chatcmpl-scripted", "created": 1, "model": "scripted"}
_USAGE = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}


def _shell(body: dict[str, Any]) -> dict[str, Any] | None:
    tools = [tool["function"] for tool in body.get("tools") or () if tool["type"] == "function"]
    found = {tool["name"]: tool for tool in tools}
    return next((found[name] for name in SHELLS if name in found), None)


async def _stream(writer: asyncio.StreamWriter, message: dict[str, Any], finish: str) -> None:
    choices = [{"delta": delta, "finish_reason": None} for delta in _deltas(message)]
    await _events(
        writer, "chat.completion.chunk", [*choices, {"delta": {}, "finish_reason": finish}]
    )


async def _continue(writer: asyncio.StreamWriter, one: Asked) -> None:
    """What is missing between a prompt and its `suffix`; in pieces if it is asked so."""
    fim = one.path != "/v1/completions"  # answers like chat, as its inventor's API does
    kind = "chat.completion.chunk" if fim else "text_completion"
    pieces = _WORD.findall(MIDDLE) if one.body.get("stream") else [MIDDLE]
    choices: list[dict[str, Any]] = [
        {"delta": {"content": piece}, "finish_reason": None} if fim
        else {"text": piece, "logprobs": None, "finish_reason": None}
        for piece in pieces
    ]  # fmt: skip
    choices[-1]["finish_reason"] = "stop"
    if one.body.get("stream"):
        await _events(writer, kind, choices)
    else:
        await _whole(writer, {**_COMMON, "object": kind, "choices": [{"index": 0, **choices[0]}],
                              "usage": _USAGE})  # fmt: skip


async def _events(writer: asyncio.StreamWriter, kind: str, choices: list[dict[str, Any]]) -> None:
    """A stream: each choice in a chunk of its own, then the usage."""
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for choice in choices:
        _event(writer, {"object": kind, "choices": [{"index": 0, **choice}]})
        await writer.drain()
    _event(writer, {"object": kind, "choices": [], "usage": _USAGE})
    _chunk(writer, b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The role, the text word by word, and each call: its name first, then its arguments in two."""
    words = [{"content": word} for word in _WORD.findall(message["content"])]
    deltas = [{"role": "assistant", "content": ""}, *words]
    for index, call in enumerate(message.get("tool_calls", ())):
        text, half = call["function"]["arguments"], len(call["function"]["arguments"]) // 2
        begun = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        deltas.append({"tool_calls": [begun]})
        for piece in (text[:half], text[half:]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    return deltas


def _event(writer: asyncio.StreamWriter, said: dict[str, Any]) -> None:
    _chunk(writer, b"data: " + json.dumps({**_COMMON, **said}).encode() + b"\n\n")


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


async def _whole(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    await writer.drain()
