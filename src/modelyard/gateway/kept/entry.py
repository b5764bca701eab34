"""What is kept of one answer, and who may have it back."""

from typing import NamedTuple

import msgspec

from modelyard.domain.snapshot import AccessKey
from modelyard.gateway.dialects.fields import UNREADABLE


class Owner(NamedTuple):
    """For whom an answer is kept: a person, whichever key she uses; else the key alone."""

    tenant: str
    key_id: str
    person: str

    @classmethod
    def of(cls, key: AccessKey) -> "Owner":
        """Who asks with this key; of a trusted key the person that it speaks for."""
        return cls(key.tenant, key.id, key.person)

    def may_have(self, entry: "Entry") -> bool:
        """Whether the answer was kept for this one. A key that speaks for nobody has no part in
        what it asked for somebody, nor the other way round."""
        if (entry.tenant, entry.person) != (self.tenant, self.person):
            return False
        return bool(self.person) or entry.key_id == self.key_id


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation: what the client sent anew and what was answered, both as they
    were. The turns before it are found by `previous`."""

    tenant: str
    key_id: str
    team: str
    person: str
    service: str
    created_at_us: int
    expires_at_us: int
    previous: str = ""
    """The id of the answer that this one continues from; empty for the first one."""
    input: msgspec.Raw = msgspec.Raw(b"[]")
    """A string, or a list of items."""
    output: msgspec.Raw = msgspec.Raw(b"[]")
    """A list of items."""


_decoder = msgspec.json.Decoder(Entry)


def packed(entry: Entry) -> bytes:
    """The bytes of it."""
    return msgspec.json.encode(entry)


def unpacked(data: bytes) -> Entry | None:
    """None where an entry of another version cannot be read."""
    try:
        return _decoder.decode(data)
    except UNREADABLE:
        return None
