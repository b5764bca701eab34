"""A record as spools hold it and the inner stream carries it: the JSON `[kind, record]`."""

from typing import Any

import msgspec

from modelyard.domain.records import KINDS, Record
from modelyard.errors import Invalid

_decoders: dict[bytes, msgspec.json.Decoder[tuple[str, Any]]] = {
    b'["%b",' % name.encode(): msgspec.json.Decoder(tuple[str, kind])  # type: ignore[valid-type]
    for name, kind in KINDS.items()
}
"""By the bytes that an entry of the kind begins with: the record is then read in one pass, without
a dict between."""


def decoded(payload: bytes) -> Record:
    """The record of an entry, without the columns that only a newer writer knows.

    Raises Invalid for an unknown kind, a missing column or a value of another type.
    """
    decoder = _decoders.get(payload[: payload.find(b",") + 1])
    if decoder is None:
        known = ", ".join(KINDS)
        raise Invalid(f"no record kind in {payload[:40]!r}", hint=f"known kinds: {known}")
    try:
        record: Record = decoder.decode(payload)[1]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"record {payload[:60]!r}…: {error}") from None
    return record
