"""The shapes of an answer and of a piece of one, as engines write them.

Answers and chunks are alike but for `message` and `delta`, so both are read as one. Nothing here is
stricter than it must be: engines leave members out, add others, and write null where they please.

Source: `chat_completion.py` and `chat_completion_chunk.py` of OpenAI's official SDK; vLLM, SGLang,
llama.cpp, OpenRouter and Mistral for what is not there.
"""

from typing import Any

import msgspec

from modelyard.errors import Invalid


class FunctionPiece(msgspec.Struct):
    """Of a call of a function; arguments are text, or the object itself."""

    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class CustomPiece(msgspec.Struct):
    """Of a call of a custom tool."""

    name: str | None = None
    input: str | None = None


class CallDelta(msgspec.Struct):
    """A call or a piece of one."""

    index: int | None = None
    id: str | int | None = None
    function: FunctionPiece | None = None
    custom: CustomPiece | None = None


class Said(msgspec.Struct):
    """A message or a piece of one."""

    content: str | list[msgspec.Raw] | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: msgspec.Raw = msgspec.Raw()
    refusal: str | None = None
    tool_calls: list[CallDelta] | None = None
    function_call: FunctionPiece | None = None
    audio: msgspec.Raw = msgspec.Raw()
    images: list[msgspec.Raw] | None = None


class Choice(msgspec.Struct):
    """One of the answers; `stop_reason` is vLLM's and `matched_stop` SGLang's."""

    index: int | None = 0
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    matched_stop: Any = None


class Chunk(msgspec.Struct):
    """An answer or a piece of one."""

    id: str | int | None = None
    model: str | None = None
    created: float | None = None
    object: str | None = None
    choices: list[Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    message: Any = None
    service_tier: str | None = None

    def failure(self) -> msgspec.Raw | None:
        """The error that it is; older vLLM and SGLang write one without an envelope."""
        if bytes(self.error) not in (b"", b"null"):
            return self.error
        if self.object == "error":
            return msgspec.Raw(msgspec.json.encode({"message": self.message}))
        return None

    def first(self) -> Choice | None:
        """The one answer that there is a word for elsewhere."""
        return next((choice for choice in self.choices or () if not choice.index), None)


_decoder = msgspec.json.Decoder(Chunk)


def read_chunk(data: bytes) -> Chunk:
    """Raises Invalid when it is no answer and no piece of one."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the upstream sent what is no chat completion: {error}") from None
