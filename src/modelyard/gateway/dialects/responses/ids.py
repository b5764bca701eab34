"""Ids of a response and of its items, made from the one id that the answer has.

The same answer gets the same ids, as items in a stream and in the whole response at its end.
"""

import hashlib
import re

_PLAIN = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]{0,53}")
_PREFIX = re.compile(r"^(resp|chatcmpl|msg|cmpl)[_-]")
"""With which other dialects begin theirs."""


def digest(text: str, length: int = 40) -> str:
    """A short stand-in for a text, always the same one."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


class Ids:
    """OpenAI accepts at most 64 characters in an id that comes back as input."""

    __slots__ = ("_stem", "response")

    def __init__(self, id: str) -> None:
        stem = _PREFIX.sub("", id)
        self._stem = stem if _PLAIN.fullmatch(stem) else digest(id)
        self.response = f"resp_{self._stem}"

    def item(self, prefix: str, index: int) -> str:
        """Of the output item at `index`; the prefix tells its kind (`msg`, `fc`, `ctc`, `rs`)."""
        return f"{prefix}_{self._stem}_{index}"

    def call(self, id: str, index: int) -> str:
        """By which the tool's answer will name the call: the upstream's own id if it has one."""
        return id or f"call_{self._stem}_{index}"
