"""BlobStore: whole files at rest, addressed by sha256."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol


class Blob(NamedTuple):
    """`digest` is `sha256:<hex>`."""

    digest: str
    size_bytes: int


class BlobStore(Protocol):
    """Content-addressed and write-once; putting what is there already changes nothing."""

    def put(self, chunks: Iterable[bytes], expected_digest: str = "") -> Blob:
        """Store the bytes; visible only once complete and durable.

        Raises Invalid when the content does not have `expected_digest`, Unavailable when it
        cannot be written (disk full says so). A failed put leaves nothing behind.
        """
        ...

    def open(self, digest: str) -> BinaryIO:
        """The blob for reading. Raises NotFound."""
        ...

    def stat(self, digest: str) -> Blob | None:
        """The blob's size, or None when it is not here."""
        ...

    def path(self, digest: str) -> Path:
        """A local read-only file with the content, for engines that map it. Raises NotFound."""
        ...

    def delete(self, digest: str) -> None:
        """Remove it; nothing happens when it is not here."""
        ...
