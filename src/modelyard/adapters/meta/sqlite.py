"""Documents in one SQLite file (WAL): many readers and one writer, over processes."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from modelyard.adapters.sqlite import connect, transaction, translated
from modelyard.lib import clock, ids
from modelyard.ports.meta import Change, Commit, Document, Key, Page, check_changes, conflict

FAST_POLL_S = 0.005
SLOW_POLL_S = 0.04
MAX_COMMITS = 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS store (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS document (
    tenant TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    generation INTEGER NOT NULL, updated_at_us INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (tenant, kind, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS document_kind ON document (kind, tenant, name);
CREATE TABLE IF NOT EXISTS commits (
    generation INTEGER PRIMARY KEY, at_us INTEGER NOT NULL,
    actor TEXT NOT NULL, reason TEXT NOT NULL, keys TEXT NOT NULL);
"""
_COLUMNS = "tenant, kind, name, generation, updated_at_us, body"


class SqliteMetaStore:
    """Implements MetaStore. `now_us` tells the time of commits."""

    def __init__(self, path: Path, now_us: Callable[[], int] = clock.now_us) -> None:
        self._path = path
        self._now_us = now_us
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        with self._store() as db, transaction(db):
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute("INSERT OR IGNORE INTO store VALUES ('epoch', ?)", (ids.uuid7().hex(),))
            (self._epoch,) = db.execute("SELECT value FROM store WHERE name='epoch'").fetchone()

    @property
    def epoch(self) -> str:
        """See the port."""
        return str(self._epoch)

    def get(self, key: Key) -> Document | None:
        """See the port."""
        with self._store() as db:
            row = db.execute(
                f"SELECT {_COLUMNS} FROM document WHERE tenant=? AND kind=? AND name=?", key
            ).fetchone()
        return _document(row) if row else None

    def list(self, tenant: str, kind: str, after: str = "", limit: int = 1000) -> Page:
        """See the port."""
        with self._store() as db:
            if tenant == "*":
                tenant_after, _, name_after = after.partition("/")
                rows = db.execute(
                    f"SELECT {_COLUMNS} FROM document WHERE kind=? AND (tenant, name) > (?, ?) "
                    "ORDER BY tenant, name LIMIT ?",
                    (kind, tenant_after, name_after, limit + 1),
                ).fetchall()
            else:
                rows = db.execute(
                    f"SELECT {_COLUMNS} FROM document WHERE tenant=? AND kind=? AND name>? "
                    "ORDER BY name LIMIT ?",
                    (tenant, kind, after, limit + 1),
                ).fetchall()
        documents = [_document(row) for row in rows[:limit]]
        if len(rows) <= limit:
            return Page(documents, "")
        last = documents[-1].key
        return Page(documents, f"{last.tenant}/{last.name}" if tenant == "*" else last.name)

    def watch(self, since: int, timeout_s: float) -> Sequence[Commit]:
        """See the port. Other processes commit too, so it looks again and again; a look costs a
        few microseconds."""
        deadline_s = clock.monotonic_s() + timeout_s
        pause_s = FAST_POLL_S
        while True:
            commits = self._commits(since)
            left_s = deadline_s - clock.monotonic_s()
            if commits or left_s <= 0:
                return commits
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, SLOW_POLL_S)

    def _commits(self, since: int) -> Sequence[Commit]:
        with self._store() as db:
            rows = db.execute(
                "SELECT generation, at_us, actor, reason, keys FROM commits "
                "WHERE generation > ? ORDER BY generation LIMIT ?",
                (since, MAX_COMMITS),
            ).fetchall()
        return [
            Commit(generation, at_us, actor, reason, tuple(Key(*key) for key in json.loads(keys)))
            for generation, at_us, actor, reason, keys in rows
        ]

    def commit(self, changes: Sequence[Change], actor: str, reason: str) -> int:
        """See the port."""
        bodies = check_changes(changes, actor, reason)
        with self._store() as db, transaction(db):
            for change in changes:
                found = _generation(db, change.key)
                if found != change.expected:
                    raise conflict(change, found)
            (last,) = db.execute("SELECT coalesce(max(generation), 0) FROM commits").fetchone()
            generation, now_us = int(last) + 1, self._now_us()
            for change, body in zip(changes, bodies, strict=True):
                _write(db, change.key, generation, now_us, body)
            keys = json.dumps([change.key for change in changes])
            db.execute(
                "INSERT INTO commits VALUES (?,?,?,?,?)", (generation, now_us, actor, reason, keys)
            )
            return generation

    def close(self) -> None:
        """Close the connections of all threads; the store is not used afterwards."""
        with self._opening:
            for connection in self._opened:
                connection.close()
            self._opened.clear()

    @contextmanager
    def _store(self) -> Iterator[sqlite3.Connection]:
        with translated(self._path):
            if not hasattr(self._local, "db"):
                self._local.db = connect(self._path)
                with self._opening:
                    self._opened.append(self._local.db)
            yield self._local.db


def _generation(db: sqlite3.Connection, key: Key) -> int:
    row = db.execute(
        "SELECT generation FROM document WHERE tenant=? AND kind=? AND name=?", key
    ).fetchone()
    return int(row[0]) if row else 0


def _write(
    db: sqlite3.Connection, key: Key, generation: int, now_us: int, body: str | None
) -> None:
    if body is None:
        db.execute("DELETE FROM document WHERE tenant=? AND kind=? AND name=?", key)
    else:
        db.execute(
            "INSERT OR REPLACE INTO document VALUES (?,?,?,?,?,?)",
            (*key, generation, now_us, body),
        )


def _document(row: tuple[str, str, str, int, int, str]) -> Document:
    return Document(Key(*row[:3]), row[3], row[4], json.loads(row[5]))
