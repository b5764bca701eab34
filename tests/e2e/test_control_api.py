"""The control API over HTTP, as programs meet it."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.platform import SHIPPED, Platform, platform

from modelyard.lib.datafolder import DataFolder


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("api") / "data") as one:
        yield one


@pytest.fixture
def http(running: Platform) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {running.key}"}
    with httpx.Client(base_url=running.control_url, headers=headers, timeout=30) as client:
        yield client


def error_of(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    return found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a":', "not valid JSON at character 5"),
        (b"[1]", "not a JSON object"),
        (b'{"kind":"Service"}', "apiVersion"),
        (b'{"apiVersion":"modelyard/v1","kind":"Service","name":"a","spec":{"modle":"x"}}',
         "modle"),
    ],
)  # fmt: skip
def test_bad_documents_are_refused_with_the_place(
    http: httpx.Client, body: bytes, said: str
) -> None:
    answer = http.post("/api/apply", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert said in error_of(answer)["message"]
    assert error_of(answer)["hint"]


def test_a_body_of_50_mb_is_refused(http: httpx.Client) -> None:
    answer = http.post("/api/apply", content=b" " * (50 * 1024 * 1024))
    assert answer.status_code == 413
    assert http.get("/api/whoami").status_code == 200


@pytest.mark.parametrize("key", ["", "Bearer bad", "Bearer my_abc_def", "Basic eDp5"])
def test_a_bad_key_is_told_how_to_get_a_good_one(running: Platform, key: str) -> None:
    headers = {"authorization": key} if key else {}
    answer = httpx.get(f"{running.control_url}/api/services", headers=headers)
    assert answer.status_code == 401
    assert "bring a key as `Authorization: Bearer my_…`" in error_of(answer)["hint"]


def test_a_caller_may_call_and_no_more(running: Platform, http: httpx.Client) -> None:
    made = http.post("/api/keys", json={"role": "caller", "team": "blue"}).json()
    headers = {"authorization": f"Bearer {made['key']}"}
    with httpx.Client(base_url=running.control_url, headers=headers) as caller:
        assert caller.get("/api/whoami").json()["team"] == "blue"
        assert caller.post("/api/keys", json={"role": "admin"}).status_code == 403
        assert caller.get("/api/requests").status_code == 403
        assert caller.get("/api/audit").status_code == 403
    assert http.delete(f"/api/keys/{made['id']}").status_code == 200
    revoked = httpx.get(f"{running.control_url}/api/whoami", headers=headers)
    assert revoked.status_code == 401


def test_what_is_not_there_names_what_is(http: httpx.Client) -> None:
    assert error_of(http.get("/api/services/nobody"))["code"] == "not_found"
    assert error_of(http.get("/api/models/nobody"))["code"] == "not_found"
    assert error_of(http.get("/api/requests/req_0"))["code"] in {"not_found", "invalid"}
    assert "no such address" in error_of(http.get("/api/nowhere"))["message"]


def test_the_openapi_document_describes_every_public_route(http: httpx.Client) -> None:
    paths = http.get("/api/openapi.json").json()["paths"]
    assert "/api/apply" in paths
    assert all(path.startswith("/api/") for path in paths)
    for path, methods in paths.items():
        for method, about in methods.items():
            assert about.get("description") or about.get("summary"), (method, path)


def test_every_change_is_in_the_audit_log_with_its_actor(http: httpx.Client) -> None:
    spec = {"engine": {"name": "openai", "urls": ["http://127.0.0.1:9/v1"]}}
    document = {"apiVersion": "modelyard/v1", "kind": "Service", "name": "outside", "spec": spec}
    assert http.post("/api/apply", json=document).status_code == 200
    entries = http.get("/api/audit", params={"limit": 20}).json()["entries"]
    assert any("outside" in str(entry) for entry in entries)
    assert all(entry["actor"] and entry["reason"] for entry in entries)


def test_waiting_counts_a_moved_alias(running: Platform) -> None:
    running.serve_shipped(version=1)
    first = running.client.service("support")["status"]["model_version"]
    running.client.push(SHIPPED / "support-bot-v2.gguf", "support-bot", alias="production")
    found = running.client.wait_ready("support", 60)
    assert first == "support-bot:1"
    assert found["status"]["model_version"] == "support-bot:2"


def test_ready_means_that_every_gateway_process_knows_it(running: Platform) -> None:
    """One that lags behind is waited for; one that never follows is not, for ever."""
    token = DataFolder(running.data).internal_token()

    def asks(generation: int) -> None:
        httpx.get(
            f"{running.control_url}/internal/snapshot",
            params={"since": generation, "gateway": "slow", "epoch": epoch},
            headers={"authorization": f"Bearer {token}"},
        )

    epoch = httpx.get(
        f"{running.control_url}/internal/snapshot",
        params={"since": -1},
        headers={"authorization": f"Bearer {token}"},
    ).json()["epoch"]
    running.serve_echo("known")
    asks(0)
    catches_up = threading.Timer(1.0, lambda: asks(running_generation))
    running_generation = running.client.gateways()["generation"]
    began_s = time.monotonic()
    catches_up.start()
    running.client.wait_ready("known", 60)
    assert time.monotonic() - began_s >= 1.0
    assert {one["name"] for one in running.client.gateways()["gateways"]} == {"0", "slow"}
    asks(0)
    running.client.wait_ready("known", 60)


def test_a_range_of_replicas_is_refused_while_nothing_scales(http: httpx.Client) -> None:
    spec = {"engine": {"name": "echo"}, "replicas": {"min": 1, "max": 3}}
    document = {"apiVersion": "modelyard/v1", "kind": "Service", "name": "range", "spec": spec}
    answer = http.post("/api/apply", json=document)
    assert answer.status_code == 400
    assert "nothing scales a service yet" in error_of(answer)["message"]
