"""Secrets: values such as a provider's key, named by references that say where each is kept.

A reference (`env:NAME`, `file:/path`, `store:NAME`) may stand in a document, be logged and be
shown; a value goes into the head of a request and nowhere else. No message of an error holds one.
"""

from collections.abc import Sequence
from typing import Protocol

from modelyard.errors import Invalid
from modelyard.ports.meta import DEFAULT_TENANT

MAX_SECRET_CHARACTERS = 8192


class Secrets(Protocol):
    """Where values are. Each look finds what is there now, so a changed value needs no restart."""

    def resolve(self, reference: str, *, tenant: str = DEFAULT_TENANT, origin: str = "") -> str:
        """The value, to be sent to this origin (`https://host:port`) and no other.

        Raises NotFound when there is none under that reference; Invalid when the reference or the
        value cannot be used, or when the value is bound to another origin. Both say what to do.
        """
        ...


class SecretStore(Secrets, Protocol):
    """Secrets that the platform keeps itself. What was put is never shown again: `resolve` is
    for whoever sends it, and no API answers with it."""

    def put(self, tenant: str, name: str, value: str, origin: str) -> None:
        """Keep a value, in place of a former one, for this origin alone. Raises Invalid."""
        ...

    def origin(self, tenant: str, name: str) -> str:
        """Where the value may be sent. Raises NotFound."""
        ...

    def delete(self, tenant: str, name: str) -> None:
        """Forget it; unknown ones change nothing."""
        ...

    def names(self, tenant: str) -> Sequence[str]:
        """What is kept, without the values."""
        ...


def usable(value: str, where: str) -> str:
    """The value without the white space around it, as an editor or a heredoc leaves it.

    Raises Invalid, naming `where` it is from, for one that is empty, too long, or has characters
    that no header may hold (RFC 9110 §5.5): a second line would be a header of its own.
    """
    stripped = value.strip()
    if not stripped:
        raise Invalid(f"{where} is empty", hint="put the key there, on one line")
    if len(stripped) > MAX_SECRET_CHARACTERS:
        raise Invalid(
            f"{where} has more than {MAX_SECRET_CHARACTERS} characters", hint="a key is one line"
        )
    if not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        raise Invalid(
            f"{where} holds a space, a line break or a character that no key has",
            hint="it must be the key alone, on one line",
        )
    return stripped
