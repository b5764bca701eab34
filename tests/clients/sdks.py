"""What one Python environment's SDKs do with a gateway; run by that environment's own Python.

Prints one JSON object: what each SDK got, for the test to judge.
"""

import json
import os
import sys
from typing import Any

import anthropic
import openai
from langchain_openai import ChatOpenAI

BASE = os.environ["GATEWAY_URL"]
KEY = os.environ["MODELYARD_API_KEY"]
QUESTION = "one two three"
FUNCTION = {
    "name": "find", "description": "Find it",
    "parameters": {"type": "object", "properties": {"words": {"type": "string"}},
                   "required": ["words"]},
}  # fmt: skip


def find(words: str) -> str:
    """Find it."""
    return words


def with_openai() -> dict[str, Any]:
    with openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0) as client:
        said: list[Any] = [{"role": "user", "content": QUESTION}]
        whole = client.chat.completions.create(model="echo", messages=said)
        stream = client.chat.completions.create(
            model="echo", messages=said, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        response = client.responses.create(model="echo", input=QUESTION)
        events = list(client.responses.create(model="echo", input=QUESTION, stream=True))
        called = client.chat.completions.create(
            model="echo", messages=said, tool_choice="required",
            tools=[{"type": "function", "function": FUNCTION}],
        )  # fmt: skip
        try:
            client.chat.completions.create(model="nope", messages=said)
        except openai.NotFoundError as error:
            missing = error.code
        return {
            "version": openai.__version__,
            "whole": whole.choices[0].message.content,
            "streamed": "".join(c.choices[0].delta.content or "" for c in chunks if c.choices),
            "stream_usage": chunks[-1].usage.total_tokens,
            "usage": whole.usage.total_tokens,
            "response": response.output_text,
            "last_event": events[-1].type,
            "called": called.choices[0].message.tool_calls[0].function.name,
            "missing": missing,
            "models": [model.id for model in client.models.list()],
        }


def with_langchain() -> dict[str, Any]:
    model = ChatOpenAI(model="echo", base_url=f"{BASE}/v1", api_key=KEY)
    chunks = list(model.stream(QUESTION, stream_usage=True))
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    called = model.bind_tools([find], tool_choice="any").invoke(QUESTION)
    return {
        "whole": model.invoke(QUESTION).content,
        "streamed": total.content,
        "stream_tokens": total.usage_metadata["total_tokens"],
        "called": called.tool_calls[0]["name"],
        "responses": ChatOpenAI(
            model="echo", base_url=f"{BASE}/v1", api_key=KEY, use_responses_api=True
        ).invoke(QUESTION).text,
    }  # fmt: skip


def with_anthropic() -> dict[str, Any]:
    with anthropic.Anthropic(base_url=BASE, api_key=KEY, max_retries=0) as client:
        said: list[Any] = [{"role": "user", "content": QUESTION}]
        whole = client.messages.create(model="echo", max_tokens=50, messages=said)
        with client.messages.stream(model="echo", max_tokens=50, messages=said) as stream:
            text = "".join(stream.text_stream)
        return {
            "version": anthropic.__version__,
            "whole": whole.content[0].text,
            "streamed": text,
            "models": [model.id for model in client.models.list()],
        }


SDKS = {"openai": with_openai, "langchain": with_langchain, "anthropic": with_anthropic}

if __name__ == "__main__":
    print(json.dumps(SDKS[sys.argv[1]]()))
