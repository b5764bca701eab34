"""The table of list prices that is shipped: what it holds, and which entry a model's name means.

Reading the file is `control/prices.py`; here its bytes become entries, in whole nano-dollars.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from modelyard.domain.snapshot.prices import Price, Rates, ServiceTier, Step

NANO = 1_000_000_000
_VERSION = re.compile(
    r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d|(?:0[1-9]|1[0-2])[0-3]\d|0\d\d|latest)(?:-v\d+(?::\d+)?)?"
)
"""What may follow a model's name without making it another model: a date (`-20250929`,
`@20250929`, `-2024-08-06`, `-0613`), Gemini's number (`-001`), `-latest`, and after a date what
Bedrock adds (`-v1:0`)."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The list price of one model."""

    provider: str
    """The kind of provider: `openai`, `anthropic` …"""
    model: str
    aliases: tuple[str, ...] = ()
    price: Price
    source: str
    """Where the price is from: a kind of source, which the table describes."""
    seen: str
    """The day on which it was there, as `2026-11-25`."""
    since: str = ""
    until: str = ""
    """The days from which, and before which, this price holds; empty: no bound is known."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """All entries, by the kind of provider."""

    as_of: str
    """The day of the table."""
    sources: dict[str, str]
    """What each kind of source is."""
    entries: dict[str, tuple[Entry, ...]]
    notes: dict[str, str] = {}
    """Why a kind of provider has no entries, or not all that people may look for."""

    def find(self, provider: str, model: str, day: str = "") -> Entry | None:
        """The entry of a model: by its exact name, else by the longest name that only a date or a
        version follows. `day` is when it must hold, as `2026-11-25`; empty: the table's own."""
        wanted = model.lower().removeprefix("models/")
        held = [one for one in self.entries.get(provider, ()) if _holds(one, day or self.as_of)]
        for entry in held:
            if wanted in _names(entry):
                return entry
        return _longest(wanted, held)

    def every(self, day: str = "") -> Iterator[Entry]:
        """The entries that hold on that day, the providers in the table's order."""
        for entries in self.entries.values():
            yield from (one for one in entries if _holds(one, day or self.as_of))


def _holds(entry: Entry, day: str) -> bool:
    return entry.since <= day and (not entry.until or day < entry.until)


def _names(entry: Entry) -> tuple[str, ...]:
    return (entry.model, *entry.aliases)


def _longest(wanted: str, entries: list[Entry]) -> Entry | None:
    best, length = None, 0
    for entry in entries:
        for name in _names(entry):
            if length < len(name) and _is_version_of(wanted, name):
                best, length = entry, len(name)
    return best


def _is_version_of(wanted: str, name: str) -> bool:
    return wanted.startswith(name) and _VERSION.fullmatch(wanted, len(name)) is not None


class _Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars per million tokens, by the names that the kinds have in `Rates`."""

    input: Decimal | None = None
    output: Decimal | None = None
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    image_input: Decimal | None = None
    image_output: Decimal | None = None


class _Step(_Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    above: int


class _Tier(_Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Its own rates, or a share of all the standard ones."""

    percent: int = 0
    steps: tuple[_Step, ...] = ()


class _Model(_Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str
    aliases: tuple[str, ...] = ()
    request: Decimal = Decimal(0)
    tools: dict[str, Decimal] = {}
    """US dollars per use."""
    steps: tuple[_Step, ...] = ()
    tiers: dict[str, _Tier] = {}
    source: str
    seen: str
    since: str = ""
    until: str = ""


class _Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    same_as: str = ""
    """Another kind of provider, whose models cost the same here."""
    same_tiers: dict[str, str] = {}
    """A name of a service tier, and another one for the same."""
    note: str = ""
    """Why models are missing."""
    models: tuple[_Model, ...] = ()


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    as_of: str
    sources: dict[str, str]
    providers: dict[str, _Provider]


_decoder = msgspec.json.Decoder(_File)


def parse(data: bytes) -> Table:
    """The table in a file. Raises ValueError, which names the model, for one that is damaged."""
    file = _decoder.decode(data)
    return Table(
        as_of=file.as_of,
        sources=file.sources,
        entries={kind: _entries(kind, file.providers) for kind in file.providers},
        notes={kind: one.note for kind, one in file.providers.items() if one.note},
    )


def _entries(kind: str, providers: Mapping[str, _Provider]) -> tuple[Entry, ...]:
    own = providers[kind]
    listed = providers[own.same_as] if own.same_as else own
    return tuple(_entry(kind, model, listed.same_tiers) for model in listed.models)


def _entry(kind: str, model: _Model, same_tiers: Mapping[str, str]) -> Entry:
    try:
        price = _price(model, same_tiers)
    except ValueError as error:
        raise ValueError(f"{kind} {model.model}: {error}") from None
    return Entry(
        provider=kind,
        model=model.model,
        aliases=model.aliases,
        price=price,
        source=model.source,
        seen=model.seen,
        since=model.since,
        until=model.until,
    )


def _price(model: _Model, same_tiers: Mapping[str, str]) -> Price:
    tiers = {name: _tier(one, model) for name, one in model.tiers.items()}
    for other, name in same_tiers.items():
        if name in tiers:
            tiers[other] = tiers[name]
    return Price(
        **_nanos(model),
        per_request=_nano(model.request),
        server_tools={name: _nano(usd) for name, usd in model.tools.items()},
        steps=_steps(model.steps),
        service_tiers=tiers,
    )


def _tier(tier: _Tier, model: _Model) -> ServiceTier:
    if not tier.percent:
        return ServiceTier(**_nanos(tier), steps=_steps(tier.steps))
    return ServiceTier(**_nanos(model, tier.percent), steps=_steps(model.steps, tier.percent))


def _steps(steps: tuple[_Step, ...], percent: int = 100) -> tuple[Step, ...]:
    made = [Step(**_nanos(one, percent), above_input_tokens=one.above) for one in steps]
    return tuple(sorted(made, key=lambda step: step.above_input_tokens))


def _nanos(rates: _Rates, percent: int = 100) -> dict[str, Any]:
    """Nano-dollars of each kind, those that are not given included: a price has no other default
    here than not being known."""
    found: dict[str, int | None] = {}
    for name in Rates.__struct_fields__:
        usd: Decimal | None = getattr(rates, name)
        found[name] = None if usd is None else _nano(usd * percent / 100)
    return found


def _nano(usd: Decimal) -> int:
    """Nano-dollars; raises ValueError where a price is below nothing or finer than that."""
    nano = usd * NANO
    if nano < 0 or nano != int(nano):
        raise ValueError(f"{usd} US dollars are not a whole number of nano-dollars")
    return int(nano)
