"""Stores in memory: honest fakes that pass the same contract suites as the real ones."""

import hashlib
import io
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from modelyard.adapters.records.query import MEASURED, held, merged, summarised
from modelyard.domain.records import KINDS
from modelyard.errors import Invalid, NotFound
from modelyard.lib import clock, ids
from modelyard.lib.digests import is_digest
from modelyard.ports.blobs import Blob
from modelyard.ports.meta import Change, Commit, Document, Key, Page, check_changes, conflict
from modelyard.ports.records import Batch, Query

_UNIQUE = {"request": ("request_id",), "attempt": ("request_id", "number")}


class MemoryMetaStore:
    """Implements MetaStore for the threads of one process."""

    def __init__(self, now_us: Callable[[], int] = clock.now_us) -> None:
        self._now_us = now_us
        self._documents: dict[Key, tuple[int, int, str]] = {}
        self._commits: list[Commit] = []
        self._changed = threading.Condition()
        self._epoch = ids.uuid7().hex()

    @property
    def epoch(self) -> str:
        """See the port."""
        return self._epoch

    def get(self, key: Key) -> Document | None:
        """See the port."""
        with self._changed:
            return self._document(key) if key in self._documents else None

    def _document(self, key: Key) -> Document:
        generation, at_us, body = self._documents[key]
        return Document(key, generation, at_us, msgspec.json.decode(body))

    def list(self, tenant: str, kind: str, after: str = "", limit: int = 1000) -> Page:
        """See the port."""
        everyone = tenant == "*"
        tenant_after, name_after = after.split("/") if everyone and after else (tenant, after)
        behind = ("", "") if everyone and not after else (tenant_after, name_after)
        with self._changed:
            keys = sorted(
                key
                for key in self._documents
                if key.kind == kind
                and (everyone or key.tenant == tenant)
                and (key.tenant, key.name) > behind
            )
            documents = [self._document(key) for key in keys[:limit]]
        if len(keys) <= limit:
            return Page(documents, "")
        last = documents[-1].key
        return Page(documents, f"{last.tenant}/{last.name}" if everyone else last.name)

    def watch(self, since: int, timeout_s: float) -> Sequence[Commit]:
        """See the port."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._commits) > since, timeout_s)
            return self._commits[since : since + 1000]

    def commit(self, changes: Sequence[Change], actor: str, reason: str) -> int:
        """See the port."""
        bodies = check_changes(changes, actor, reason)
        with self._changed:
            for change in changes:
                found = self._documents.get(change.key, (0,))[0]
                if found != change.expected:
                    raise conflict(change, found)
            generation, now_us = len(self._commits) + 1, self._now_us()
            for change, body in zip(changes, bodies, strict=True):
                if body is None:
                    self._documents.pop(change.key, None)
                else:
                    self._documents[change.key] = (generation, now_us, body)
            keys = tuple(change.key for change in changes)
            self._commits.append(Commit(generation, now_us, actor, reason, keys))
            self._changed.notify_all()
            return generation


class MemoryBlobStore:
    """Implements BlobStore; `path` writes into a temporary folder that goes with the store."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="modelyard-blobs-")

    def put(self, chunks: Iterable[bytes], expected_digest: str = "") -> Blob:
        """See the port."""
        if expected_digest and not is_digest(expected_digest):
            raise Invalid(f"{expected_digest!r} is no digest; it looks like sha256:<64 hex>")
        data = b"".join(chunks)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if expected_digest and digest != expected_digest:
            raise Invalid(f"the content is {digest}, not {expected_digest}")
        self._blobs[digest] = data
        return Blob(digest, len(data))

    def open(self, digest: str) -> BinaryIO:
        """See the port."""
        return io.BytesIO(self._content(digest))

    def stat(self, digest: str) -> Blob | None:
        """See the port."""
        data = self._blobs.get(digest)
        return None if data is None else Blob(digest, len(data))

    def path(self, digest: str) -> Path:
        """See the port."""
        path = Path(self._folder.name) / digest.removeprefix("sha256:")
        path.write_bytes(self._content(digest))
        return path

    def _content(self, digest: str) -> bytes:
        if digest not in self._blobs:
            raise NotFound(f"no blob {digest}")
        return self._blobs[digest]

    def delete(self, digest: str) -> None:
        """See the port."""
        self._blobs.pop(digest, None)

    def close(self) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()


class MemoryRecordStore:
    """Implements RecordStore."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {kind: {} for kind in KINDS}
        self._sequences: dict[str, int] = {}
        self._lock = threading.Lock()

    def append(self, batch: Batch) -> None:
        """See the port."""
        with self._lock:
            last = self._sequences.get(batch.source, 0)
            first = batch.sequence - len(batch.records)
            for record in batch.records[max(0, last - first) if batch.source else 0 :]:
                kind = next(name for name, known in KINDS.items() if known is type(record))
                key = tuple(getattr(record, name) for name in _UNIQUE[kind])
                row = msgspec.to_builtins(record)
                self._rows[kind].setdefault(key, {name: held(row[name]) for name in row})
            if batch.source:
                self._sequences[batch.source] = max(last, batch.sequence)

    def last_sequence(self, source: str) -> int:
        """See the port."""
        return self._sequences.get(source, 0)

    def query(self, query: Query) -> list[dict[str, Any]]:
        """See the port."""
        found = sorted(self._matching(query), key=_order, reverse=True)
        return [dict(row) for row in found[: query.limit]]

    def aggregate(self, query: Query, group_by: str, bucket_us: int = 0) -> list[dict[str, Any]]:
        """See the port."""
        _known("request", [group_by] if group_by else [])
        rows = self._matching(query._replace(kind="request"))
        assert all(name in row for row in rows for name in MEASURED)
        return merged([summarised(rows, group_by, bucket_us)])

    def prune(self, before_us: int) -> int:
        """See the port; every row is a window of its own here."""
        dropped = 0
        for rows in self._rows.values():
            old = [key for key, row in rows.items() if row["started_at_us"] < before_us]
            for key in old:
                del rows[key]
            dropped += len(old)
        return dropped

    def _matching(self, query: Query) -> list[dict[str, Any]]:
        _known(query.kind, [*query.where, *query.minimum])
        before = self._rows["request"].get((query.before_id,))
        began_us = before["started_at_us"] if before else ids.began_us(query.before_id)
        return [
            row
            for row in self._rows[query.kind].values()
            if query.since_us <= row["started_at_us"] < query.until_us
            and (not query.before_id or _order(row) < (began_us, query.before_id))
            and all(_is(row[name], wanted) for name, wanted in query.where.items())
            and all((row[name] or 0) >= least for name, least in query.minimum.items())
        ]


def _known(kind: str, names: list[str]) -> None:
    if kind not in KINDS:
        raise Invalid(f"no record kind {kind!r}", hint=f"known: {', '.join(KINDS)}")
    columns = [field.name for field in msgspec.structs.fields(KINDS[kind])]
    for name in names:
        if name not in columns:
            raise Invalid(f"no column {name!r}", hint=f"columns: {', '.join(columns)}")


def _is(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, tuple) else value == wanted


def _order(row: dict[str, Any]) -> tuple[int, str]:
    return row["started_at_us"], row["request_id"]
