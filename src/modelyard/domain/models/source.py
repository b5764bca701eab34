"""A file of a model, wherever it lies: on the client's disk or in a blob store."""

from collections.abc import Callable
from typing import BinaryIO, NamedTuple


class ModelSource(NamedTuple):
    """Implements `formats.Source` with a function that opens the content."""

    path: str
    size_bytes: int
    opener: Callable[[], BinaryIO]

    def open(self) -> BinaryIO:
        """The content from its start, seekable."""
        return self.opener()
