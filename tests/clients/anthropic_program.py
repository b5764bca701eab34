"""What one version of Anthropic's SDK gets of a gateway; run by the SDK's own Python.

`anthropic_program.py sync|async` prints one JSON object, for the test to judge. The services are
those of `openai_program.py`.
"""

import json
import os
import sys
from typing import Any

import anthropic
from ways import Way

HERE: dict[str, Any] = {
    "base_url": os.environ["GATEWAY_URL"],
    "api_key": os.environ["MODELYARD_API_KEY"],
}
TEXT = "one two three"
SAID: list[Any] = [{"role": "user", "content": TEXT}]
WORDS = {"type": "object", "properties": {"words": {"type": "string"}}, "required": ["words"]}
FIND: Any = {"name": "find", "input_schema": WORDS}
MUST = {"tools": [FIND], "tool_choice": {"type": "any"}}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
THINKING = {"echo": {"reasoning_tokens": 2}}
BROKEN = {"echo": {"fault": "error_event", "fault_after_tokens": 2, "token_interval_s": 0.05}}
BUSY = {"echo": {"fault": "error", "status": 429}}


def messages(way: Way, client: Any) -> dict[str, Any]:
    def ask(model: str = "echo", said: list[Any] = SAID, **more: Any) -> Any:
        return client.messages.create(model=model, max_tokens=50, messages=said, **more)

    whole, (call,) = way(ask()), way(ask(**MUST)).content
    events = way.all(ask(stream=True))
    pieces = [event.delta.partial_json for event in way.all(ask(stream=True, **MUST))
              if event.type == "content_block_delta"]  # fmt: skip
    found = {"type": "tool_result", "tool_use_id": call.id, "content": "found it"}
    result = [*SAID, {"role": "assistant", "content": [call.model_dump(exclude_none=True)]},
              {"role": "user", "content": [found]}]  # fmt: skip
    thoughts = [event.delta.type for event in way.all(ask(stream=True, extra_body=THINKING))
                if event.type == "content_block_delta"]  # fmt: skip
    picture = [{"role": "user", "content": [{"type": "image", "source": PIXEL}]}]
    marked = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    beta = client.beta.messages.create(
        model="echo", max_tokens=50, messages=SAID, betas=["context-management-2025-06-27"]
    )
    return {
        "text": whole.content[0].text,
        "streamed": "".join(e.delta.text for e in events if e.type == "content_block_delta"),
        "ended": [events[0].type, events[-1].type],
        "usage": whole.usage.input_tokens > 0 and whole.usage.output_tokens > 0,
        "call": [call.name, call.input],
        "streamed_call": json.loads("".join(pieces)),
        "result": way(ask(said=result, tools=[FIND])).content[0].text,
        "thinking": [block.type for block in way(ask(extra_body=THINKING)).content],
        "streamed_thinking": sorted(set(thoughts)),
        "image": way(ask("support", picture)).content[0].text,
        "system": way(ask(system=marked)).content[0].text,
        "beta": way(beta).content[0].text,
        "helped": _helped(way, client),
        "count": way(client.messages.count_tokens(model="echo", messages=SAID)).input_tokens > 0,
        "listed": "echo" in [model.id for model in way.all(client.models.list())],
        "model": way(client.models.retrieve("echo")).id,
    }


def _helped(way: Way, client: Any) -> str:
    """By `messages.stream`, which puts the message together."""

    async def later() -> Any:
        async with client.messages.stream(model="echo", max_tokens=50, messages=SAID) as stream:
            return await stream.get_final_message()

    if way.is_async:
        return way(later()).content[0].text
    with client.messages.stream(model="echo", max_tokens=50, messages=SAID) as stream:
        return stream.get_final_message().content[0].text


def errors(way: Way, client: Any) -> dict[str, Any]:
    def ask(asked: Any = client, model: str = "echo", said: Any = SAID, **more: Any) -> Any:
        return asked.messages.create(model=model, max_tokens=50, messages=said, **more)

    stranger = client.with_options(api_key="my_no_key")
    told = {
        "unknown": way.refusal(lambda: ask(model="nobody")),
        "wrong": way.refusal(lambda: ask(said="words")),
        "stranger": way.refusal(lambda: ask(stranger)),
        "busy": way.refusal(lambda: ask(extra_body=BUSY)),
        "broken": way.refusal(lambda: ask(stream=True, extra_body=BROKEN)),
    }
    return {name: [type(error).__name__, error.body["error"]["type"]]
            for name, error in told.items()}  # fmt: skip


def retries(way: Way, client: Any) -> dict[str, Any]:
    def ask(asked: Any, model: str, **more: Any) -> Any:
        return asked.messages.create(model=model, max_tokens=50, messages=SAID, **more)

    patient = client.with_options(max_retries=4)
    slow = {"echo": {"tokens": 100, "token_interval_s": 0.1}}
    with anthropic.Anthropic(**HERE) as other:
        answer, waited = way.patiently(
            lambda: ask(other, "narrow", stream=True, extra_body=slow),
            lambda: ask(patient, "narrow"),
        )
    never = way.refusal(lambda: ask(patient, "never"))
    return {
        "never": [type(never).__name__, never.body["error"]["type"]],
        "narrow": answer.content[0].text,
        "waited": waited,
    }


def main(name: str) -> None:
    way = Way(name, anthropic.AnthropicError)
    kind = anthropic.AsyncAnthropic if way.is_async else anthropic.Anthropic
    client = kind(**HERE, max_retries=0)
    found = {part.__name__: part(way, client) for part in (messages, errors, retries)}
    way.close(client)
    print(json.dumps({"version": anthropic.__version__, **found}))


if __name__ == "__main__":
    main(sys.argv[1])
