"""Prices as people write them, in US dollars: the `price` of a service, and those of a provider's
models."""

from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator

from modelyard.domain.documents import Part
from modelyard.domain.snapshot import prices as compiled

NANO = 1_000_000_000
Usd = Annotated[float, Field(ge=0, le=1_000_000)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=64)]
"""The name of a tool or of a service tier, as the provider writes it."""


def nano(dollars: float) -> int:
    """Nano-dollars, rounded up; through the decimal text, so that 0.1 is a tenth."""
    return int((Decimal(str(dollars)) * NANO).to_integral_value(ROUND_CEILING))


class RatesSpec(Part):
    """US dollars per million tokens of each kind. What is not given has a price that nobody knows,
    but for these: cached input costs what other input does, and thinking what other output does."""

    input_usd_per_million: Usd | None = None
    output_usd_per_million: Usd | None = None
    cached_usd_per_million: Usd | None = None
    cache_write_usd_per_million: Usd | None = None
    cache_write_1h_usd_per_million: Usd | None = None
    reasoning_usd_per_million: Usd | None = None
    audio_input_usd_per_million: Usd | None = None
    audio_output_usd_per_million: Usd | None = None
    image_input_usd_per_million: Usd | None = None
    image_output_usd_per_million: Usd | None = None


class StepSpec(RatesSpec):
    """Other prices of all tokens of a request whose prompt is long."""

    above_input_tokens: int = Field(ge=1, le=1_000_000_000)


Steps = Annotated[tuple[StepSpec, ...], Field(max_length=8)]


class _Stepped(RatesSpec):
    long_context: Steps = ()

    @field_validator("long_context")
    @classmethod
    def _each_bound_once(cls, steps: tuple[StepSpec, ...]) -> tuple[StepSpec, ...]:
        bounds = [one.above_input_tokens for one in steps]
        twice = next((bound for bound in bounds if bounds.count(bound) > 1), None)
        if twice is not None:
            raise ValueError(f"two steps begin above {twice} input tokens: one price holds there")
        return steps


class ServiceTierSpec(_Stepped):
    """Other prices at a `service_tier` of the provider, or of its batches."""


class PriceSpec(_Stepped):
    """US dollars per million tokens, per request, per use of a tool, and per hour of one replica;
    what a request costs is rounded up to a nano-dollar."""

    input_usd_per_million: Usd = 0.0
    output_usd_per_million: Usd = 0.0
    replica_usd_per_hour: Usd = 0.0
    per_request_usd: Usd = 0.0
    server_tools_usd_per_use: dict[Word, Usd] = Field(default={}, max_length=64)
    service_tiers: dict[Word, ServiceTierSpec] = Field(default={}, max_length=16)


def price_of(spec: PriceSpec) -> compiled.Price:
    """The price as the gateway knows it."""
    tools = spec.server_tools_usd_per_use
    return compiled.Price(
        **_rates(spec),
        replica_hour=nano(spec.replica_usd_per_hour),
        per_request=nano(spec.per_request_usd),
        server_tools={name: nano(usd) for name, usd in tools.items()},
        steps=_steps(spec.long_context),
        service_tiers={name.lower(): _tier(one) for name, one in spec.service_tiers.items()},
    )


def _tier(spec: ServiceTierSpec) -> compiled.ServiceTier:
    return compiled.ServiceTier(**_rates(spec), steps=_steps(spec.long_context))


def _steps(specs: tuple[StepSpec, ...]) -> tuple[compiled.Step, ...]:
    made = [
        compiled.Step(**_rates(one), above_input_tokens=one.above_input_tokens) for one in specs
    ]
    return tuple(sorted(made, key=lambda step: step.above_input_tokens))


def _rates(spec: RatesSpec) -> dict[str, Any]:
    """By the names that the kinds have in `Rates`."""
    given = {
        name: getattr(spec, f"{name}_usd_per_million") for name in compiled.Rates.__struct_fields__
    }
    if given["cached"] is None:
        given["cached"] = given["input"]
    return {name: None if usd is None else nano(usd) for name, usd in given.items()}


def spec_of(price: compiled.Price) -> dict[str, Any]:
    """The price as people would write it, without what is not known and what is not charged."""
    written = {
        **_rates_of(price),
        "replica_usd_per_hour": _usd(price.replica_hour) or None,
        "per_request_usd": _usd(price.per_request) or None,
        "server_tools_usd_per_use": {
            name: _usd(nano_usd) for name, nano_usd in price.server_tools.items()
        },
        "long_context": _steps_of(price.steps),
        "service_tiers": {
            name: _given({**_rates_of(tier), "long_context": _steps_of(tier.steps)})
            for name, tier in price.service_tiers.items()
        },
    }
    return _given(written)


def _steps_of(steps: tuple[compiled.Step, ...]) -> list[dict[str, Any]]:
    return [{"above_input_tokens": one.above_input_tokens, **_rates_of(one)} for one in steps]


def _rates_of(rates: compiled.Rates) -> dict[str, float]:
    found = {name: getattr(rates, name) for name in compiled.Rates.__struct_fields__}
    return {
        f"{name}_usd_per_million": _usd(nano_usd)
        for name, nano_usd in found.items()
        if nano_usd is not None
    }


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _usd(nano_usd: int) -> float:
    return float(Decimal(nano_usd) / NANO)
