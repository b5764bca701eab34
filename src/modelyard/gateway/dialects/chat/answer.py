"""A whole answer, both directions.

Source: `chat_completion.py` of OpenAI's official SDK.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Answer, Refusal, Request, Text, Thinking, ToolCall
from modelyard.domain.chat.folding import folded
from modelyard.gateway.dialects.chat.finish import write_finish
from modelyard.gateway.dialects.chat.read_stream import whole
from modelyard.gateway.dialects.chat.reasoning import write_thoughts
from modelyard.gateway.dialects.chat.tools import custom_tools, unwrapped
from modelyard.gateway.dialects.chat.usage import write_usage, written_tier


def read_answer(body: bytes) -> Answer:
    """The first of its choices. Raises Invalid when it is no answer."""
    return folded(whole(body))


def write_answer(answer: Answer, request: Request) -> bytes:
    """For a client. Parts that only another dialect knows (the searches of its provider, say) are
    left out: the text says what came of them."""
    refused = any(isinstance(part, Refusal) for part in answer.parts)
    choice = {
        "index": 0,
        "message": _message(answer, request),
        "logprobs": None,
        "finish_reason": write_finish(answer.finish, refused, request.legacy_functions),
    }
    usage = {"usage": write_usage(answer.usage)} if answer.usage is not None else {}
    return msgspec.json.encode({
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created_s,
        "model": answer.model or request.model,
        "choices": [choice],
        **usage,
        **written_tier(answer.usage),
    })  # fmt: skip


def _message(answer: Answer, request: Request) -> dict[str, Any]:
    texts = [part.text for part in answer.parts if isinstance(part, Text)]
    refusals = [part.text for part in answer.parts if isinstance(part, Refusal)]
    thoughts = [part for part in answer.parts if isinstance(part, Thinking)]
    return {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
        **write_thoughts(thoughts),
        **_calls(answer, request),
    }


def _calls(answer: Answer, request: Request) -> dict[str, Any]:
    custom = custom_tools(request)
    calls = [part for part in answer.parts if isinstance(part, ToolCall)]
    if not calls:
        return {}
    if request.legacy_functions:
        return {"function_call": _function(calls[0])}
    return {"tool_calls": [_call(call, custom) for call in calls]}


def _call(call: ToolCall, custom: frozenset[str]) -> dict[str, Any]:
    """A tool that the client declared as custom is called so, whatever the endpoint knew."""
    if call.custom or call.name in custom:
        text = call.arguments if call.custom else unwrapped(call.arguments)
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": text}}
    return {"id": call.id, "type": "function", "function": _function(call)}


def _function(call: ToolCall) -> dict[str, str]:
    """Clients expect an object at least."""
    return {"name": call.name, "arguments": call.arguments or "{}"}
