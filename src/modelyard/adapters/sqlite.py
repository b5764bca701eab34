"""What the SQLite adapters share: how a file is opened, and what its errors mean."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.errors import Unavailable

BUSY_S = 10.0


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that waits for other writers; WAL, each commit durable."""
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, saying which file and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise Unavailable(f"{path}: {error}", hint=_hint(error)) from error


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing; the one writer from its start."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _hint(error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return "free disk space in the data folder; nothing of this change was stored"
    if "malformed" in text or "not a database" in text:
        return "the file is damaged: restore the data folder from a backup"
    if "locked" in text:
        return "another process held it too long; try again"
    return "check that the data folder can be written"
