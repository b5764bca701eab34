"""Whom a request speaks for: what the key says, then what head and body say.

A key that is marked as trusted (an application that has users of its own) may say for which person
and team it asks; from all others that is not believed. Sessions and clients bind nobody, so every
caller may name them. `docs/reference/callers.md` states the same order for people.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from modelyard.domain.snapshot import AccessKey

SESSION_HEADERS = (
    b"x-modelyard-session",
    b"x-claude-code-session-id",
    b"session-id",  # Codex
    b"session_id",  # Codex before 2026
    b"x-opencode-session",
    b"x-openwebui-chat-id",
)
PERSON_HEADERS = (b"x-modelyard-person", b"x-openwebui-user-email", b"x-openwebui-user-id")
TEAM_HEADERS = (b"x-modelyard-team",)
CLIENT_HEADERS = (b"x-modelyard-client", b"originator")
MAX_LABEL = 64
MAX_PERSON = 128
_USER_FIELDS = ("email", "account_uuid", "device_id", "id")
"""Of a `user_id` that is an object itself, as Claude Code sends it."""


class Asking(NamedTuple):
    """Empty where nobody said."""

    team: str
    person: str
    session: str
    client: str


def of_head(key: AccessKey, headers: Mapping[bytes, bytes]) -> Asking:
    """What is known before the body: the key's own word first."""
    person, team = key.person, key.team
    if key.trusted:
        person = person or _first(headers, PERSON_HEADERS, MAX_PERSON)
        team = team or _first(headers, TEAM_HEADERS, MAX_LABEL)
    client = key.client or _first(headers, CLIENT_HEADERS, MAX_LABEL)
    if not client:
        client = _text(headers.get(b"user-agent", b"").split(b" ")[0], MAX_LABEL)
    return Asking(team, person, _first(headers, SESSION_HEADERS, MAX_LABEL), client)


def person_of(value: bytes) -> str:
    """The person in the JSON of `user`, `safety_identifier`, or of Anthropic's `metadata`."""
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if isinstance(found, dict):
        found = found.get("user_id")
    return _named(found) if isinstance(found, str) else ""


def _named(text: str) -> str:
    """The text, or what names a person in it where it is an object in disguise."""
    if text.startswith("{"):
        try:
            inner: Any = msgspec.json.decode(text)
        except msgspec.DecodeError:
            inner = None
        if isinstance(inner, dict):
            names = (inner.get(field) for field in _USER_FIELDS)
            text = next((name for name in names if isinstance(name, str) and name), "")
    return text[:MAX_PERSON] if text.isprintable() else ""


def _first(headers: Mapping[bytes, bytes], names: tuple[bytes, ...], limit: int) -> str:
    return next((_text(headers[name], limit) for name in names if headers.get(name)), "")


def _text(raw: bytes, limit: int) -> str:
    return raw[:limit].decode("latin-1")
