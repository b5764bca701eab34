"""Limits, keys with limits, canaries and several documents at once, from the command line."""

import json
from pathlib import Path
from typing import Any

from .conftest import Platform

FILE = """
apiVersion: modelyard/v1
kind: Limit
name: blue
spec: {team: blue, service: bot, requests_per_minute: 100}
---
apiVersion: modelyard/v1
kind: Service
name: bot
spec:
  engine: {name: echo}
  fallback: [{service: spare, on: [timeout]}]
---
apiVersion: modelyard/v1
kind: Service
name: spare
spec: {engine: {name: echo}}
"""


def error(platform: Platform, *arguments: str, stdin: str = "") -> dict[str, Any]:
    result = platform.run(*arguments, "-o", "json", stdin=stdin)
    assert result.exit_code == 2
    found: dict[str, Any] = json.loads(result.stderr)["error"]
    return found


def test_one_file_holds_both_kinds(platform: Platform, tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(FILE)
    made = platform.run("apply", "-f", str(file))
    assert made.exit_code == 0, made.stderr
    assert "limit blue applied" in made.stdout
    assert "service spare applied" in made.stdout
    again = platform.json("apply", "-f", str(file))
    assert [one["changed"] for one in again] == [False, False, False]
    assert {one["kind"] for one in again} == {"Limit", "Service"}
    spec = platform.json("get", "service", "bot")["document"]["spec"]
    assert spec["fallback"] == [{"service": "spare", "on": ["timeout"]}]


def test_all_of_a_file_or_none(platform: Platform) -> None:
    problem = error(
        platform, "apply", "-f", "-", stdin=FILE.replace("name: spare\n", "name: spar\n")
    )
    assert "service bot: spec.fallback: no service 'spare'" in problem["message"]
    assert "did you mean 'spar'?" in problem["hint"]
    assert platform.json("services", "list") == []
    problem = error(platform, "apply", "-f", "-", stdin=FILE.replace("requests_per_minute", "rpm"))
    assert "document 1 (blue): spec.rpm: unknown field" in problem["message"]
    problem = error(platform, "apply", "-f", "-", stdin=FILE.replace("{name: echo}", "{name: ech}"))
    assert "service bot: no 'ech' among the engines" in problem["message"]


def test_a_canary_that_cannot_run_is_refused(platform: Platform) -> None:
    spec: dict[str, Any] = {"engine": {"name": "echo"}}
    document = {"apiVersion": "modelyard/v1", "kind": "Service", "name": "bot", "spec": spec}
    for canary, said in (
        ({"model": "m:1", "weight": 0.1}, "spec.canary: spec.model: no model 'm'"),
        ({"engine": {"name": "echo", "tokns": 1}, "weight": 0.1}, "spec.canary: spec.engine"),
    ):
        spec["canary"] = canary
        problem = error(platform, "apply", "-f", "-", stdin=json.dumps(document))
        assert said in problem["message"]


def test_limits_are_set_shown_and_deleted(platform: Platform) -> None:
    empty = platform.run("limits", "list")
    assert "modelyard limits set" in empty.stdout
    platform.app.services.apply("default", {
        "apiVersion": "modelyard/v1", "kind": "Service", "name": "bot", "spec": {},
    }, "ada")  # fmt: skip
    made = platform.run("limits", "set", "blue", "--team", "blue", "--rpm", "100", "--tpm", "50000",
                        "--concurrency", "4", "--budget-usd", "50", "--per", "month",
                        "--service", "bot", "--each", "key")  # fmt: skip
    whole = "100 rpm, 50,000 tpm, 4 at once, $50 a month"
    assert made.stdout == f"limit blue set: {whole} for team blue, service bot, each key\n"
    assert whole in platform.run("limits", "show", "blue").stdout
    platform.run("limits", "set", "blue", "--concurrency", "1")
    found = platform.json("get", "limit", "blue")
    assert found["document"]["spec"] == {"concurrency": 1}, "the whole document is replaced"
    assert "everybody" in platform.run("limits", "list").stdout
    assert platform.json("delete", "limit", "blue") == {"deleted": ["blue"]}
    assert platform.json("limits", "list") == []
    assert error(platform, "limits", "delete", "blue")["code"] == "not_found"


def test_limits_that_say_nothing_or_name_nobody(platform: Platform) -> None:
    assert "bounds nothing" in error(platform, "limits", "set", "a", "--team", "b")["message"]
    assert "bounds nothing" in error(platform, "limits", "set", "a", "--rpm", "0")["message"]
    assert error(platform, "limits", "set", "a", "--per", "day")["code"] == "usage"
    problem = error(platform, "limits", "set", "a", "--rpm", "5", "--key", "nobody")
    assert problem["message"] == "spec.key: no key 'nobody'"
    problem = error(platform, "limits", "set", "a", "--rpm", "5", "--service", "bot")
    assert problem["message"] == "spec.service: no service 'bot'"


def test_keys_have_limits_of_their_own(platform: Platform) -> None:
    made = platform.json("keys", "create", "--rpm", "10", "--budget-usd", "2.5", "--per", "day",
                         "--priority", "interactive")  # fmt: skip
    assert made["limits"] == {"requests_per_minute": 10, "budget": {"usd": 2.5, "per": "day"}}
    changed = platform.run("keys", "limit", made["id"], "--rpm", "0", "--tpm", "9")
    assert changed.stdout == f"key {made['id']}: 9 tpm, $2.5 a day, priority interactive\n"
    assert "9 tpm, $2.5 a day" in platform.run("keys", "list").stdout
    none = platform.json("keys", "limit", made["id"], "--none", "--priority", "background")
    assert (none["limits"], none["priority"]) == ({}, "background")
    assert error(platform, "keys", "limit", made["id"])["code"] == "usage"
    assert error(platform, "keys", "limit", "nobody", "--rpm", "1")["code"] == "not_found"


def test_a_service_that_others_name_is_deleted_by_force(platform: Platform) -> None:
    platform.run("apply", "-f", "-", stdin=FILE)
    problem = error(platform, "delete", "service", "spare")
    assert problem["code"] == "referred_to"
    assert "service bot (spec.fallback)" in problem["message"]
    assert platform.run("delete", "service", "spare", "--force").exit_code == 0


def test_a_canary_is_shown_and_its_output_too(platform: Platform) -> None:
    platform.run("apply", "-f", "-", stdin=FILE)
    replica = {"id": "bot-2-a", "revision": "bot-2", "phase": "ready", "url": "http://x/v1"}
    canary = {"weight": 0.1, "sticky": "key", "phase": "starting", "message": "0 of 1 replicas",
              "revision": "bot-2", "model_version": "m:2", "replicas": [replica],
              "endpoints": []}  # fmt: skip
    platform.status("bot", canary=canary)
    platform.target.lines["bot-2-a"] = ["hello"]
    shown = platform.run("services", "show", "bot").stdout
    assert "10 % to m:2, starting: 0 of 1 replicas" in shown
    assert "bot-2-a" in shown
    assert "10 % to m:2" in platform.run("services", "list").stdout
    assert platform.json("services", "logs", "bot") == {"bot-2-a": ["hello"]}
    waited = platform.run("services", "wait", "bot", "--timeout", "300ms")
    assert waited.exit_code == 2, "a canary that starts is waited for, too"
    platform.status("bot", canary={**canary, "phase": "invalid", "message": "no version"})
    waited = platform.run("services", "wait", "bot")
    assert "service bot is invalid: canary: no version" in waited.stderr
    platform.status("bot", canary={**canary, "phase": "same"})
    assert platform.run("services", "wait", "bot").exit_code == 0


def test_what_is_kept_is_shown(platform: Platform) -> None:
    document = {"apiVersion": "modelyard/v1", "kind": "Service", "name": "bot",
                "spec": {"engine": {"name": "echo"}}}  # fmt: skip
    platform.run("apply", "-f", "-", stdin=json.dumps(document))
    assert "content kept" not in platform.run("services", "show", "bot").stdout
    document["spec"] = {"engine": {"name": "echo"}, "content": {"responses": {"keep_s": 7200}}}
    platform.run("apply", "-f", "-", stdin=json.dumps(document))
    assert "responses, for 2 h" in platform.run("services", "show", "bot").stdout


def test_limits_need_a_permission_of_their_own(platform: Platform) -> None:
    made = platform.json("keys", "create")
    result = platform.run("limits", "list", "--api-key", made["key"])
    assert "lacks 'limits.read'" in result.stderr


def test_what_is_no_number_is_told_so(platform: Platform) -> None:
    for word in ("nan", "inf", "-1"):
        result = platform.run("keys", "create", "--budget-usd", word)
        assert result.exit_code == 2
        assert "defect" not in result.stderr
