"""Outside providers on a real platform: added by command, served through, their keys changed."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tests.platform import Platform, platform
from tests.stand_in import StandIn, stand_in

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("providers") / "data", "--workers", "2") as one:
        yield one


@pytest.fixture
def there() -> Iterator[StandIn]:
    with stand_in("openai", None, "sk-one") as one:
        yield one


@pytest.fixture
def client(running: Platform) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{running.gateway_url}/v1", api_key=running.key, max_retries=0
    ) as one:
        yield one


def modelyard(running: Platform, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MODELYARD_")}
    return subprocess.run(
        [sys.executable, "-m", "modelyard.entry.cli.main", *words],
        env={**environment, "MODELYARD_DATA": str(running.data)},
        input=stdin, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def served(running: Platform, name: str, **engine: object) -> None:
    running.apply(name, engine={"name": "provider", **engine})


def key_of_the_next(client: openai.OpenAI, there: StandIn, model: str) -> str:
    there.calls.clear()
    try:
        client.chat.completions.create(model=model, messages=QUESTION)
    except openai.APIStatusError:
        return ""
    return there.calls[-1].key


def until_the_key_is(client: openai.OpenAI, there: StandIn, model: str, key: str) -> float:
    """The seconds until a request is sent with that key."""
    began_s = time.monotonic()
    while key_of_the_next(client, there, model) != key:
        assert time.monotonic() - began_s < 10, "the key is never used"
        time.sleep(0.02)
    return time.monotonic() - began_s


def test_from_a_command_to_an_answer(
    running: Platform, there: StandIn, client: openai.OpenAI
) -> None:
    added = modelyard(running, "providers", "add", "lab", "--kind", "openai",
                      "--base-url", there.url, "--key", "-", stdin="sk-one\n")  # fmt: skip
    assert added.returncode == 0, added.stdout + added.stderr
    assert "it lists 1 model" in added.stdout
    served(running, "lab-bot", provider="lab", model="m")
    answer = client.chat.completions.create(model="lab-bot", messages=QUESTION)
    assert answer.choices[0].message.content == "hello"
    asked = there.calls[-1]
    assert (asked.key, asked.body["model"]) == ("sk-one", "m")
    shown = running.client.service("lab-bot")["status"]
    assert [one["id"] for one in shown["endpoints"]] == ["lab-bot/lab/0"]
    assert modelyard(running, "providers", "models", "lab", "-o", "json").stdout.split() == [
        "[", '"m"', "]"
    ]  # fmt: skip


def test_a_rotated_key_is_used_within_a_second(
    running: Platform, there: StandIn, client: openai.OpenAI, tmp_path: Path
) -> None:
    there.keys = {"sk-one", "sk-two", "sk-file-1", "sk-file-2"}
    document = {"apiVersion": "modelyard/v1", "kind": "Provider", "name": "turns",
                "spec": {"kind": "openai", "url": there.url, "keys": ["store:turns"]}}  # fmt: skip
    running.client.set_provider(document, {"turns": "sk-one"})
    served(running, "turning", provider="turns", model="m")
    assert key_of_the_next(client, there, "turning") == "sk-one"
    running.client.set_provider(document, {"turns": "sk-two"})
    assert until_the_key_is(client, there, "turning", "sk-two") < 1.0
    file = tmp_path / "key"
    file.write_text("sk-file-1\n")
    document["spec"] = {"kind": "openai", "url": there.url, "keys": [f"file:{file}"]}
    running.client.set_provider(document)
    assert until_the_key_is(client, there, "turning", "sk-file-1") < 1.0
    file.write_text("sk-file-2\n")
    assert until_the_key_is(client, there, "turning", "sk-file-2") < 1.0, "nothing was applied"


def test_a_revoked_key_is_left_alone_while_the_other_answers(
    running: Platform, there: StandIn, client: openai.OpenAI
) -> None:
    there.keys = {"sk-a", "sk-b"}
    document = {"apiVersion": "modelyard/v1", "kind": "Provider", "name": "two",
                "spec": {"kind": "openai", "url": there.url,
                         "keys": ["store:two", "store:two-2"]}}  # fmt: skip
    running.client.set_provider(document, {"two": "sk-a", "two-2": "sk-b"})
    served(running, "both", provider="two", model="m")
    for _ in range(10):
        client.chat.completions.create(model="both", messages=QUESTION)
    assert set(Counter(call.key for call in there.calls if call.method == "POST")) == {
        "sk-a", "sk-b"
    }  # fmt: skip
    there.keys = {"sk-b"}
    there.calls.clear()
    for _ in range(40):
        client.chat.completions.create(model="both", messages=QUESTION)
    keys = Counter(call.key for call in there.calls if call.method == "POST")
    assert keys["sk-b"] == 40, "every request was answered"
    assert keys["sk-a"] < 10, "and the revoked key was tried now and then only"


def test_what_is_missing_is_said_in_the_status(running: Platform, there: StandIn) -> None:
    document = {"apiVersion": "modelyard/v1", "kind": "Provider", "name": "gone",
                "spec": {"kind": "openai", "url": there.url, "keys": ["store:gone"]}}  # fmt: skip
    running.client.set_provider(document, {"gone": "sk-one"})
    running.client.set_provider(
        {**document, "name": "stays", "spec": {"kind": "compatible", "url": there.url}}
    )
    there.keys = set()
    served(running, "half", upstreams=[{"provider": "gone", "model": "m"},
                                       {"provider": "stays", "model": "m"}])  # fmt: skip
    refused = modelyard(running, "providers", "delete", "gone")
    assert "provider gone is used by service half" in refused.stderr
    assert modelyard(running, "providers", "delete", "gone", "--force").returncode == 0
    deadline_s = time.monotonic() + 10
    while (status := running.client.service("half")["status"])["phase"] != "degraded":
        assert time.monotonic() < deadline_s, status
        time.sleep(0.05)
    assert "no provider 'gone': add it with `modelyard providers add gone" in status["message"]
    assert [one["id"] for one in status["endpoints"]] == ["half/stays/0"]


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("https://nowhere.invalid", 0, "is not known (DNS)"),
        ("http://127.0.0.1:1", 0, "nothing listens at 127.0.0.1:1"),
        ("", 401, "the provider refuses the key (401)"),
        ("", 403, "the key may not do this (403)"),
        ("", 404, "is spec.url right?"),
        ("", 429, "too many requests"),
        ("", 302, "which is not followed"),
        ("", 200, "not with JSON"),
    ],
)
def test_what_a_test_says(
    running: Platform, there: StandIn, url: str, status: int, said: str
) -> None:
    there.answers = lambda _: (status, {"Location": "https://evil.test/"}, "<html>")
    name = f"wrong-{status}-{len(url)}"
    added = modelyard(running, "providers", "add", name, "--kind", "openai",
                      "--base-url", url or there.url, "--key", "-", "-o", "json",
                      stdin="sk-very-secret")  # fmt: skip
    assert added.returncode == 1, added.stdout + added.stderr
    (row,) = json.loads(added.stdout)["keys"]
    assert said in row["said"]
    assert "sk-very-secret" not in added.stdout + added.stderr


def test_no_key_is_in_any_log_or_answer(running: Platform, there: StandIn) -> None:
    there.keys = {"another"}
    document = {"apiVersion": "modelyard/v1", "kind": "Provider", "name": "leaky",
                "spec": {"kind": "openai", "url": there.url, "keys": ["store:leaky"]}}  # fmt: skip
    running.client.set_provider(document, {"leaky": "sk-do-not-show"})
    running.client.apply({"apiVersion": "modelyard/v1", "kind": "Service", "name": "leak",
                          "spec": {"engine": {"name": "provider", "provider": "leaky",
                                              "model": "m"}}})  # fmt: skip
    headers = {"authorization": f"Bearer {running.key}"}
    told = []
    deadline_s = time.monotonic() + 10
    while (running.client.service("leak")["status"] or {}).get("phase") != "failed":
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    body = {"model": "leak", "messages": QUESTION}
    told.append(
        httpx.post(f"{running.gateway_url}/v1/chat/completions", json=body, headers=headers).text
    )
    for path in ("/api/providers", "/api/services", "/api/services/leak", "/api/audit?all=true",
                 "/api/overview", "/metrics", "/api/providers/leaky/models"):  # fmt: skip
        told.append(httpx.get(f"{running.control_url}{path}", headers=headers).text)
    told.append(httpx.get(f"{running.gateway_url}/metrics").text)
    told.append(httpx.post(f"{running.control_url}/api/providers/leaky/test", headers=headers).text)
    told.append((running.data.parent / "data.stderr").read_text())
    assert "refuses the key" in "".join(told)
    assert "sk-do-not-show" not in "".join(told)
