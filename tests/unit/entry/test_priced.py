"""The price of a service in words and as a document has it."""

from typing import Any

import msgspec

from modelyard.control.prices import find
from modelyard.domain.snapshot import Endpoint, Price
from modelyard.entry import priced


def service(price: dict[str, Any] | None, *endpoints: Endpoint) -> dict[str, Any]:
    spec = {"price": price} if price else {}
    status = {"endpoints": msgspec.to_builtins(endpoints)}
    return {"document": {"name": "bot", "spec": spec}, "status": status}


def at(model: str, price: Price | None) -> Endpoint:
    return Endpoint(id=model, url="http://x/v1", upstream_model=model, provider="lab", price=price)


def test_the_services_own_price_comes_first() -> None:
    one = service({"output_usd_per_million": 0.5, "replica_usd_per_hour": 2}, at("m", Price()))
    assert priced.price(one) == {"output_usd_per_million": 0.5, "replica_usd_per_hour": 2}
    assert priced.said(one) == "$0.5 output per million tokens, $2 per replica hour"


def test_else_those_of_what_answers() -> None:
    entry = find("anthropic", "claude-sonnet-4-5")
    assert entry is not None
    dear, cheap = at("dear", entry.price), at("cheap", Price(input=10**8, output=2 * 10**8))
    one = service(None, cheap, dear, dear)
    assert priced.price(one)["output_usd_per_million"] == 15
    assert priced.said(one) == (
        "cheap at lab: $0.1 input, $0 cached, $0.2 output per million tokens; "
        "dear at lab: $3 input, $0.3 cached, $15 output per million tokens"
    )


def test_what_nobody_knows_is_said() -> None:
    one = service(None, at("m", Price()), at("n", None))
    assert priced.price(one) == {}
    assert priced.said(one).endswith("n at lab: not known")
    assert priced.said({**service(None), "status": None}) == ""
