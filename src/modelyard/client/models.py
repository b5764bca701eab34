"""Models: push, pull, aliases."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from modelyard.client.calls import VersionCalls, quoted
from modelyard.domain.models import formats, references
from modelyard.domain.models.paths import check_paths, hidden
from modelyard.domain.models.source import ModelSource
from modelyard.errors import Conflict, Invalid, Unavailable
from modelyard.lib import digests

CHUNK_BYTES = 1024 * 1024
_ANY = -1

Progress = Callable[[str, int, int], None]
"""Called with the file (`hash PATH`, `send PATH`, `get PATH`), bytes done, bytes in all."""


def _silent(_what: str, _done: int, _total: int) -> None:
    return


class ModelCalls(VersionCalls):
    """Only content that the other side lacks is sent."""

    def models(self) -> list[dict[str, Any]]:
        """All models."""
        return list(self._connection.call("GET", "/api/models")["models"])

    def model(self, name: str) -> dict[str, Any]:
        """`{model, generation, versions}`."""
        return self._connection.call("GET", f"/api/models/{quoted(name)}")

    def push(
        self,
        path: Path,
        name: str,
        *,
        alias: str | None = None,
        profile: Mapping[str, Any] | None = None,
        card: str | None = None,
        on_progress: Progress = _silent,
    ) -> dict[str, Any]:
        """Push a file or folder: only content that is not there yet is sent. The version, with
        `created` saying whether it is new. Raises Invalid before anything is sent when the files
        are no whole model."""
        references.check_name(name)
        sources = _sources(path)
        kept = formats.inspect([source for source, _ in sources]).files
        local = {source.path: place for source, place in sources}
        files = [
            {
                "path": source.path,
                "digest": _hashed(local[source.path], source.path, on_progress),
                "size_bytes": source.size_bytes,
            }
            for source in kept
        ]
        sizes = {str(file["digest"]): file["size_bytes"] for file in files}
        wanted = {"digests": list(sizes), "sizes": sizes}
        missing = set(self._connection.call("POST", "/api/blobs/missing", json=wanted)["missing"])
        for file in files:
            if file["digest"] in missing:
                self._send(local[str(file["path"])], file, on_progress)
                missing.discard(file["digest"])
        body = {"files": files, "alias": alias, "card": card or "", "profile": dict(profile or {})}
        return self._connection.call(
            "POST", f"/api/models/{quoted(name)}/versions", json=body, timeout=300.0
        )

    def _send(self, path: Path, file: Mapping[str, Any], on_progress: Progress) -> None:
        size = path.stat().st_size

        def content() -> Iterator[bytes]:
            done = 0
            for chunk in _chunks(path):
                yield chunk
                done += len(chunk)
                on_progress(f"send {file['path']}", done, size)

        self._connection.call(
            "PUT",
            f"/api/blobs/{file['digest']}",
            content=content(),
            headers={"content-length": str(size)},
            timeout=httpx.Timeout(30.0, read=600.0, write=600.0),
        )

    def pull(self, reference: str, folder: Path, on_progress: Progress = _silent) -> list[Path]:
        """Write the files of a version into a folder, each whole and checked or not at all.

        Raises Conflict when a file is there with another content.
        """
        version = self.version(reference)
        check_paths(file["path"] for file in version["files"])
        return [self._get_file(file, folder, on_progress) for file in version["files"]]

    def _get_file(self, file: Mapping[str, Any], folder: Path, on_progress: Progress) -> Path:
        path: Path = folder / str(file["path"])
        if path.exists():
            if digests.of_file(path) == file["digest"]:
                return path
            raise Conflict(f"{path} exists with another content", hint="pull into another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as out:
                self._download(file, out.write, on_progress)
            if digests.of_file(partial) != file["digest"]:
                raise Unavailable(f"{file['path']} arrived damaged", hint="pull it again")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def _download(
        self, file: Mapping[str, Any], write: Callable[[bytes], Any], on_progress: Progress
    ) -> None:
        done = 0
        path = f"/api/blobs/{quoted(file['digest'])}"
        with self._connection.stream(path) as answer:
            for chunk in answer.iter_bytes(CHUNK_BYTES):
                write(chunk)
                done += len(chunk)
                on_progress(f"get {file['path']}", done, file["size_bytes"])

    def set_alias(
        self, name: str, alias: str, version: int, expected: int | None = _ANY
    ) -> dict[str, Any]:
        """Point an alias at a version, if it points at `expected` now (None: nowhere)."""
        body = {"version": version, "expected": expected}
        return self._connection.call(
            "PUT", f"/api/models/{quoted(name)}/aliases/{quoted(alias)}", json=body
        )

    def remove_alias(self, name: str, alias: str) -> dict[str, Any]:
        """Remove an alias."""
        return self._connection.call(
            "DELETE", f"/api/models/{quoted(name)}/aliases/{quoted(alias)}"
        )


def _sources(path: Path) -> list[tuple[ModelSource, Path]]:
    """The files of a path, as the registry will name them."""
    if path.is_file():
        return [(_source(path, path.name), path)]
    if not path.is_dir():
        raise Invalid(f"{path} does not exist", hint="give a file or a folder")
    root = path.resolve()
    found = []
    for place in sorted(path.rglob("*")):
        if not place.is_file():
            continue
        name = place.relative_to(path).as_posix()
        if hidden(name):
            continue
        if not place.resolve().is_relative_to(root):
            raise Invalid(f"{name} is a link out of {path}", hint="put the file itself there")
        found.append((_source(place, name), place))
    return found


def _source(path: Path, name: str) -> ModelSource:
    return ModelSource(name, path.stat().st_size, lambda: path.open("rb"))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _hashed(path: Path, name: str, on_progress: Progress) -> str:
    total = path.stat().st_size
    hashed, done = hashlib.sha256(), 0
    for chunk in _chunks(path):
        hashed.update(chunk)
        done += len(chunk)
        on_progress(f"hash {name}", done, total)
    return f"sha256:{hashed.hexdigest()}"
