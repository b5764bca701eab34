"""Which entry of a price table a model's name means, and that the shipped table can be right."""

import json
from typing import Any

import pytest

from modelyard.control import prices
from modelyard.domain.pricing import tables
from modelyard.domain.pricing.tables import Entry
from modelyard.domain.snapshot.prices import Rates

KINDS = ("openai", "azure", "anthropic", "gemini", "mistral", "bedrock", "deepseek", "xai", "groq")
SHIPPED = prices.shipped()
EVERY = [entry for entries in SHIPPED.entries.values() for entry in entries]


def table(*models: dict[str, Any], **provider: Any) -> tables.Table:
    listed = [{"source": "s", "seen": "2026-01-01", **one} for one in models]
    file = {
        "as_of": "2026-06-01",
        "sources": {"s": "made up"},
        "providers": {"openai": {"models": listed, **provider}, "azure": {"same_as": "openai"}},
    }
    return tables.parse(json.dumps(file).encode())


def found(made: tables.Table, model: str, provider: str = "openai", day: str = "") -> str | None:
    entry = made.find(provider, model, day)
    return None if entry is None else entry.model


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("models/gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-20240806", "gpt-4o"),
        ("gpt-4o@20240806", "gpt-4o"),
        ("gpt-4o-20240806-v1:0", "gpt-4o"),
        ("gpt-4o-0806", "gpt-4o"),
        ("gpt-4o-001", "gpt-4o"),
        ("gpt-4o-latest", "gpt-4o"),
        ("omni", "gpt-4o"),
        ("omni-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o-minimal", None),
        ("gpt-4o-audio-preview", None),
        ("gpt-4o-2", None),
        ("gpt-4o-9999", None),
        ("gpt-4o-20240806-preview", None),
        ("gpt-4o2024-08-06", None),
        ("ft:gpt-4o-2024-08-06:org::id", None),
        ("gpt-4", None),
        ("", None),
    ],
)
def test_a_name_is_one_model_and_its_dates(model: str, expected: str | None) -> None:
    made = table(
        {"model": "gpt-4o", "aliases": ["omni"], "input": 2.5, "output": 10},
        {"model": "gpt-4o-2024-05-13", "input": 5, "output": 15},
        {"model": "gpt-4o-mini", "input": 0.15, "output": 0.6},
    )
    assert found(made, model) == expected
    assert found(made, model, "azure") == expected, "where prices are the same"
    assert made.find("nobody", model) is None


def test_a_price_holds_from_day_to_day() -> None:
    made = table(
        {"model": "argon", "input": 2, "until": "2026-12-01"},
        {"model": "argon", "input": 4, "since": "2026-12-01", "until": "2027-01-01"},
    )
    for day, usd in (("", 2), ("2026-11-30", 2), ("2026-12-01", 4), ("2026-12-31", 4)):
        entry = made.find("openai", "argon-001", day)
        assert entry is not None
        assert entry.price.input == usd * 10**9
    assert made.find("openai", "argon", "2027-01-01") is None
    assert [one.price.input for one in made.every("2026-12-05")] == [4 * 10**9] * 2


def test_what_is_not_given_is_not_known() -> None:
    made = table({"model": "embed", "input": 0.02})
    entry = made.find("openai", "embed")
    assert entry is not None
    assert {name: getattr(entry.price, name) for name in Rates.__struct_fields__} == {
        **dict.fromkeys(Rates.__struct_fields__), "input": 20_000_000,
    }  # fmt: skip


def test_a_tier_may_be_a_share_of_all_or_have_another_name() -> None:
    steps = [{"above": 200, "input": 6, "output": 9}, {"above": 100, "input": 4, "output": 8}]
    made = table(
        {"model": "m", "input": 3, "output": 5, "steps": steps, "tools": {"web_search": 0.01},
         "tiers": {"batch": {"percent": 50}, "priority": {"input": 7.5}}},
        same_tiers={"fast": "priority", "slow": "flex"},
    )  # fmt: skip
    entry = made.find("openai", "m")
    assert entry is not None
    price = entry.price
    assert [step.above_input_tokens for step in price.steps] == [100, 200], "in order"
    batch = price.service_tiers["batch"]
    assert (batch.input, batch.output, batch.cached) == (1_500_000_000, 2_500_000_000, None)
    assert [step.input for step in batch.steps] == [2_000_000_000, 3_000_000_000]
    assert price.service_tiers["fast"] == price.service_tiers["priority"]
    assert price.service_tiers["fast"].output is None
    assert set(price.service_tiers) == {"batch", "priority", "fast"}
    assert price.server_tools == {"web_search": 10_000_000}


@pytest.mark.parametrize("wrong", [
    {"input": -1}, {"input": "0.0000000001"}, {"inptu": 1}, {"input": "a"},
    {"tiers": {"flex": {"percent": 33}}, "input": "0.000000001"},
])  # fmt: skip
def test_a_damaged_table_is_not_taken(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        table({"model": "m", **wrong})


def test_the_model_that_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match="openai m: -1 US dollars"):
        table({"model": "m", "input": -1})


def test_the_shipped_table_knows_what_it_should() -> None:
    assert set(SHIPPED.entries) == set(KINDS)
    assert "openrouter" not in SHIPPED.entries
    listed = [entry for entry in EVERY if entry.provider != "azure"]
    assert 60 <= len(listed) <= 150
    for entry in EVERY:
        assert entry.source in SHIPPED.sources, entry.model
        assert "2025-01-01" < entry.seen <= SHIPPED.as_of, entry.model
        assert not entry.until or entry.until > SHIPPED.as_of, entry.model
    assert "hour" in SHIPPED.notes["deepseek"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_neighbours_are_taken_for_each_other(kind: str) -> None:
    """Every name finds its own entry, and so does every name with a date after it; what is neither
    finds nothing, although it begins with a name that is known."""
    for entry in SHIPPED.entries[kind]:
        day = entry.since or SHIPPED.as_of
        for name in (entry.model, *entry.aliases):
            assert SHIPPED.find(kind, name, day) == entry, name
            dated = SHIPPED.find(kind, f"{name}-20260115", day)
            assert dated == entry, name
            for other in ("mini", "x", "2", "thinking"):
                again = SHIPPED.find(kind, f"{name}-{other}", day)
                assert again is None or f"{name}-{other}" in (again.model, *again.aliases), name


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_stands_for_two_entries_on_one_day(kind: str) -> None:
    for day in (SHIPPED.as_of, "2026-12-15", "2027-06-01"):
        names = [
            name
            for entry in SHIPPED.every(day)
            if entry.provider == kind
            for name in (entry.model, *entry.aliases)
        ]
        assert len(names) == len(set(names))
        assert all(name == name.lower() for name in names)


def whole(entry: Entry) -> list[Rates]:
    price = entry.price
    tiers = price.service_tiers.values()
    return [price, *price.steps, *tiers, *(step for tier in tiers for step in tier.steps)]


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_prices_are_plausible(kind: str) -> None:
    """No price is a thousand times too high or too low, and kinds stand to each other as they do
    everywhere: what is read from a cache is cheaper, what is written to it is not."""
    for entry in SHIPPED.entries[kind]:
        price = entry.price
        assert price.input is not None, entry.model
        for rates in whole(entry):
            for name in Rates.__struct_fields__:
                rate = getattr(rates, name)
                assert rate is None or 10**6 <= rate <= 700 * 10**9, (entry.model, name)
            if rates.input is None:
                continue
            assert rates.cached is None or rates.cached < rates.input, entry.model
            assert rates.cache_write is None or rates.cache_write >= rates.input, entry.model
            assert rates.output is None or rates.output >= rates.input, entry.model
        for step in price.steps:
            assert step.input is not None
            assert price.input < step.input <= 5 * price.input, entry.model
        for name, tier in price.service_tiers.items():
            assert tier.input is not None
            assert (tier.input < price.input) == (name in ("flex", "batch")), entry.model
            bounds = [step.above_input_tokens for step in tier.steps]
            assert bounds == [step.above_input_tokens for step in price.steps], entry.model


@pytest.mark.parametrize(
    ("kind", "model", "input_", "output"),
    [
        ("anthropic", "claude-sonnet-4-5-20250929", "3", "15"),
        ("openai", "gpt-4o-mini-2024-07-18", "0.15", "0.6"),
        ("azure", "gpt-5", "1.25", "10"),
        ("gemini", "models/gemini-2.5-pro", "1.25", "10"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3", "16.5"),
        ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "3", "15"),
        ("mistral", "mistral-medium-latest", "1.5", "7.5"),
        ("xai", "grok-4.3", "1.25", "2.5"),
        ("groq", "openai/gpt-oss-120b", "0.15", "0.6"),
    ],
)
def test_prices_that_many_know(kind: str, model: str, input_: str, output: str) -> None:
    entry = SHIPPED.find(kind, model)
    assert entry is not None
    assert entry.price.input == round(float(input_) * 10**9)
    assert entry.price.output == round(float(output) * 10**9)
