"""Models on disk: which files make one, what their headers say, and how versions are named.

`formats.inspect` looks at files, on the client before an upload and on the server again;
`references.parse` reads `name:3`, `name@alias` and `name@sha256:…`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from modelyard.lib.digests import of_bytes

FILE_FIELDS = ("path", "digest", "size_bytes")


def manifest(files: Iterable[Mapping[str, Any]]) -> bytes:
    """The canonical list of a version's files, sorted by path: what its digest covers."""
    entries = sorted(({name: file[name] for name in FILE_FIELDS} for file in files), key=_path)
    text = json.dumps({"files": entries}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def manifest_digest(files: Iterable[Mapping[str, Any]]) -> str:
    """The digest of a version: the same files under the same paths always have the same one."""
    return of_bytes(manifest(files))


def _path(entry: Mapping[str, Any]) -> str:
    return str(entry["path"])
