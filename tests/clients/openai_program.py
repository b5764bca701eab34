"""What one version of OpenAI's SDK gets of a gateway, on every route; run by the SDK's own Python.

`openai_program.py sync|async` prints one JSON object, for the test to judge. Services: `echo`;
`support`, the scripted model; `outside`, a provider of all that is passed on; `never`, whose
requests never fit; `narrow`, with one place.
"""

import json
import os
import sys
from typing import Any

import openai
from ways import Way

HERE: dict[str, Any] = {
    "base_url": f"{os.environ['GATEWAY_URL']}/v1",
    "api_key": os.environ["MODELYARD_API_KEY"],
}
TEXT = "one two three"
SAID: list[Any] = [{"role": "user", "content": TEXT}]
PARAMETERS = {"type": "object", "properties": {"words": {"type": "string"}}, "required": ["words"]}
FIND: Any = {"type": "function", "function": {"name": "find", "parameters": PARAMETERS}}
FLAT: Any = {"type": "function", "name": "find", "parameters": PARAMETERS, "strict": False}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
THINKING = {"echo": {"reasoning_tokens": 2}}
BROKEN = {"echo": {"fault": "error_event", "fault_after_tokens": 2, "token_interval_s": 0.05}}
BUSY = {"echo": {"fault": "error", "status": 429}}


def chat(way: Way, client: Any) -> dict[str, Any]:
    ask = client.chat.completions.create
    whole = way(ask(model="echo", messages=SAID))
    chunks = way.all(ask(model="echo", messages=SAID, stream=True,
                         stream_options={"include_usage": True}))  # fmt: skip
    (call,) = way(ask(model="echo", messages=SAID, tools=[FIND], tool_choice="required")).choices[
        0].message.tool_calls  # fmt: skip
    pieces = [
        piece
        for chunk in way.all(ask(model="echo", messages=SAID, tools=[FIND], stream=True,
                                 tool_choice="required"))
        for piece in chunk.choices[0].delta.tool_calls or ()
    ]  # fmt: skip
    result = [*SAID, {"role": "assistant", "tool_calls": [call.model_dump()]},
              {"role": "tool", "tool_call_id": call.id, "content": "found it"}]  # fmt: skip
    thought = way(ask(model="echo", messages=SAID, extra_body=THINKING)).choices[0].message
    picture = [{"type": "image_url", "image_url": {"url": PIXEL}}]
    return {
        "text": whole.choices[0].message.content,
        "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]),
        "same_usage": chunks[-1].usage.total_tokens == whole.usage.total_tokens > 0,
        "call": [call.function.name, json.loads(call.function.arguments)],
        "streamed_call": [pieces[0].function.name,
                          json.loads("".join(piece.function.arguments for piece in pieces))],
        "result": way(ask(model="echo", messages=result, tools=[FIND])).choices[0].message.content,
        "reasoning": thought.reasoning_content,
        "image": way(ask(model="support", messages=[{"role": "user", "content": picture}])).choices[
            0].message.content,
    }  # fmt: skip


def responses(way: Way, client: Any) -> dict[str, Any]:
    ask = client.responses.create
    events = way.all(ask(model="echo", input=TEXT, stream=True))
    (call,) = way(ask(model="echo", input=TEXT, tools=[FLAT], tool_choice="required")).output
    called = [event for event in
              way.all(ask(model="echo", input=TEXT, tools=[FLAT], tool_choice="required",
                          stream=True))
              if event.type == "response.function_call_arguments.done"]  # fmt: skip
    found = {"type": "function_call_output", "call_id": call.call_id, "output": "found it"}
    result = [*SAID, call.model_dump(exclude_none=True), found]
    thought = way(ask(model="echo", input=TEXT, extra_body=THINKING))
    picture = [{"role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]}]
    return {
        "text": way(ask(model="echo", input=TEXT)).output_text,
        "streamed": "".join(e.delta for e in events if e.type == "response.output_text.delta"),
        "ended": [events[0].type, events[-1].type],
        "call": [call.name, json.loads(call.arguments)],
        "streamed_call": [json.loads(event.arguments) for event in called],
        "result": way(ask(model="echo", input=result, tools=[FLAT])).output_text,
        "reasoning": [item.type for item in thought.output],
        "image": way(ask(model="support", input=picture)).output_text,
        "broken": way.all(ask(model="echo", input=TEXT, stream=True, extra_body=BROKEN))[-1].type,
    }


def others(way: Way, client: Any) -> dict[str, Any]:
    continued = client.completions.create
    vectors = way(client.embeddings.create(model="echo", input=["one", "two"])).data
    heard = way(client.audio.transcriptions.create(model="outside", file=("a.wav", b"RIFF")))
    picture = way(client.images.generate(model="outside", prompt="a cat"))
    spoken = way(client.audio.speech.create(model="outside", input="hi", voice="alloy"))
    judged = way(client.moderations.create(model="outside", input="hi"))
    return {
        "completion": way(continued(model="echo", prompt=TEXT)).choices[0].text,
        "streamed_completion": "".join(
            chunk.choices[0].text
            for chunk in way.all(continued(model="echo", prompt=TEXT, stream=True))
        ),
        "embeddings": len({len(one.embedding) for one in vectors}) == 1 and len(vectors) == 2,
        "models": sorted(model.id for model in way.all(client.models.list())),
        "model": way(client.models.retrieve("echo")).id,
        "transcription": heard.text,
        "image": picture.data[0].b64_json,
        "speech": spoken.content.decode(),
        "moderation": judged.results[0].flagged,
    }


def errors(way: Way, client: Any) -> dict[str, Any]:
    ask = client.chat.completions.create
    stranger = client.with_options(api_key="my_no_key")
    told = {
        "unknown": way.refusal(lambda: ask(model="nobody", messages=SAID)),
        "wrong": way.refusal(lambda: ask(model="echo", messages=SAID, max_tokens="many")),
        "stranger": way.refusal(lambda: way.all(stranger.models.list())),
        "busy": way.refusal(lambda: ask(model="echo", messages=SAID, extra_body=BUSY)),
        "broken": way.refusal(
            lambda: ask(model="echo", messages=SAID, stream=True, extra_body=BROKEN)
        ),
        "response": way.refusal(lambda: client.responses.create(model="nobody", input=TEXT)),
    }
    return {name: [type(error).__name__, error.code] for name, error in told.items()}


def retries(way: Way, client: Any) -> dict[str, Any]:
    ask = client.with_options(max_retries=4).chat.completions.create
    slow = {"echo": {"tokens": 100, "token_interval_s": 0.1}}
    with openai.OpenAI(**HERE) as other:
        answer, waited = way.patiently(
            lambda: other.chat.completions.create(
                model="narrow", messages=SAID, stream=True, extra_body=slow
            ),
            lambda: ask(model="narrow", messages=SAID),
        )
    never = way.refusal(lambda: ask(model="never", messages=SAID))
    return {
        "never": [type(never).__name__, never.code],
        "narrow": answer.choices[0].message.content,
        "waited": waited,
    }


def main(name: str) -> None:
    way = Way(name, openai.OpenAIError)
    kind = openai.AsyncOpenAI if way.is_async else openai.OpenAI
    client = kind(**HERE, max_retries=0)
    parts = (chat, responses, others, errors, retries)
    found = {part.__name__: part(way, client) for part in parts}
    way.close(client)
    print(json.dumps({"version": openai.__version__, **found}))


if __name__ == "__main__":
    main(sys.argv[1])
