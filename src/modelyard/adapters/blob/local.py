"""Blobs as files of one folder: `sha256/ab/ab…`, read-only, complete or not there."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from modelyard.errors import Invalid, NotFound, Unavailable
from modelyard.lib.digests import is_digest
from modelyard.ports.blobs import Blob

STALE_S = 24 * 3600
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalBlobStore:
    """Implements BlobStore."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._remove_stale()

    def _remove_stale(self) -> None:
        """Uploads that a killed process left; young ones may still be written."""
        for path in self._incoming.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_S:
                    path.unlink()

    def put(self, chunks: Iterable[bytes], expected_digest: str = "") -> Blob:
        """See the port."""
        if expected_digest and not is_digest(expected_digest):
            raise Invalid(f"{expected_digest!r} is no digest; it looks like sha256:<64 hex>")
        try:
            descriptor, name = tempfile.mkstemp(dir=self._incoming)
        except OSError as error:
            raise self._unavailable(error) from error
        temporary = Path(name)
        try:
            blob = self._write(descriptor, chunks)
            if expected_digest and blob.digest != expected_digest:
                raise Invalid(
                    f"the content is {blob.digest}, not {expected_digest}",
                    hint="it was changed or cut on the way; send it again",
                )
            self._settle(temporary, blob.digest)
            return blob
        except OSError as error:
            raise self._unavailable(error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _write(self, descriptor: int, chunks: Iterable[bytes]) -> Blob:
        hashed = hashlib.sha256()
        size = 0
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                hashed.update(chunk)
                file.write(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        return Blob(f"sha256:{hashed.hexdigest()}", size)

    def _settle(self, temporary: Path, digest: str) -> None:
        final = self._file(digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.chmod(0o444)
        temporary.replace(final)
        _sync_folder(final.parent)

    def open(self, digest: str) -> BinaryIO:
        """See the port."""
        return self.path(digest).open("rb")

    def stat(self, digest: str) -> Blob | None:
        """See the port."""
        if not is_digest(digest):
            return None
        try:
            return Blob(digest, self._file(digest).stat().st_size)
        except FileNotFoundError:
            return None

    def path(self, digest: str) -> Path:
        """See the port."""
        if self.stat(digest) is None:
            raise NotFound(f"no blob {digest}", hint="push the model that it belongs to again")
        return self._file(digest)

    def delete(self, digest: str) -> None:
        """See the port."""
        if is_digest(digest):
            self._file(digest).unlink(missing_ok=True)

    def _file(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        return self._folder / "sha256" / name[:2] / name

    def _unavailable(self, error: OSError) -> Unavailable:
        if error.errno not in _FULL:
            return Unavailable(f"cannot store a blob in {self._folder}: {error.strerror}")
        free = shutil.disk_usage(self._folder).free / 2**20
        return Unavailable(
            f"the disk of {self._folder} is full ({free:,.0f} MiB left); nothing was stored",
            hint="free space and send it again; blobs that arrived whole are not sent twice",
            code="disk_full",
        )


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
