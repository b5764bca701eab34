"""A request as the caches see it: decoded once, then asked for its keys."""

import hashlib
import re
from collections.abc import Mapping
from decimal import Context, Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

_LEFT_OUT = frozenset({"stream", "stream_options", "user", "metadata", "store"})
"""Members that change how an answer travels or is filed, not what it says."""
_EXACT = Context(prec=10**18 - 1, Emax=10**18 - 1, Emin=1 - 10**18)
_PLAIN_DIGITS = 30
_DEFAULT_TEMPERATURE = 1.0
"""What engines take when a request names none (OpenAI's default)."""
_NUMBERS = re.compile(r"\d+(?:[.,:]\d+)*")


class Directives(NamedTuple):
    """What a client's `Cache-Control` asks for (RFC 9111 §5.2.1)."""

    answer: bool = True
    """It may be answered from the cache; false with `no-cache`, and with `no-store`."""
    keep: bool = True
    """Its answer may be kept; false with `no-store`."""


def directives(cache_control: bytes) -> Directives:
    """Read the header; what it does not know it ignores, as the RFC asks."""
    if not cache_control:
        return Directives()
    names = {name.strip().lower() for name in cache_control.split(b",")}
    keep = b"no-store" not in names
    return Directives(answer=keep and b"no-cache" not in names, keep=keep)


class Meaning(NamedTuple):
    """The part of a question that is compared by meaning, and all that must be equal."""

    text: str
    """The last message of the user."""
    rest: Mapping[str, Any]
    """Everything before and beside it, and the numbers in it: "in 2023" and "in 2024" are near in
    every embedding and never the same question."""

    def partition(self, versions: tuple[str, ...], tenant: str) -> bytes:
        """Digest of what must be equal; only texts of one partition are compared."""
        return _digest(tenant, versions, self.rest)


class Question:
    """A chat or completions body (or one for embeddings).

    Raises ValueError when the body is no JSON object that can be normalised.
    """

    __slots__ = ("_members",)

    def __init__(self, body: bytes) -> None:
        try:
            members = _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"cannot be normalised: {error}") from None
        self._members = {
            name: value
            for name, value in members.items()
            if value is not None and name not in _LEFT_OUT
        }

    def exact_key(self, versions: tuple[str, ...], tenant: str) -> bytes:
        """Digest (32 bytes) of tenant, versions and the normalised request.

        Normalised: no white space, members sorted at every depth, the last of equal names counts,
        members that are null left out at the top. Numbers are compared by value and never rounded:
        1, 1.0 and 1e0 are one key, 0.1 and 0.10000000000000001 are two, although a double cannot
        tell them apart.
        """
        return _digest(tenant, versions, self._members)

    def refusal(self, max_temperature: float) -> str:
        """Why it can neither be answered from a cache nor kept; empty when it can."""
        if self._members.get("n", 1) != 1:
            return "several_choices"
        if "audio" in self._members:
            return "audio"
        if not self._temperature() <= max_temperature:
            return "temperature"
        return ""

    def meaning(self, max_temperature: float) -> Meaning | None:
        """What may be compared by meaning; None where that is never done: tools or their results
        in the conversation, anything but text in the last message, a temperature above the bound
        (none given counts as 1), text completions."""
        messages = self._members.get("messages")
        if self.refusal(max_temperature) or not _only_text(messages) or self._has_tools():
            return None
        assert isinstance(messages, list)
        *before, last = messages
        text = _text_of(last)
        if not text.strip():
            return None
        beside = {name: value for name, value in last.items() if name != "content"}
        numbers = _NUMBERS.findall(text)
        rest = {**self._members, "messages": [*before, beside], "numbers in the text": numbers}
        return Meaning(text, rest)

    def _has_tools(self) -> bool:
        return any(self._members.get(name) for name in ("tools", "functions"))

    def _temperature(self) -> float:
        """Not a number, where it is none: that is above every bound."""
        value = self._members.get("temperature", _DEFAULT_TEMPERATURE)
        if isinstance(value, msgspec.Raw):
            return float(bytes(value))
        return float(value) if isinstance(value, int | float) else float("nan")


def _only_text(messages: Any) -> bool:
    """Whether it is a conversation without tools whose last word is the user's."""
    return (
        isinstance(messages, list)
        and len(messages) > 0
        and all(isinstance(message, dict) for message in messages)
        and messages[-1].get("role") == "user"
        and not any(
            message.get("tool_calls") or message.get("role") in ("tool", "function")
            for message in messages
        )
    )


def _text_of(message: Mapping[str, Any]) -> str:
    """The text of a message; empty when it holds anything else."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        return ""
    return "\n".join(part["text"] for part in parts)


def _number(text: str) -> msgspec.Raw:
    """One spelling for each value, every digit kept."""
    try:
        value = Decimal(text).normalize(_EXACT)
    except (InvalidOperation, MemoryError):
        return msgspec.Raw(text.encode())
    if not value:
        return msgspec.Raw(b"0")
    # Written out as whole numbers are, unless that would be a line of zeros.
    plain = -_PLAIN_DIGITS < value.adjusted() < _PLAIN_DIGITS
    return msgspec.Raw((f"{value:f}" if plain else str(value)).encode())


def _digest(tenant: str, versions: tuple[str, ...], members: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(_encode((tenant, versions, members))).digest()


_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=_number)
_encode = msgspec.json.Encoder(order="deterministic").encode
