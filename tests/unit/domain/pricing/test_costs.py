"""Costs against figures worked out by hand, and what holds for every price and every usage."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.chat import Usage
from modelyard.domain.pricing import (
    at_most_nano_usd,
    cost,
    cost_nano_usd,
    time_cost_nano_usd,
)
from modelyard.domain.snapshot import Price
from modelyard.domain.snapshot.prices import Rates, ServiceTier, Step

NANO = 10**9


def nano(**usd: str) -> dict[str, Any]:
    """US dollars, as they are written in price lists, in whole nano-dollars."""
    return {name: int(Decimal(text) * NANO) for name, text in usd.items()}


GPT_4O = Price(**nano(input="2.50", cached="1.25", output="10"))
O3 = Price(**nano(input="2", cached="0.50", output="8"))
GPT_5 = Price(
    **nano(input="1.25", cached="0.125", output="10"),
    service_tiers={
        "flex": ServiceTier(**nano(input="0.625", cached="0.0625", output="5")),
        "priority": ServiceTier(**nano(input="2.50", cached="0.25", output="20")),
    },
)
SONNET = Price(
    **nano(input="3", cached="0.30", cache_write="3.75", cache_write_1h="6", output="15"),
    server_tools=nano(web_search="0.01", web_fetch="0"),
)
HAIKU = Price(
    **nano(input="1", cached="0.10", cache_write="1.25", cache_write_1h="2", output="5"),
    service_tiers={"batch": ServiceTier(**nano(input="0.50", cached="0.05", output="2.50"))},
)
GEMINI_PRO = Price(
    **nano(input="1.25", cached="0.125", output="10"),
    steps=(Step(**nano(input="2.50", cached="0.25", output="15"), above_input_tokens=200_000),),
    service_tiers={
        "batch": ServiceTier(
            **nano(input="0.625", cached="0.125", output="5"),
            steps=(
                Step(
                    **nano(input="1.25", cached="0.25", output="7.50"), above_input_tokens=200_000
                ),
            ),
        )
    },
)
GEMINI_IMAGE = Price(
    **nano(input="0.30", image_input="0.30", output="2.50", image_output="30"), cached=None
)
AUDIO = Price(**nano(input="2.50", audio_input="32", output="10", audio_output="64"), cached=None)
THINKER = Price(**nano(input="0.40", output="1.20", reasoning="4"))
SEARCHER = Price(**nano(input="1", output="1", per_request="0.005"))
FREE = Price(server_tools={"web_search": 0})

CORPUS = {
    # 86 fresh at 2.50, 1,920 cached at 1.25 and 300 out at 10: 215 + 2,400 + 3,000 millionths.
    "streamed chat with cached tokens": (
        GPT_4O,
        Usage(input_tokens=2006, cache_read_tokens=1920, output_tokens=300,
              service_tier="default"),
        {}, "0.005615",
    ),
    # 21 fresh, 188,086 read, 456 written for five minutes, 100 for an hour, 393 out:
    # 63 + 56,425.8 + 1,710 + 600 + 5,895.
    "cache written for 5 minutes and for an hour, and read": (
        SONNET,
        Usage(input_tokens=188_663, cache_read_tokens=188_086, cache_write_tokens=456,
              cache_write_1h_tokens=100, output_tokens=393, service_tier="standard"),
        {}, "0.0646938",
    ),
    # 18,117 + 13,965 for tokens, three searches at a cent, and a fetch for nothing.
    "web searches by the provider": (
        SONNET,
        Usage(input_tokens=6039, output_tokens=931, server_tools={"web_search": 3, "web_fetch": 1}),
        {}, "0.062082",
    ),
    # 150 + 1,186 at 8, of which 1,024 are thought.
    "reasoning at the price of the answer": (
        O3, Usage(input_tokens=75, output_tokens=1186, reasoning_tokens=1024), {}, "0.009638",
    ),
    # 400 + 200 at 1.20 + 300 at 4.
    "reasoning at a price of its own": (
        THINKER, Usage(input_tokens=1000, output_tokens=500, reasoning_tokens=300), {}, "0.00184",
    ),
    # 120 at 2.50 + 500 at 32 + 80 at 10 + 320 at 64.
    "sound in and out": (
        AUDIO,
        Usage(input_tokens=620, audio_input_tokens=500, output_tokens=400,
              audio_output_tokens=320),
        {}, "0.03758",
    ),
    # 271 at 0.30, pictures or not, + 1,290 at 30 + 20 at 2.50.
    "a picture out": (
        GEMINI_IMAGE,
        Usage(input_tokens=271, image_input_tokens=258, output_tokens=1310,
              image_output_tokens=1290),
        {}, "0.0388313",
    ),
    # Half of 1 and 5.
    "a batch, as the caller says": (
        HAIKU, Usage(input_tokens=10_000, output_tokens=2000), {"batch": True}, "0.01",
    ),
    "a batch, as the answer says": (
        HAIKU, Usage(input_tokens=10_000, output_tokens=2000, service_tier="batch"), {}, "0.01",
    ),
    # 2,976 at 0.625 + 1,024 at 0.0625 + 700 at 5.
    "flex": (
        GPT_5,
        Usage(input_tokens=4000, cache_read_tokens=1024, output_tokens=700, service_tier="flex"),
        {}, "0.005424",
    ),
    # 2,976 at 2.50 + 1,024 at 0.25 + 700 at 20.
    "priority": (
        GPT_5,
        Usage(input_tokens=4000, cache_read_tokens=1024, output_tokens=700,
              service_tier="Priority"),
        {}, "0.021696",
    ),
    # 50,000 at 1.25 + 150,000 at 0.125 + 1,000 at 10: as long as is usual, not longer.
    "the longest prompt at the usual price": (
        GEMINI_PRO,
        Usage(input_tokens=200_000, cache_read_tokens=150_000, output_tokens=1000),
        {}, "0.09125",
    ),
    # One token more, and all of them cost more: 50,001 at 2.50 + 150,000 at 0.25 + 1,000 at 15.
    "a long prompt": (
        GEMINI_PRO,
        Usage(input_tokens=200_001, cache_read_tokens=150_000, output_tokens=1000),
        {}, "0.1775025",
    ),
    # 300,000 at 1.25 + 2,000 at 7.50.
    "a long prompt in a batch": (
        GEMINI_PRO, Usage(input_tokens=300_000, output_tokens=2000), {"batch": True}, "0.39",
    ),
    # 2,100 at 1 + three requests at half a cent.
    "a price per request": (
        SEARCHER, Usage(input_tokens=900, output_tokens=1200), {"requests": 3}, "0.0171",
    ),
    "a model that is free": (
        FREE,
        Usage(input_tokens=10**6, output_tokens=10**6, server_tools={"web_search": 9}),
        {}, "0",
    ),
    "nothing": (SONNET, Usage(), {}, "0"),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_costs_worked_out_by_hand(name: str) -> None:
    price, usage, options, usd = CORPUS[name]
    found = cost(price, usage, **options)
    assert found.unpriced == ()
    assert found.nano_usd == Decimal(usd) * NANO, "exactly"
    assert abs(Decimal(found.nano_usd or 0) / NANO - Decimal(usd)) < Decimal("0.000001")


@pytest.mark.parametrize(
    ("price", "usage", "unpriced", "priced_usd"),
    [
        (GPT_4O, Usage(input_tokens=100, unknown={"usage.details.video_tokens": 7}),
         ("usage.details.video_tokens",), "0.00025"),
        (GPT_4O, Usage(input_tokens=100, cache_write_tokens=40), ("cache_write",), "0.00015"),
        (HAIKU, Usage(input_tokens=100, cache_write_1h_tokens=60, service_tier="batch"),
         ("cache_write_1h",), "0.00002"),
        (SONNET, Usage(server_tools={"code_execution": 2}), ("server_tools.code_execution",), "0"),
        (GPT_5, Usage(output_tokens=100, service_tier="scale"), ("service_tier.scale",), "0.001"),
        (SONNET, Usage(output_tokens=100, service_tier="batch"), ("service_tier.batch",), "0.0015"),
        (AUDIO, Usage(input_tokens=10, cache_read_tokens=10), ("cached",), "0"),
        (Price(output=None), Usage(output_tokens=5, reasoning_tokens=3),
         ("reasoning", "output"), "0"),
    ],
)  # fmt: skip
def test_what_has_no_price_is_said_and_is_not_free(
    price: Price, usage: Usage, unpriced: tuple[str, ...], priced_usd: str
) -> None:
    found = cost(price, usage)
    assert found.nano_usd is None
    assert found.unpriced == unpriced
    assert found.priced_nano_usd == Decimal(priced_usd) * NANO


def test_a_kind_that_was_not_used_needs_no_price() -> None:
    usage = Usage(input_tokens=1, unknown={"a": 0}, server_tools={"code_execution": 0})
    assert cost(GPT_4O, usage).unpriced == ()


def test_a_batch_has_no_other_price_without_one_for_batches() -> None:
    assert cost(GPT_4O, Usage(input_tokens=1), batch=True).unpriced == ("service_tier.batch",)


def test_it_is_rounded_up_once() -> None:
    cheap = Price(input=500_000, output=500_000)  # half a nano-dollar a token
    assert cost(cheap, Usage(input_tokens=1)).nano_usd == 1
    assert cost(cheap, Usage(input_tokens=1, output_tokens=1)).nano_usd == 1
    assert cost(cheap, Usage(input_tokens=2, output_tokens=1)).nano_usd == 2


def test_parts_that_are_more_than_the_whole_are_charged_once() -> None:
    price = Price(input=3_000_000, cached=1_000_000, audio_input=9_000_000)
    found = cost(price, Usage(input_tokens=10, cache_read_tokens=8, audio_input_tokens=9))
    assert [(one.kind, one.count) for one in found.parts] == [("cached", 8), ("audio_input", 2)]
    assert found.nano_usd == 8 + 18


RATE = st.integers(0, 10**12)
KINDS = Rates.__struct_fields__
STEPPED = st.dictionaries(st.sampled_from(KINDS), st.none() | RATE)


@st.composite
def any_price(draw: st.DrawFn) -> Price:
    steps = draw(st.lists(st.tuples(st.integers(1, 10**6), STEPPED), max_size=2))
    made = [
        Step(above_input_tokens=above, **rates)
        for above, rates in sorted(steps, key=lambda one: one[0])
    ]
    tiers = draw(st.dictionaries(st.sampled_from(["flex", "batch"]), STEPPED, max_size=2))
    return Price(
        **draw(STEPPED),
        per_request=draw(RATE),
        server_tools=draw(st.dictionaries(st.sampled_from(["web_search", "maps"]), RATE)),
        steps=tuple(made),
        service_tiers={name: ServiceTier(**rates) for name, rates in tiers.items()},
    )


COUNT = st.integers(0, 10**6)
INPUT_KINDS = {
    "cached": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "audio_input": "audio_input_tokens",
    "image_input": "image_input_tokens",
}
OUTPUT_KINDS = {
    "reasoning": "reasoning_tokens",
    "audio_output": "audio_output_tokens",
    "image_output": "image_output_tokens",
}
FIELDS = {**INPUT_KINDS, **OUTPUT_KINDS, "input": "", "output": ""}


def used(tokens: dict[str, int], **more: Any) -> Usage:
    """A usage of so many tokens of each kind: the whole is all of its kinds."""
    parts = {FIELDS[kind]: count for kind, count in tokens.items() if FIELDS[kind]}
    of_input = ["input", *INPUT_KINDS]
    of_output = ["output", *OUTPUT_KINDS]
    return Usage(
        **parts,
        input_tokens=sum(tokens.get(kind, 0) for kind in of_input),
        output_tokens=sum(tokens.get(kind, 0) for kind in of_output),
        **more,
    )


TOKENS = st.dictionaries(st.sampled_from(KINDS), COUNT)
MORE = st.fixed_dictionaries(
    {},
    optional={
        "server_tools": st.dictionaries(st.sampled_from(["web_search", "maps"]), COUNT),
        "unknown": st.dictionaries(st.sampled_from(["usage.new", "usage.newer"]), COUNT),
        "service_tier": st.sampled_from(["", "default", "flex", "batch", "scale"]),
    },
)


@given(any_price(), TOKENS, MORE, st.integers(0, 100), st.booleans())
def test_the_parts_add_up(
    price: Price, tokens: dict[str, int], more: Any, requests: int, batch: bool
) -> None:
    usage = used(tokens, **more)
    found = cost(price, usage, requests=requests, batch=batch)
    femto = [one.femto_usd for one in found.parts if one.femto_usd is not None]
    assert all(part >= 0 for part in femto)
    assert found.priced_nano_usd == -(-sum(femto) // 10**6)
    missing = [one.kind for one in found.parts if one.femto_usd is None]
    assert list(found.unpriced) == missing
    assert found.nano_usd == (None if missing else found.priced_nano_usd)
    counts = {one.kind: one.count for one in found.parts}
    assert {kind: counts[kind] for kind in KINDS if kind in counts} == {
        kind: count for kind, count in tokens.items() if count
    }


@given(any_price(), st.builds(
    Usage, input_tokens=COUNT, output_tokens=COUNT, cache_read_tokens=st.none() | COUNT,
    cache_write_tokens=COUNT, audio_input_tokens=COUNT, reasoning_tokens=st.none() | COUNT,
    audio_output_tokens=COUNT, image_output_tokens=COUNT,
))  # fmt: skip
def test_no_token_is_charged_twice_whatever_an_upstream_claims(price: Price, usage: Usage) -> None:
    parts = {one.kind: one.count for one in cost(price, usage).parts}
    of_input = ("input", *INPUT_KINDS)
    assert sum(parts.get(kind, 0) for kind in of_input) == usage.input_tokens
    of_output = ("output", *OUTPUT_KINDS)
    assert sum(parts.get(kind, 0) for kind in of_output) == usage.output_tokens


@st.composite
def known_price(draw: st.DrawFn) -> Price:
    """Every kind has a price, and long prompts cost no less."""
    base = {kind: draw(RATE) for kind in KINDS}
    longer = {kind: rate + draw(RATE) for kind, rate in base.items()}
    step = Step(above_input_tokens=draw(st.integers(1, 10**6)), **longer)
    return Price(**base, per_request=draw(RATE), steps=(step,), server_tools={"web_search": 7})


@given(known_price(), TOKENS, st.sampled_from(KINDS), COUNT, COUNT)
def test_more_of_anything_never_costs_less(
    price: Price, tokens: dict[str, int], kind: str, more: int, searches: int
) -> None:
    before = cost(price, used(tokens)).nano_usd
    more_tokens = {**tokens, kind: tokens.get(kind, 0) + more}
    after = cost(price, used(more_tokens, server_tools={"web_search": searches})).nano_usd
    assert before is not None
    assert after is not None
    assert 0 <= before <= after


@given(known_price(), TOKENS)
def test_what_is_reserved_is_enough(price: Price, tokens: dict[str, int]) -> None:
    usage = used(tokens)
    asked = (price, usage.input_tokens, usage.output_tokens, 1)
    spent = cost(price, usage).nano_usd
    assert spent is not None
    assert spent <= at_most_nano_usd(*asked, media=True)
    text = {kind: count for kind, count in tokens.items() if "audio" not in kind}
    plain = used({kind: count for kind, count in text.items() if "image" not in kind})
    asked = (price, plain.input_tokens, plain.output_tokens, 1)
    assert (cost(price, plain).nano_usd or 0) <= at_most_nano_usd(*asked)


@given(known_price(), COUNT, COUNT, COUNT)
def test_three_kinds_alone_cost_the_same(
    price: Price, tokens_input: int, tokens_output: int, tokens_cached: int
) -> None:
    usage = Usage(
        input_tokens=tokens_input, output_tokens=tokens_output, cache_read_tokens=tokens_cached
    )
    asked = (price, tokens_input, tokens_output, tokens_cached)
    assert cost_nano_usd(*asked) == cost(price, usage).nano_usd


def test_a_reservation_is_for_the_tier_that_was_asked_for() -> None:
    # 1,000 in at 2.50 and 100 out at 20, a millionth each.
    assert at_most_nano_usd(GPT_5, 1000, 100, 1, service_tier="priority") == 4_500_000
    standard = at_most_nano_usd(GPT_5, 1000, 100, 1)
    assert at_most_nano_usd(GPT_5, 1000, 100, 1, service_tier="scale") == standard


def test_a_kind_without_a_price_is_reserved_for_as_the_dearest_other_one() -> None:
    images = Price(input=5_000_000, cached=None, output=None, image_output=30_000_000)
    assert cost_nano_usd(images, 10, 2, 4) == 10 * 5 + 2 * 30
    assert at_most_nano_usd(images, 10, 2, 1) == 10 * 5 + 2 * 30


def test_time_on_a_replica_is_no_part_of_a_usage() -> None:
    price = Price(replica_hour=3600 * NANO)
    assert time_cost_nano_usd(price, 1_000_000, 4) == NANO // 4
    assert cost(price, Usage(input_tokens=5)).nano_usd == 0


def test_a_price_survives_its_journey_to_the_gateway() -> None:
    for price in (GPT_5, SONNET, GEMINI_PRO, GEMINI_IMAGE, FREE):
        assert msgspec.json.decode(msgspec.json.encode(price), type=Price) == price
