"""What people write about a model: its profile, and the card of a version."""

import difflib
from collections.abc import Mapping
from typing import Any

from modelyard.errors import Invalid, TooLarge

MAX_CARD_BYTES = 64 * 1024
MAX_QUESTIONS = 20
_PROFILE = {"description": 2000, "purpose": 4000, "suggested_questions": 500, "license": 200}
"""Fields and the most characters of their texts."""


def new_model(name: str, now_us: int) -> dict[str, Any]:
    """A Model document without versions."""
    return {
        "name": name,
        "description": "",
        "purpose": "",
        "suggested_questions": [],
        "license": "",
        "aliases": {},
        "latest": 0,
        "created_at_us": now_us,
    }


def check_card(card: str) -> None:
    """Raises TooLarge, or Invalid for half characters."""
    if len(card.encode(errors="replace")) > MAX_CARD_BYTES:
        raise TooLarge(f"the card has more than {MAX_CARD_BYTES} bytes", hint="shorten it")
    _check_text("card", card, MAX_CARD_BYTES)


def checked_profile(profile: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something: an empty one leaves what is there."""
    for name, value in profile.items():
        if name not in _PROFILE:
            near = difflib.get_close_matches(name, _PROFILE, n=1)
            known = f"known: {', '.join(_PROFILE)}"
            hint = f"did you mean {near[0]!r}?" if near else known
            raise Invalid(f"profile: unknown field {name!r}", hint=hint)
        if name == "suggested_questions":
            if not isinstance(value, list) or len(value) > MAX_QUESTIONS:
                raise Invalid(f"profile.{name}: must be a list of at most {MAX_QUESTIONS} texts")
            for number, question in enumerate(value):
                _check_text(f"profile.{name}.{number}", question, _PROFILE[name])
        else:
            _check_text(f"profile.{name}", value, _PROFILE[name])
    return {name: value for name, value in profile.items() if value}


def _check_text(what: str, value: Any, limit: int) -> None:
    if not isinstance(value, str):
        raise Invalid(f"{what}: must be a text")
    if len(value) > limit:
        raise Invalid(f"{what}: must have at most {limit} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Invalid(f"{what}: holds half a character (a lone surrogate)") from None


def with_profile(
    model: dict[str, Any], profile: Mapping[str, Any], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """What the push says wins; the licence in the file fills a gap."""
    license_ = model["license"] or str(metadata.get("license", ""))
    return {**model, "license": license_, **profile}
