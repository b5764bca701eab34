"""From an answer back to the first question of its conversation.

Each entry holds one turn and names the one before it, so every word is kept once, expires once and
is deleted once. A long conversation is read in slices, between which the event loop does other
things.
"""

from collections.abc import Callable

import msgspec

from modelyard.domain.snapshot import AccessKey
from modelyard.errors import Invalid, NotFound, TooLarge
from modelyard.gateway.dialects.fields import UNREADABLE, is_text
from modelyard.gateway.kept.entry import Entry, Owner
from modelyard.gateway.kept.store import Found, KeptResponses, Reading

MOST_TURNS = 4096
SLICE_TURNS = 64
SLICE_BYTES = 4 * 1024 * 1024
NOT_FOUND = "previous_response_not_found"
_items = msgspec.json.Decoder(list[msgspec.Raw])


class Reader:
    """Reads what was kept for one caller; all else does not exist for him."""

    def __init__(
        self, store: KeptResponses, key: AccessKey, may_call: Callable[[str], bool], now_us: int
    ) -> None:
        self.store = store
        self.now_us = now_us
        self._owner = Owner.of(key)
        self._may_call = may_call

    def find(self, reading: Reading, id: str) -> Found | None:
        """The entry of that id, if there is one for this caller."""
        found = reading.find(id, self._owner.tenant, self.now_us)
        if found is None or not self._owner.may_have(found.entry):
            return None
        return found if self._may_call(found.entry.service) else None


class Conversation:
    """Walks back from one answer. `walk` until it says that it is done."""

    def __init__(self, reader: Reader, id: str, most_bytes: int) -> None:
        self._reader = reader
        self._next = id
        self._first = id
        self._most_bytes = most_bytes
        self._size = 0
        self._turns: list[Entry] = []
        """The newest first."""

    def walk(self) -> bool:
        """Read one slice; whether all has been read.

        Raises NotFound where a turn is not there any more, TooLarge and Invalid where there are too
        many of them.
        """
        most_turns, most_bytes = len(self._turns) + SLICE_TURNS, self._size + SLICE_BYTES
        with self._reader.store.reading() as reading:
            while self._next and len(self._turns) < most_turns and self._size < most_bytes:
                self._read(reading)
        return not self._next

    def items(self) -> list[msgspec.Raw]:
        """All that was said, the oldest first."""
        return [item for entry in reversed(self._turns) for item in _said(entry)]

    def input(self) -> list[msgspec.Raw]:
        """The same without the last answer: what that was made from."""
        before = [item for entry in reversed(self._turns[1:]) for item in _said(entry)]
        return [*before, *items_of(self._turns[0].input)]

    def _read(self, reading: Reading) -> None:
        found = self._reader.find(reading, self._next)
        if found is None:
            raise self._missing()
        self._turns.append(found.entry)
        self._size += found.row.main_bytes
        self._next = found.entry.previous
        if self._size > self._most_bytes:
            raise TooLarge(
                f"the conversation that {self._first} ends has over {self._most_bytes} bytes",
                hint="begin a new one, or raise gateway.max_body_bytes",
                code="body_too_large",
            )
        if len(self._turns) >= MOST_TURNS and self._next:
            raise Invalid(
                f"the conversation that {self._first} ends has over {MOST_TURNS} turns",
                hint="begin a new one with what matters of it",
                code="conversation_too_long",
            )

    def _missing(self) -> NotFound:
        if not self._turns:
            return not_found(self._first)
        return NotFound(
            f"Previous response with id '{self._first}' continues from one that is not kept any "
            "more.",
            hint="it has expired or was deleted; send the conversation itself",
            code=NOT_FOUND,
        )


def _said(entry: Entry) -> list[msgspec.Raw]:
    return [*items_of(entry.input), *_items.decode(entry.output)]


def not_found(id: str) -> NotFound:
    """The one answer for ids that are unknown, expired, deleted or somebody else's."""
    return NotFound(f"Previous response with id '{id[:100]}' not found.", code=NOT_FOUND)


def items_of(given: msgspec.Raw) -> list[msgspec.Raw]:
    """The items of an `input`: a string is the message of a user. Raises Invalid."""
    if is_text(given):
        said = {"type": "message", "role": "user", "content": given}
        return [msgspec.Raw(msgspec.json.encode(said))]
    try:
        return _items.decode(given)
    except UNREADABLE:
        raise Invalid(
            "input is neither a string nor a list", hint="a string, or a list of items"
        ) from None
