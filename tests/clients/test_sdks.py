"""Official SDKs, each major in its own Python, sync and async, on every route: all see the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clients.conftest import Desk, needs
from tests.clients.scripted import LAST_WORDS
from tests.platform import Platform
from tests.stand_in import Answer, Call, stand_in

pytestmark = pytest.mark.timeout(180)
HERE = Path(__file__).parent
TEXT = "one two three "
FOUND = ["find", {"words": "one two three"}]
WAYS = ("sync", "async")


@pytest.fixture(scope="module", autouse=True)
def services(running: Platform) -> Iterator[None]:
    """What the programs ask, beside `support`, the scripted model."""
    with stand_in() as provider:
        provider.answers = answer
        running.serve_echo()
        running.apply("outside", engine={"name": "openai", "urls": [provider.url]})
        limit(running, "never", tokens_per_minute=1)
        limit(running, "narrow", concurrency=1)
        yield


def answer(call: Call) -> Answer | None:
    """What a provider says on the routes that are passed on."""
    said: dict[str, Any] = {
        "/v1/images/generations": {"created": 1, "data": [{"b64_json": "aGk="}]},
        "/v1/audio/transcriptions": {"text": "hello"},
        "/v1/audio/speech": b"sound",
        "/v1/moderations": {"id": "m", "model": "m", "results": [{"flagged": True}]},
    }
    found = said.get(call.target)
    return None if found is None else (200, {}, found)


def limit(running: Platform, service: str, **bounds: int) -> None:
    """Serve an echo that is bounded."""
    spec = {"service": service, **bounds}
    document = {"apiVersion": "modelyard/v1", "kind": "Limit", "name": service, "spec": spec}
    running.serve_echo(service)
    running.client.apply(document)


def outcome(desk: Desk, program: str, environment: str, way: str) -> dict[str, Any]:
    printed = desk.run(
        ["python", str(HERE / f"{program}.py"), way], environment,
        GATEWAY_URL=desk.running.gateway_url,
    )  # fmt: skip
    assert printed.startswith('{"version"'), printed[-3000:]
    found: dict[str, Any] = json.loads(printed)
    assert found.pop("version").startswith(environment.rpartition("-")[2])
    return found


def pictures(desk: Desk) -> list[str]:
    """The pictures that came to the scripted model."""
    parts = [part for asked in desk.model.asked for part in asked.body["messages"][-1]["content"]]
    return [part["image_url"]["url"] for part in parts]


def requests(desk: Desk, service: str) -> int:
    return len(desk.running.client.requests(100, service=service))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "major", [pytest.param(one, marks=needs(f"openai-{one}", "python")) for one in (1, 2, 3)]
)
def test_openai(desk: Desk, major: int, way: str) -> None:
    before = requests(desk, "never")
    found = outcome(desk, "openai_program", f"openai-{major}", way)
    assert found["chat"] == {
        "text": TEXT, "streamed": TEXT, "same_usage": True,
        "call": FOUND, "streamed_call": FOUND, "result": "found it ",
        "reasoning": "one two ", "image": LAST_WORDS,
    }  # fmt: skip
    assert found["responses"] == {
        "text": TEXT, "streamed": TEXT, "ended": ["response.created", "response.completed"],
        "call": FOUND, "streamed_call": [FOUND[1]], "result": "found it ",
        "reasoning": ["reasoning", "message"], "image": LAST_WORDS, "broken": "response.failed",
    }  # fmt: skip
    assert {"echo", "outside", "never", "narrow"} <= set(found["others"].pop("models"))
    assert found["others"] == {
        "completion": TEXT, "streamed_completion": TEXT, "embeddings": True, "model": "echo",
        "transcription": "hello", "image": "aGk=", "speech": "sound", "moderation": True,
    }  # fmt: skip
    assert found["errors"] == {
        "unknown": ["NotFoundError", "model_not_found"],
        "wrong": ["BadRequestError", "invalid_request_error"],
        "stranger": ["AuthenticationError", "invalid_api_key"],
        "busy": ["RateLimitError", "server_error"],
        "broken": ["APIError", "upstream_stream_error"],
        "response": ["NotFoundError", "model_not_found"],
    }
    assert found["retries"] == {
        "never": ["RateLimitError", "rate_limit_exceeded"], "narrow": TEXT, "waited": True,
    }  # fmt: skip
    assert pictures(desk) == 2 * ["data:image/png;base64,iVBORw0KGgo="]
    assert requests(desk, "never") == before + 1, "`x-should-retry: false` stops it"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "major", [pytest.param(one, marks=needs(f"anthropic-{one}", "python")) for one in (1, 2)]
)
def test_anthropic(desk: Desk, major: int, way: str) -> None:
    before = requests(desk, "never")
    found = outcome(desk, "anthropic_program", f"anthropic-{major}", way)
    assert found["messages"] == {
        "text": TEXT, "streamed": TEXT, "ended": ["message_start", "message_stop"], "usage": True,
        "call": FOUND, "streamed_call": FOUND[1], "result": "found it ",
        "thinking": ["thinking", "text"],
        "streamed_thinking": ["signature_delta", "text_delta", "thinking_delta"],
        "image": LAST_WORDS, "system": TEXT, "beta": TEXT, "helped": TEXT,
        "count": True, "listed": True, "model": "echo",
    }  # fmt: skip
    assert found["errors"] == {
        "unknown": ["NotFoundError", "not_found_error"],
        "wrong": ["BadRequestError", "invalid_request_error"],
        "stranger": ["AuthenticationError", "authentication_error"],
        "busy": ["RateLimitError", "rate_limit_error"],
        "broken": ["APIStatusError", "api_error"],
    }
    assert found["retries"] == {
        "never": ["RateLimitError", "rate_limit_error"], "narrow": TEXT, "waited": True,
    }  # fmt: skip
    assert pictures(desk) == ["data:image/png;base64,iVBORw0KGgo="]
    assert requests(desk, "never") == before + 1, "`x-should-retry: false` stops it"
