"""Documents: every field in its range, every mistake with its place and the nearest right word."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.domain import services
from modelyard.domain.documents import compiled, kinds, limits
from modelyard.domain.documents.limits import BoundsSpec
from modelyard.domain.snapshot import Bounds, Cache, Fallback, Limit, Revision, SemanticCache
from modelyard.errors import Invalid

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


def service(**spec: Any) -> services.ServiceSpec:
    data = {"apiVersion": "modelyard/v1", "kind": "Service", "name": "bot", "spec": spec}
    return services.parse(data).spec


def limit(**spec: Any) -> limits.LimitDocument:
    data = {"apiVersion": "modelyard/v1", "kind": "Limit", "name": "blue", "spec": spec}
    return limits.parse(data)


def said(make: Any, **spec: Any) -> str:
    with pytest.raises(Invalid) as raised:
        make(**spec)
    return raised.value.message


def test_the_smallest_service_is_served_as_the_schema_has_it_by_default() -> None:
    made = compiled.service("t", "bot", Revision(id="r"), service())
    plain = type(made)(tenant="t", name="bot", revision=Revision(id="r"))
    assert made == plain


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"routing": {"rule": "rond_robin"}}, "spec.routing.rule: 'rond_robin' is none of"),
        ({"routing": {"rule": "rond_robin"}}, "did you mean 'round_robin'?"),
        ({"routing": {"beta": -1}}, "spec.routing.beta"),
        ({"timeouts": {"connect": 1}}, "did you mean 'connect_s'?"),
        ({"timeouts": {"idle_s": -1}}, "spec.timeouts.idle_s"),
        ({"retries": {"attempts": 0}}, "spec.retries.attempts"),
        ({"retries": {"budget": 1.5}}, "spec.retries.budget"),
        ({"fallback": "spare"}, "spec.fallback: must be a list"),
        ({"fallback": ["spare", "spare"]}, "fallback names spare twice"),
        ({"fallback": [{"servce": "b"}]}, "spec.fallback.0.servce: unknown field; did you mean"),
        ({"fallback": [{"service": "b", "on": ["timout"]}]}, "did you mean 'timeout'?"),
        ({"fallback": [{"service": "b", "on": []}]}, "spec.fallback.0.on"),
        ({"fallback": ["No Name"]}, "spec.fallback.0.service: use lower-case letters"),
        ({"queue": {"limit": 0}}, "spec.queue.limit"),
        ({"cache": {"ttl": 1}}, "did you mean 'ttl_s'?"),
        ({"cache": {"semantic": {"treshold": 1}}}, "did you mean 'threshold'?"),
        ({"cache": {"semantic": {"service": "e", "threshold": 0}}}, "cache.semantic.threshold"),
        ({"canary": {"weight": 1.5, "model": "m"}}, "spec.canary.weight"),
        ({"canary": {"model": "m"}}, "spec.canary.weight"),
        ({"canary": {"weight": 0.5}}, "give a model or an engine"),
        ({"canary": {"weight": 0.5, "model": "m", "sticky": "sesion"}}, "did you mean 'session'?"),
        ({"shadow": {"service": "b", "share": 2}}, "spec.shadow.share"),
        ({"content": {"responses": {}}}, "spec.content.responses.keep_s"),
        ({"content": {"responses": {"keep_s": 59}}}, "spec.content.responses.keep_s"),
        ({"content": {"response": {}}}, "did you mean 'responses'?"),
        ({"price": {"replica_usd_per_hour": -1}}, "spec.price.replica_usd_per_hour"),
        ({"price": {"replica_usd_hour": 1}}, "did you mean 'replica_usd_per_hour'?"),
    ],
)  # fmt: skip
def test_mistakes_of_a_service(spec: dict[str, Any], place: str) -> None:
    assert place in said(service, **spec)


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({}, "bounds nothing"),
        ({"team": "blue"}, "bounds nothing"),
        ({"requests_per_minut": 5}, "did you mean 'requests_per_minute'?"),
        ({"requests_per_minute": 0}, "spec.requests_per_minute"),
        ({"concurrency": "many"}, "spec.concurrency"),
        ({"budget": {"usd": 0}}, "spec.budget.usd"),
        ({"budget": {"usd": 5, "per": "mont"}}, "did you mean 'month'?"),
        ({"budget": 5}, "spec.budget: must be a mapping"),
        ({"service": "No", "concurrency": 1}, "spec.service: use lower-case letters"),
        ({"each": "keys", "concurrency": 1}, "did you mean 'key'?"),
        ({"each": "team", "team": "blue", "concurrency": 1}, "counts nothing apart"),
        ({"concurrency": 1, "unknown_price": "no"}, "spec.unknown_price"),
    ],
)
def test_mistakes_of_a_limit(spec: dict[str, Any], place: str) -> None:
    assert place in said(limit, **spec)


def test_a_kind_is_told_from_the_document() -> None:
    data = {"apiVersion": "modelyard/v1", "kind": "Limit", "name": "a", "spec": {"concurrency": 1}}
    assert kinds.parse(data).kind == "Limit"
    with pytest.raises(Invalid, match="known kinds: Service, Limit") as raised:
        kinds.parse({**data, "kind": "limit"})
    assert raised.value.hint == "did you mean 'Limit'?"
    with pytest.raises(Invalid, match="kind is 'Limit'; known kinds: Service"):
        services.parse(data)


def test_a_fallback_may_be_a_name_and_yaml_may_take_on_for_the_truth() -> None:
    spec = service(fallback=["b", {"service": "c", True: ["timeout"]}])
    assert [one.service for one in spec.fallback] == ["b", "c"]
    assert spec.fallback[0].on == Fallback(service="b").on
    assert spec.fallback[1].on == ("timeout",)
    sent_as_json = service(fallback=[{"service": "c", "true": ["error"]}])
    assert sent_as_json.fallback[0].on == ("error",)


def test_a_canary_has_what_it_does_not_say_from_its_service() -> None:
    spec = service(model="m:1", replicas=3, engine={"name": "echo", "tokens": 1},
                   canary={"weight": 0.1, "model": "m:2"})  # fmt: skip
    assert spec.second is not None
    assert (spec.second.model, spec.second.replicas) == ("m:2", 3)
    assert spec.second.engine == spec.engine
    other = service(model="m:1", canary={"weight": 0, "model": "", "engine": {"name": "openai"},
                                         "replicas": 1})  # fmt: skip
    assert other.second is not None
    assert (other.second.model, other.second.engine.name) == ("", "openai")
    assert service().second is None


def test_how_a_whole_service_is_served() -> None:
    spec = service(
        routing={"rule": "prefix", "beta": 2},
        timeouts={"connect_s": 1, "total_s": 60},
        retries={"attempts": 5},
        fallback=["spare"],
        queue={"per_slot": 1.5, "limit": 10},
        cache={"ttl_s": 60, "semantic": {"service": "embed"}},
        shadow={"service": "next", "share": 0.1},
        content={"responses": {"keep_s": 3600}},
    )
    made = compiled.service("t", "bot", Revision(id="r"), spec)
    assert (made.routing.rule, made.routing.beta) == ("prefix", 2.0)
    assert (made.timeouts.connect_s, made.timeouts.total_s, made.timeouts.idle_s) == (1, 60, 0)
    assert (made.retries.attempts, made.retries.budget) == (5, 0.2)
    assert made.fallbacks == (Fallback(service="spare"),)
    assert (made.queue.per_slot, made.queue.limit, made.queue.timeout_s) == (1.5, 10, 60)
    assert made.cache == Cache(ttl_s=60, semantic=SemanticCache(service="embed"))
    assert made.shadow is not None
    assert (made.shadow.service, made.shadow.share) == ("next", 0.1)
    assert made.content.responses_keep_s == 3600.0


def test_money_is_whole_nano_dollars_rounded_up() -> None:
    price = compiled.price(service(price={"replica_usd_per_hour": 0.1}).price)
    assert price is not None
    assert (price.replica_hour, price.input) == (100_000_000, 0)
    assert compiled.nano(1e-12) == 1
    assert compiled.nano(50) == 50 * compiled.NANO
    cheap = compiled.price(service(price={"input_usd_per_million": 2}).price)
    assert cheap is not None
    assert cheap.cached == cheap.input


def test_a_limit_as_gateways_count_it() -> None:
    made = compiled.limit("t", limit(service="bot", each="key", budget={"usd": 0.1}))
    bounds = Bounds(budget_nano_usd=100_000_000, budget_per="month", unknown_price="refuse")
    assert made == Limit(tenant="t", name="blue", bounds=bounds, service="bot", each="key")
    assert compiled.bounds(BoundsSpec()) is None


@pytest.mark.parametrize("page", ["service.md", "documents.md"])
def test_the_examples_of_the_reference_are_documents(page: str) -> None:
    text = (REFERENCE / page).read_text(encoding="utf-8")
    found = [
        example
        for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
        for example in yaml.safe_load_all(block)
    ]
    assert len(found) > 3
    for example in found:
        whole = {"apiVersion": "modelyard/v1", "kind": "Service", "name": "bot", **example}
        kinds.parse(whole)
