"""Providers from the command line: keys go in and never come out, tests say what is wrong."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stand_in import StandIn, stand_in

from .conftest import Platform

SECRET = "sk-very-secret-1"


@pytest.fixture
def there() -> Iterator[StandIn]:
    with stand_in("openai", None, SECRET) as one:
        yield one


def error(platform: Platform, *arguments: str, stdin: str = "") -> dict[str, Any]:
    result = platform.run(*arguments, "-o", "json", stdin=stdin)
    assert result.exit_code == 2, result.stdout
    found: dict[str, Any] = json.loads(result.stderr)["error"]
    return found


def add(platform: Platform, there: StandIn, *more: str, stdin: str = SECRET) -> Any:
    return platform.run(
        "providers", "add", "one", "--kind", "openai", "--base-url", there.url, "--key", "-", *more,
        stdin=stdin,
    )  # fmt: skip


def test_a_provider_is_added_with_its_key_and_tested(platform: Platform, there: StandIn) -> None:
    assert "modelyard providers add" in platform.run("providers", "list").stdout
    made = add(platform, there, stdin=f"{SECRET}\n")
    assert made.exit_code == 0, made.stderr
    assert "provider one added" in made.stdout
    assert "ok" in made.stdout
    assert "it lists 1 model" in made.stdout
    (file,) = (platform.data / "secrets" / "store" / "default").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"origin": there.origin, "value": SECRET}
    listed = platform.run("providers", "list").stdout
    assert there.origin in listed
    assert "ok, " in listed
    shown = platform.json("get", "provider", "one")
    assert shown["keys"][0]["secret"] == "store:one"
    assert platform.json("providers", "models", "one") == ["m"]
    assert "store:one" in platform.run("providers", "show", "one").stdout


def test_no_answer_and_no_log_shows_a_key(platform: Platform, there: StandIn) -> None:
    there.keys = {"another"}
    told = add(platform, there)
    everything = told.stdout + told.stderr
    for arguments in (("providers", "list"), ("providers", "show", "one"), ("audit", "list"),
                      ("providers", "test", "one"), ("get", "providers")):  # fmt: skip
        result = platform.run(*arguments)
        everything += result.stdout + result.stderr
        result = platform.run(*arguments, "-o", "json")
        everything += result.stdout + result.stderr
    assert "refuses the key (401)" in everything
    assert SECRET not in everything


def test_a_failed_test_ends_with_1(platform: Platform, there: StandIn) -> None:
    there.keys = {"another"}
    assert add(platform, there).exit_code == 1
    tested = platform.run("providers", "test", "one", "-o", "json")
    assert tested.exit_code == 1
    (row,) = json.loads(tested.stdout)["keys"]
    assert (row["key"], row["ok"]) == ("store:one", False)
    assert row["latency_us"] > 0
    assert "1 of 1 failed" in platform.run("providers", "list").stdout
    assert add(platform, there, "--no-test").exit_code == 0
    assert "refuses the key" in error(platform, "providers", "models", "one")["message"]


def test_a_key_is_rotated_and_another_is_added(platform: Platform, there: StandIn) -> None:
    add(platform, there)
    there.keys = {"sk-2", "sk-3"}
    rotated = platform.run("providers", "add", "one", "--key", "-", stdin="sk-2")
    assert rotated.exit_code == 0, rotated.stdout + rotated.stderr
    also = platform.run(
        "providers", "add", "one", "--key", "-", "--also", "--weight", "3", stdin="sk-3"
    )
    assert also.exit_code == 0, also.stdout + also.stderr
    spec = platform.json("get", "provider", "one")["document"]["spec"]
    assert spec == {
        "kind": "openai", "url": there.url,
        "keys": [{"secret": "store:one"}, {"secret": "store:one-2", "weight": 3.0}],
    }  # fmt: skip
    assert {call.key for call in there.calls[-2:]} == {"sk-2", "sk-3"}
    reasons = [entry["reason"] for entry in platform.json("audit", "list")]
    assert "set key one-2 of provider one" in reasons


def test_another_address_needs_the_key_again(platform: Platform, there: StandIn) -> None:
    add(platform, there)
    with stand_in("openai", None, SECRET) as other:
        problem = error(platform, "providers", "add", "one", "--base-url", other.url)
        assert problem["code"] == "secret_bound"
        assert "give the key again" in problem["hint"]
        assert other.calls == []
        again = platform.run(
            "providers", "add", "one", "--base-url", other.url, "--key", "-", stdin=SECRET
        )
        assert again.exit_code == 0, again.stdout
        assert other.calls


def test_keys_in_files_and_variables(
    platform: Platform, there: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET + "\n")
    made = platform.run("providers", "add", "one", "--kind", "openai", "--base-url", there.url,
                        "--key-file", str(file))  # fmt: skip
    assert made.exit_code == 0, made.stdout + made.stderr
    monkeypatch.setenv("SOME_PROVIDER_KEY", SECRET)
    made = platform.run("providers", "add", "one", "--key-env", "SOME_PROVIDER_KEY", "--also")
    assert made.exit_code == 0, made.stdout + made.stderr
    monkeypatch.delenv("SOME_PROVIDER_KEY")
    file.unlink()
    tested = platform.run("providers", "test", "one")
    assert tested.exit_code == 1
    assert f"there is no file {file}" in tested.stdout
    assert "SOME_PROVIDER_KEY is not set" in tested.stdout
    assert "SOME_PROVIDER_KEY is not set" in platform.run("providers", "show", "one").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("one",), "say what it is with --kind"),
        (("one", "--kind", "opnai"), "'opnai' is not one of"),
        (("one", "--kind", "openai"), "keys is missing"),
        (("one", "--kind", "vllm"), "url is missing"),
        (("one", "--kind", "openai", "--key", "sk-on-the-line"), "stays in the shell's history"),
        (("one", "--kind", "openai", "--key", "-", "--key-env", "A"), "give one of"),
        (("one", "--kind", "openai", "--weight", "2"), "are for a key"),
        (("one", "--kind", "openai", "--key", "-"), "no key on standard input"),
        (("one", "--kind", "openai", "--key-env", "NOBODY"), "NOBODY is not set"),
        (("One", "--kind", "ollama"), "use lower-case letters"),
        (("one", "--kind", "ollama", "--api-version", "v1"), "is for kind azure"),
    ],
)
def test_mistakes(platform: Platform, arguments: tuple[str, ...], said: str) -> None:
    problem = error(platform, "providers", "add", *arguments)
    assert said in problem["message"]
    assert "sk-on-the-line" not in str(problem)
    assert platform.json("providers", "list") == []


FILE = """
apiVersion: modelyard/v1
kind: Service
name: bot
spec: {engine: {name: provider, provider: lab, model: x}}
---
apiVersion: modelyard/v1
kind: Provider
name: lab
spec: {kind: vllm, url: "http://127.0.0.1:9/v1", models: [x]}
"""


def test_services_and_providers_come_in_one_file(platform: Platform) -> None:
    made = platform.run("apply", "-f", "-", stdin=FILE)
    assert made.exit_code == 0, made.stderr
    assert "provider lab applied" in made.stdout
    assert platform.json("providers", "show", "lab")["services"] == ["bot"]
    problem = error(platform, "providers", "delete", "lab")
    assert (problem["code"], problem["message"]) == (
        "referred_to", "provider lab is used by service bot",
    )  # fmt: skip
    assert platform.json("delete", "provider", "lab", "--force") == {"deleted": ["lab"]}
    problem = error(platform, "apply", "-f", "-", stdin=FILE.replace("model: x", "model: y"))
    assert "service bot: spec.engine.model: provider lab allows x" in problem["message"]
    problem = error(
        platform, "apply", "-f", "-", stdin=FILE.replace("provider: lab", "provider: la")
    )
    assert "service bot: spec.engine.provider: no provider 'la'" in problem["message"]
    assert "did you mean 'lab'?" in problem["hint"]
    problem = error(platform, "apply", "-f", "-", stdin=FILE.replace("vllm", "vlm"))
    assert "document 2 (lab): spec.kind: 'vlm' is none of" in problem["message"]
    stored = FILE.replace("models: [x]", "keys: [store:lab]")
    problem = error(platform, "apply", "-f", "-", stdin=stored)
    assert "provider lab: spec.keys.0: no key lab is stored" in problem["message"]


def test_another_address_by_apply_is_refused_too(platform: Platform, there: StandIn) -> None:
    add(platform, there)
    document = platform.json("get", "provider", "one")["document"]
    document["spec"]["url"] = "https://elsewhere.test/v1"
    problem = error(platform, "apply", "-f", "-", stdin=json.dumps(document))
    assert (problem["code"], "is not sent to" in problem["message"]) == ("secret_bound", True)


def test_they_need_permissions_of_their_own(platform: Platform) -> None:
    made = platform.json("keys", "create")
    for command, lacks in (("list", "providers.read"), ("test x", "providers.write")):
        result = platform.run("providers", *command.split(), "--api-key", made["key"])
        assert f"lacks '{lacks}'" in result.stderr
