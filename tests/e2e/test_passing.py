"""Sound, pictures, moderation and re-ranking by the official client, and a budget over them."""

import io
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from tests.platform import Platform, platform
from tests.stand_in import Answer, Call, StandIn, stand_in

SOUND = bytes(range(256)) * 4000
PICTURE = "aGVsbG8=" * 100_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("passing") / "data") as one:
        yield one


@pytest.fixture(scope="module")
def there(running: Platform) -> Iterator[StandIn]:
    with stand_in("compatible") as one:
        one.answers = answers
        spec: dict[str, Any] = {
            "engine": {"name": "openai", "urls": [one.url]},
            "price": {
                "image_output_usd_per_million": 40,
                "server_tools_usd_per_use": {"seconds": 0.0001, "/v1/audio/speech": 0.015},
            },
            "passes": ["/v1/videos", "/v1/videos/*"],
        }
        running.apply("media", **spec)
        yield one


@pytest.fixture
def client(running: Platform) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{running.gateway_url}/v1", api_key=running.key, max_retries=0
    ) as one:
        yield one


def answers(call: Call) -> Answer | None:
    path = call.target.partition("?")[0].removeprefix("/v1")
    if path == "/audio/speech":
        return 200, {"Content-Type": "audio/mpeg"}, SOUND
    if path == "/audio/transcriptions":
        return 200, {}, {"text": "hello", "usage": {"type": "duration", "seconds": 12}}
    if path == "/images/generations":
        usage = {"input_tokens": 9, "output_tokens": 1000, "total_tokens": 1009,
                 "input_tokens_details": {"text_tokens": 9, "image_tokens": 0}}  # fmt: skip
        return 200, {}, {"created": 1, "data": [{"b64_json": PICTURE}], "usage": usage}
    if path == "/moderations":
        return 200, {}, {"id": "m-1", "model": "m", "results": []}
    if path == "/videos/v-1/content":
        return 200, {"Content-Type": "video/mp4"}, SOUND
    if path == "/videos":
        return 200, {}, {"id": "v-1", "object": "video", "status": "queued"}
    return None


def last(running: Platform, route: str) -> dict[str, Any]:
    """The newest record of a route, which comes a moment after the answer."""
    until_s = time.monotonic() + 15
    while time.monotonic() < until_s:
        rows = running.client.requests(limit=50)
        found = next((one for one in rows if one["route"] == route), None)
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no record of {route}")


def test_speech(running: Platform, there: StandIn, client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="media", voice="alloy", input="hello"
    ) as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        assert b"".join(answer.iter_bytes()) == SOUND
    record = last(running, "/v1/audio/speech")
    assert record["cost_nano_usd"] == 15_000_000
    assert record["response_bytes"] == len(SOUND)


def test_transcription(running: Platform, there: StandIn, client: openai.OpenAI) -> None:
    file = io.BytesIO(SOUND)
    file.name = "sound.mp3"
    said = client.audio.transcriptions.create(model="media", file=file)
    assert said.text == "hello"
    assert SOUND in there.calls[-1].body
    assert last(running, "/v1/audio/transcriptions")["cost_nano_usd"] == 12 * 100_000


def test_pictures(running: Platform, there: StandIn, client: openai.OpenAI) -> None:
    made = client.images.generate(model="media", prompt="a yard")
    assert made.data is not None
    assert made.data[0].b64_json == PICTURE
    record = last(running, "/v1/images/generations")
    assert (record["tokens_output"], record["cost_nano_usd"]) == (1000, 40_000_000)


def test_moderation_without_a_price_is_seen(
    running: Platform, there: StandIn, client: openai.OpenAI
) -> None:
    assert client.moderations.create(model="media", input="hm").id == "m-1"
    assert last(running, "/v1/moderations")["unpriced"] == "server_tools./v1/moderations=1"


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_what_the_document_lists(running: Platform, there: StandIn) -> None:
    with openai.OpenAI(
        base_url=f"{running.gateway_url}/pass/media/v1", api_key=running.key, max_retries=0
    ) as client:
        assert client.videos.create(prompt="a yard").id == "v-1"
        assert client.videos.download_content("v-1").read() == SOUND
        with pytest.raises(openai.PermissionDeniedError, match="does not pass /v1/files on"):
            client.files.list()
    assert httpx.get(f"{running.gateway_url}/pass/media/v1/videos").status_code == 401
