"""How requests reach a service, in the few words of the pages."""

from typing import Any

import pytest

from modelyard.entry import wording
from modelyard.entry.ui import shown, traffic


def of(spec: dict[str, Any], status: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    document = {"apiVersion": "modelyard/v1", "kind": "Service", "name": "bot", "spec": spec}
    return traffic.of({"document": document, "status": status}, {"bot", "spare"}, **rest)


def test_the_smallest_service() -> None:
    found = of({})
    assert found["split"] == []
    assert found["routing"] == "first_token"
    assert (found["queue"], found["cache"], found["timeouts"], found["content"]) == ("",) * 4
    assert found["shadow"] is None


def test_a_whole_service() -> None:
    found = of(
        {
            "routing": {"rule": "prefix", "beta": 1.5},
            "queue": {"per_slot": 1, "limit": 2000, "timeout_s": 90},
            "cache": {"ttl_s": 3600, "semantic": {"service": "spare", "ttl_s": 60}},
            "timeouts": {"first_token_s": 30, "total_s": 600},
            "retries": {"attempts": 1},
            "fallback": ["spare", "gone"],
            "shadow": {"service": "spare", "share": 0.05},
            "content": {"responses": {"keep_s": 2592000}},
        }
    )
    assert found["routing"] == "prefix, β 1.5"
    assert found["queue"] == "1 per slot, 2,000 wait ≤ 1.5 min"
    assert found["cache"] == "exact 1 h; semantic 1 min, ≤ 0.05"
    assert found["timeouts"] == "first token 30 s, total 10 min"
    assert found["retries"] == "none"
    assert found["content"] == "responses, for 30 d"
    assert [(one["service"], one["there"]) for one in found["fallback"]] == [
        ("spare", True), ("gone", False),
    ]  # fmt: skip
    assert found["shadow"]["share"] == 0.05


def test_a_document_that_cannot_be_read_is_shown_with_the_defaults() -> None:
    assert of({"modle": "x"})["routing"] == "first_token"


@pytest.mark.parametrize(("endpoints", "shares"), [([{}], [0.75, 0.25]), ([], [1.0, 0.0])])
def test_a_canary_takes_its_share_once_it_can_answer(
    endpoints: list[Any], shares: list[float]
) -> None:
    canary = {"weight": 0.25, "phase": "ready", "endpoints": endpoints, "model_version": "m:2"}
    parts = traffic.split({"phase": "ready", "endpoints": [{}, {}], "canary": canary})
    assert [one["share"] for one in parts] == shares
    assert shown.FILTERS["share"](shares[0]) in ("75 %", "100 %")
    assert parts[1]["version"] == "m:2"


def test_only_limits_that_speak_of_a_service_are_its_own() -> None:
    specs = [{"service": "bot"}, {"service": "spare"}, {"team": "blue"}, {"each": "service"}]
    limits = [{"document": {"spec": spec}} for spec in specs]
    found = of({}, limits=limits)["limits"]
    assert [one["document"]["spec"] for one in found] == [specs[0], specs[3]]


def test_how_limits_are_said() -> None:
    assert wording.whom({}) == "everybody"
    assert wording.whom({"team": "blue", "each": "key"}) == "team blue, each key"
    assert wording.bounds({"requests_per_minute": 1000, "budget": {"usd": 0.5}}) == (
        "1,000 rpm, $0.5 a month"
    )
    assert wording.budget({"budget": {"usd": 1200, "per": "total"}}) == "$1,200 in all"
    assert wording.bounds({"team": "blue"}) == ""
