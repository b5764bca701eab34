"""A JSON object that is read member by member, so that an error names the place.

Members stay bytes until somebody asks for them: what nobody asks for travels along unchanged.
"""

from typing import TypeVar

import msgspec

from modelyard.domain.chat import Members
from modelyard.errors import Invalid

T = TypeVar("T")

_STARTS = {
    ord('"'): "a string", ord("{"): "an object", ord("["): "a list", ord("n"): "null",
    ord("t"): "a boolean", ord("f"): "a boolean",
}  # fmt: skip


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are no JSON, or another value than the one asked for."""


def wrong(message: str, hint: str = "") -> Invalid:
    """A mistake of the client's."""
    return Invalid(message, hint=hint, code="invalid_request_error")


def decoded(raw: bytes | msgspec.Raw, kind: type[T], path: str, what: str) -> T:
    """The value at `path`. Raises Invalid unless it is `what`."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        raise wrong(f"{path} must be {what}, not {_named(raw)}") from None
    except UNREADABLE as error:
        raise wrong(f"{path} is not valid JSON: {error}", "send a JSON object in UTF-8") from None


def _named(raw: bytes | msgspec.Raw) -> str:
    start = bytes(memoryview(raw)[:64]).lstrip()
    return _STARTS.get(start[0], "a number") if start else "nothing"


def is_null(raw: msgspec.Raw) -> bool:
    """Whether a value is null. Values may be large: none is copied for this."""
    return len(memoryview(raw)) == 4 and bytes(raw) == b"null"


def elements(raw: msgspec.Raw, path: str, what: str = "a list") -> list[tuple[msgspec.Raw, str]]:
    """The elements of a list and their paths. Raises Invalid when it is no list."""
    values = decoded(raw, list[msgspec.Raw], path, what)
    return [(value, f"{path}[{at}]") for at, value in enumerate(values)]


def is_text(raw: msgspec.Raw) -> bool:
    """Whether a value is a string."""
    return bytes(memoryview(raw)[:1]) == b'"'


class Fields:
    """The members of one object; `path` is where it stands, such as `messages[2]`."""

    __slots__ = ("_asked", "_members", "path")

    def __init__(self, raw: bytes | msgspec.Raw, path: str) -> None:
        """Raises Invalid when it is no object."""
        self.path = path
        self._members = decoded(raw, Members, path or "the body", "a JSON object")
        self._asked: set[str] = set()

    @classmethod
    def of(cls, body: bytes) -> "Fields":
        """The members of a whole body. What is kept of it unread is UTF-8 then: endpoints fail on
        what is none, and the fault would seem theirs. Raises Invalid."""
        try:
            body.isascii() or body.decode()
        except UnicodeDecodeError as error:
            raise wrong(f"the body is not UTF-8: {error}", "send a JSON object in UTF-8") from None
        return cls(body, "")

    def at(self, name: str) -> str:
        """The path of a member."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Whether a member is there and not null; asking so does not take it from the rest."""
        value = self._members.get(name)
        return value is not None and not is_null(value)

    def raw(self, name: str) -> msgspec.Raw | None:
        """A member's bytes; None where it is absent or null."""
        self._asked.add(name)
        value = self._members.get(name)
        return None if value is None or is_null(value) else value

    def needed(self, name: str) -> msgspec.Raw:
        """A member's bytes. Raises Invalid where it is absent or null."""
        value = self.raw(name)
        if value is None:
            raise wrong(f"{self.at(name)} is missing")
        return value

    def get(self, name: str, kind: type[T], what: str) -> T | None:
        """A member; None where it is absent or null. Raises Invalid unless it is `what`."""
        value = self.raw(name)
        return None if value is None else decoded(value, kind, self.at(name), what)

    def text(self, name: str) -> str:
        """A string; empty where it is absent."""
        return self.get(name, str, "a string") or ""

    def said(self, name: str) -> str:
        """A string that must be there, be it empty."""
        return decoded(self.needed(name), str, self.at(name), "a string")

    def name(self, name: str) -> str:
        """A string that must be there and say something."""
        value = self.said(name)
        if not value:
            raise wrong(f"{self.at(name)} must not be empty")
        return value

    def count(self, name: str) -> int | None:
        """A whole number that is not below nothing."""
        value = self.get(name, int, "a whole number")
        if value is not None and value < 0:
            raise wrong(f"{self.at(name)} is {value}, and must be 0 or more")
        return value

    def whole(self, name: str) -> int | None:
        """A whole number."""
        return self.get(name, int, "a whole number")

    def number(self, name: str) -> float | None:
        """A number."""
        return self.get(name, float, "a number")

    def flag(self, name: str) -> bool | None:
        """A boolean."""
        return self.get(name, bool, "a boolean")

    def object(self, name: str) -> "Fields | None":
        """An object; None where it is absent."""
        value = self.raw(name)
        return None if value is None else Fields(value, self.at(name))

    def inner(self, name: str) -> "Fields":
        """An object that must be there."""
        return Fields(self.needed(name), self.at(name))

    def list(self, name: str) -> "list[tuple[msgspec.Raw, str]]":
        """The elements of a list and their paths; empty where it is absent."""
        value = self.raw(name)
        return [] if value is None else elements(value, self.at(name))

    def rest(self) -> Members:
        """What nobody has asked for, nulls left out."""
        return {
            name: value
            for name, value in self._members.items()
            if name not in self._asked and not is_null(value)
        }
