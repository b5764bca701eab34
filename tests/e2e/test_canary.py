"""A canary beside the stable revision: real replicas of both, and only one set afterwards."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.platform import Platform, platform

STABLE = {"name": "echo", "tokens": 2}
CANARY = {"name": "echo", "tokens": 5}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("canary") / "data") as one:
        yield one


def status_once(running: Platform, name: str, seen: Any) -> dict[str, Any]:
    deadline_s = time.monotonic() + 30
    while True:
        status: dict[str, Any] = running.client.service(name)["status"] or {}
        if seen(status):
            return status
        assert time.monotonic() < deadline_s, status
        time.sleep(0.05)


def test_both_revisions_run_until_the_canary_is_taken_away(running: Platform) -> None:
    canary = {"engine": CANARY, "weight": 0.5, "replicas": 1}
    running.apply("bot", engine=STABLE, replicas=2, canary=canary)
    status = running.client.service("bot")["status"]
    assert (status["phase"], status["canary"]["phase"]) == ("ready", "ready")
    assert len(status["endpoints"]) == 2
    assert len(status["canary"]["endpoints"]) == 1
    revisions = {replica["revision"] for replica in status["replicas"]}
    assert revisions == {status["revision"]}
    assert status["canary"]["replicas"][0]["revision"] == status["canary"]["revision"]
    assert status["canary"]["revision"] not in revisions
    running.apply("bot", engine=CANARY, replicas=1)
    after = status_once(running, "bot", lambda one: one["revision"] == status["canary"]["revision"])
    assert after["canary"] is None
    assert after["replicas"][0]["id"] == status["canary"]["replicas"][0]["id"], "it was warm"


def test_documents_that_name_each_other_are_applied_together(running: Platform) -> None:
    def document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
        return {"apiVersion": "modelyard/v1", "kind": kind, "name": name, "spec": spec}

    made = running.client.apply_all([
        document("Limit", "few", service="first", concurrency=50),
        document("Service", "first", engine=STABLE, fallback=["second"]),
        document("Service", "second", engine=STABLE),
    ])  # fmt: skip
    assert [one["changed"] for one in made] == [True, True, True]
    running.client.wait_ready("first", 60)
    running.client.delete_service("second", force=True)
    status = status_once(running, "first", lambda one: "second" in one.get("message", ""))
    assert status["phase"] == "ready"
    assert running.client.limit("few")["problem"] == ""
