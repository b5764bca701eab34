"""The list prices that are shipped with the package, read once."""

import functools
from importlib import resources

from modelyard.domain.pricing import tables
from modelyard.domain.pricing.tables import Entry, Table


@functools.cache
def shipped() -> Table:
    """The table of the package."""
    file = resources.files("modelyard.domain.pricing") / "table.json"
    return tables.parse(file.read_bytes())


def find(provider: str, model: str, day: str = "") -> Entry | None:
    """The entry of a model of a kind of provider, on that day (`2026-11-25`; empty: the day of the
    table); None when nobody knows its list price."""
    return shipped().find(provider, model, day)
