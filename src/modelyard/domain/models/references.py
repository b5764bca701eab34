"""References to a version: `name`, `name:3`, `name@production`, `name@sha256:<hex>`."""

import re
from typing import NamedTuple

from modelyard.domain.models.paths import printable
from modelyard.errors import Invalid
from modelyard.lib.digests import is_digest

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
"""The same names that services may have."""
ALIAS = re.compile(r"[a-z][a-z0-9-]{0,30}")
EXAMPLES = "support-bot, support-bot:3, support-bot@production or support-bot@sha256:<64 hex>"


class Reference(NamedTuple):
    """At most one of `version`, `alias` and `digest` is set; none means the latest version."""

    name: str
    version: int = 0
    alias: str = ""
    digest: str = ""

    def __str__(self) -> str:
        if self.version:
            return f"{self.name}:{self.version}"
        mark = self.alias or self.digest
        return f"{self.name}@{mark}" if mark else self.name


def parse(text: str) -> Reference:
    """Raises Invalid that shows how a reference looks."""
    name, at, mark = text.partition("@")
    if at:
        check_name(name, text)
        return Reference(name, digest=mark) if is_digest(mark) else _alias(name, mark, text)
    name, colon, number = text.partition(":")
    check_name(name, text)
    if not colon:
        return Reference(name)
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        hint = f"did you mean {name}@{number}?" if ALIAS.fullmatch(number) else ""
        raise _wrong(text, "after ':' stands a version number such as 3", hint)
    return Reference(name, version=int(number))


def _alias(name: str, mark: str, text: str) -> Reference:
    if mark.isascii() and mark.isdigit():
        raise _wrong(text, "a version follows ':'", f"did you mean {name}:{mark}?")
    if mark.startswith("sha256:"):
        raise _wrong(text, "a digest is sha256: and 64 hexadecimal digits in lower case")
    if not ALIAS.fullmatch(mark):
        raise _wrong(text, "after '@' stands an alias or a digest")
    return Reference(name, alias=mark)


def check_name(name: str, text: str = "") -> None:
    """Raises Invalid unless a model may be called so."""
    if not NAME.fullmatch(name):
        raise _wrong(
            text or name,
            "names are lower-case letters, digits, '.', '_' and '-', at most 63 characters",
        )


def check_alias(alias: str) -> None:
    """Raises Invalid unless it is a letter, then letters, digits and '-'; never a number."""
    if not ALIAS.fullmatch(alias):
        raise Invalid(
            f"{printable(alias)!r} is no alias",
            hint="a letter, then up to 30 lower-case letters, digits and '-': production, canary-2",
        )


def _wrong(text: str, why: str, hint: str = "") -> Invalid:
    return Invalid(
        f"{printable(text)!r} is no model reference: {why}", hint=hint or f"write {EXAMPLES}"
    )
