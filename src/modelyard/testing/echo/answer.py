"""One completion on its way to the client."""

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from modelyard.testing.echo.behaviour import Behaviour
from modelyard.testing.echo.script import Script, write
from modelyard.testing.echo.wire import Wire, error

_LATE_FAULTS = frozenset({"stall", "truncate", "garbage", "error_event", "crash"})


class Answer:
    """Streamed or whole, it says the same and counts the same."""

    def __init__(
        self, *, number: int, chat: bool, question: Mapping[str, Any], prompt_tokens: int,
        cached_tokens: int | None, behaviour: Behaviour, wire: Wire,
    ) -> None:  # fmt: skip
        self._number = number
        self._chat = chat
        self._question = question
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = cached_tokens
        self._behaviour = behaviour
        self._wire = wire
        self._stream = bool(question.get("stream"))
        count = int(question.get("n") or 1)
        self._scripts = [write(question, behaviour, index) for index in range(count)]

    async def run(self) -> bool:
        """Whether the connection may be used again."""
        await asyncio.sleep(self._behaviour.first_token_s)
        if self._stream:
            await self._begin()
        late = self._behaviour.fault in _LATE_FAULTS
        for number in range(max(map(len, self._scripts))):
            if late and number == self._behaviour.fault_after_tokens:
                return await self._fail()
            if self._stream:
                await self._say(number)
            if self._behaviour.token_interval_s:
                await asyncio.sleep(self._behaviour.token_interval_s)
        if self._stream:
            await self._finish()
        else:
            choices = [self._whole(index, script) for index, script in enumerate(self._scripts)]
            await self._wire.answer(
                200, {**self._common(), "choices": choices, "usage": self._usage()}
            )
        return True

    async def _fail(self) -> bool:
        fault = self._behaviour.fault
        if fault == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "stall":
            await asyncio.sleep(3600)
        if fault == "garbage":
            await self._wire.piece(b"data: {not json\n\n")
        if fault == "error_event":
            said = error("the engine gave up", "server_error")
            said["error"]["status"] = self._behaviour.status
            await self._wire.event(said)
        return False

    # --- streamed ---------------------------------------------------------------------------

    async def _begin(self) -> None:
        await self._wire.begin()
        if self._chat:
            for index, script in enumerate(self._scripts):
                content = None if script.tool else ""
                await self._chunk(index, {"role": "assistant", "content": content})

    async def _say(self, number: int) -> None:
        """The next token of every choice that is not at its end."""
        for index, script in enumerate(self._scripts):
            if number < len(script):
                await self._token(index, script, number)

    async def _token(self, index: int, script: Script, number: int) -> None:
        at = number - len(script.reasoning)
        if at < 0:
            await self._chunk(index, {"reasoning_content": script.reasoning[number]})
        elif not script.tool:
            await self._chunk(index, {"content": script.pieces[at]})
        else:
            if at == 0:
                call = _call(script, self._call_id(index), "")
                await self._chunk(index, {"tool_calls": [{"index": 0, **call}]})
            piece = {"index": 0, "function": {"arguments": script.pieces[at]}}
            await self._chunk(index, {"tool_calls": [piece]})

    async def _finish(self) -> None:
        for index, script in enumerate(self._scripts):
            await self._chunk(index, {}, script.finish_reason)
        if (self._question.get("stream_options") or {}).get("include_usage"):
            await self._wire.event({**self._common(), "choices": [], "usage": self._usage()})
        await self._wire.end()

    async def _chunk(
        self, index: int, delta: Mapping[str, Any], finish_reason: str | None = None
    ) -> None:
        said = {"delta": delta} if self._chat else {"text": delta.get("content", "")}
        choice = {"index": index, **said, "logprobs": None, "finish_reason": finish_reason}
        await self._wire.event({**self._common(), "choices": [choice]})

    # --- whole ------------------------------------------------------------------------------

    def _whole(self, index: int, script: Script) -> dict[str, Any]:
        said = {"message": self._message(index, script)} if self._chat else {"text": _text(script)}
        return {"index": index, **said, "logprobs": None, "finish_reason": script.finish_reason}

    def _message(self, index: int, script: Script) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": _text(script)}
        if script.reasoning:
            message["reasoning_content"] = "".join(script.reasoning)
        if script.tool and script.pieces:
            call = _call(script, self._call_id(index), "".join(script.pieces))
            message["tool_calls"] = [call]
        return message

    def _call_id(self, index: int) -> str:
        return f"call-{self._number}-{index}"

    def _common(self) -> dict[str, Any]:
        kind = "chat.completion" if self._chat else "text_completion"
        return {
            "id": f"echo-{self._number}",
            "object": f"{kind}.chunk" if self._chat and self._stream else kind,
            "created": int(time.time()),
            "model": self._question.get("model", "echo"),
        }

    def _usage(self) -> dict[str, Any]:
        completion = sum(map(len, self._scripts))
        usage: dict[str, Any] = {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self._prompt_tokens + completion,
        }
        if self._cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self._cached_tokens}
        if reasoning := sum(len(script.reasoning) for script in self._scripts):
            usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
        return usage


def _text(script: Script) -> str | None:
    return None if script.tool else "".join(script.pieces)


def _call(script: Script, call_id: str, arguments: str) -> dict[str, Any]:
    function = {"name": script.tool, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}
