"""Prices as people write them, and as the gateway charges them."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from modelyard.control.prices import shipped
from modelyard.domain import services
from modelyard.domain.chat import Usage
from modelyard.domain.documents import checked, compiled
from modelyard.domain.documents.prices import PriceSpec, price_of, spec_of
from modelyard.domain.pricing import cost
from modelyard.domain.snapshot import Price
from modelyard.domain.snapshot.prices import Rates, ServiceTier, Step
from modelyard.errors import Invalid

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
MILLI = 10**6


def spec(**fields: Any) -> PriceSpec:
    return checked(PriceSpec, fields)


def test_the_three_kinds_of_before_mean_what_they_meant() -> None:
    made = price_of(spec(input_usd_per_million=0.1, output_usd_per_million=0.4))
    assert made == Price(input=100 * MILLI, output=400 * MILLI, cached=100 * MILLI)
    made = price_of(spec(cached_usd_per_million=0.05, replica_usd_per_hour=2))
    assert made == Price(input=0, output=0, cached=50 * MILLI, replica_hour=2000 * MILLI)
    assert compiled.price(None) is None


def test_a_whole_price() -> None:
    made = price_of(spec(
        input_usd_per_million=3, output_usd_per_million=15, cached_usd_per_million=0.3,
        cache_write_usd_per_million=3.75, cache_write_1h_usd_per_million=6,
        reasoning_usd_per_million=20, audio_input_usd_per_million=32,
        audio_output_usd_per_million=64, image_input_usd_per_million=4,
        image_output_usd_per_million=30, per_request_usd=0.005,
        server_tools_usd_per_use={"web_search": 0.01, "web_fetch": 0},
        long_context=[{"above_input_tokens": 400_000, "input_usd_per_million": 9},
                      {"above_input_tokens": 200_000, "input_usd_per_million": 6,
                       "output_usd_per_million": 22.5}],
        service_tiers={"Flex": {"input_usd_per_million": 1.5, "cached_usd_per_million": 0,
                                "long_context": [{"above_input_tokens": 9}]}},
    ))  # fmt: skip
    kinds = {name: getattr(made, name) for name in Rates.__struct_fields__}
    assert None not in kinds.values()
    assert (made.cache_write, made.cache_write_1h) == (3750 * MILLI, 6000 * MILLI)
    assert (made.per_request, made.server_tools) == (5 * MILLI, {"web_search": 10 * MILLI,
                                                                 "web_fetch": 0})  # fmt: skip
    assert made.steps == (
        Step(above_input_tokens=200_000, input=6000 * MILLI, cached=6000 * MILLI,
             output=22_500 * MILLI),
        Step(above_input_tokens=400_000, input=9000 * MILLI, cached=9000 * MILLI),
    )  # fmt: skip
    flex = ServiceTier(input=1500 * MILLI, cached=0, steps=(Step(above_input_tokens=9),))
    assert made.service_tiers == {"flex": flex}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"input_usd_per_million": -1}, "input_usd_per_million"),
        ({"cache_write_usd_per_milion": 1}, "did you mean 'cache_write_usd_per_million'?"),
        ({"per_request": 1}, "did you mean 'per_request_usd'?"),
        ({"server_tools_usd_per_use": {"web_search": -1}}, "server_tools_usd_per_use.web_search"),
        ({"server_tools_usd_per_use": {"": 1}}, "server_tools_usd_per_use"),
        ({"long_context": [{"input_usd_per_million": 1}]}, "long_context.0.above_input_tokens"),
        ({"long_context": [{"above_input_tokens": 0}]}, "long_context.0.above_input_tokens"),
        ({"long_context": [{"above_input_tokens": 5}] * 2}, "two steps begin above 5 input tokens"),
        ({"long_context": [{"above_input_tokens": one} for one in range(1, 10)]}, "long_context"),
        ({"service_tiers": {"flex": {"inpt_usd_per_million": 1}}},
         "service_tiers.flex.inpt_usd_per_million: unknown field; did you mean 'input_usd"),
        ({"service_tiers": {"flex": {"per_request_usd": 1}}}, "unknown field"),
    ],
)  # fmt: skip
def test_mistakes_have_a_place_and_a_hint(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(Invalid) as raised:
        spec(**fields)
    assert place in raised.value.message


def test_a_service_holds_one() -> None:
    document = {
        "apiVersion": "modelyard/v1", "kind": "Service", "name": "bot",
        "spec": {"price": {"service_tiers": {"flex": {"output_usd_per_million": 2}}}},
    }  # fmt: skip
    price = compiled.price(services.parse(document).spec.price)
    assert price is not None
    assert price.service_tiers["flex"].output == 2000 * MILLI
    usage = Usage(input_tokens=1, output_tokens=1000, service_tier="flex")
    assert cost(price, usage).unpriced == ("input",), "a tier says all of its prices, or none"


def test_what_is_listed_can_be_written_down_in_a_document() -> None:
    for entry in shipped().every():
        price = entry.price
        if None not in (price.input, price.output, price.cached):
            assert price_of(checked(PriceSpec, spec_of(price))) == _cached_as_input(price)


def _cached_as_input(price: Price) -> Price:
    """Documents take cached tokens for other ones where they do not say; lists do not."""

    def known(rates: Any) -> Any:
        rate = rates.input if rates.cached is None else rates.cached
        steps = tuple(known(step) for step in getattr(rates, "steps", ()))
        more = {"steps": steps} if steps else {}
        return msgspec.structs.replace(rates, cached=rate, **more)

    tiers = {name: known(tier) for name, tier in price.service_tiers.items()}
    return msgspec.structs.replace(known(price), service_tiers=tiers)


@pytest.mark.parametrize("page", ["service.md", "prices.md"])
def test_every_field_is_documented(page: str) -> None:
    text = (REFERENCE / page).read_text(encoding="utf-8")
    for name in PriceSpec.model_fields:
        assert f"{name}`" in text, name


def test_the_examples_of_the_page_are_prices() -> None:
    text = (REFERENCE / "prices.md").read_text(encoding="utf-8")
    found = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert len(found) >= 2
    for example in found:
        checked(PriceSpec, example["price"])
