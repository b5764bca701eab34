"""The list prices that are shipped with the package, read once."""

import functools
from datetime import UTC, datetime
from importlib import resources

from modelyard.domain.documents.prices import price_of
from modelyard.domain.documents.providers import ProviderSpec
from modelyard.domain.pricing import tables
from modelyard.domain.pricing.tables import Entry, Table
from modelyard.domain.snapshot import Price
from modelyard.lib import clock


@functools.cache
def shipped() -> Table:
    """The table of the package."""
    file = resources.files("modelyard.domain.pricing") / "table.json"
    return tables.parse(file.read_bytes())


def find(provider: str, model: str, day: str = "") -> Entry | None:
    """The entry of a model of a kind of provider, on that day (`2026-11-25`; empty: the day of the
    table); None when nobody knows its list price."""
    return shipped().find(provider, model, day)


def of_provider(spec: ProviderSpec, model: str) -> Price | None:
    """What a model costs today: as the provider's document says, else its list price."""
    own = spec.prices.get(model)
    if own is not None:
        return price_of(own)
    return _list_price(spec.kind, model, today())


def today() -> str:
    """The day in UTC, as the table writes days."""
    return datetime.fromtimestamp(clock.now_us() / 1_000_000, UTC).date().isoformat()


@functools.lru_cache(maxsize=4096)
def _list_price(kind: str, model: str, day: str) -> Price | None:
    entry = find(kind, model, day)
    return entry.price if entry is not None else None
