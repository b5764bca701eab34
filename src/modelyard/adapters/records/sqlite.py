"""Records in SQLite, one file per UTC day: dropping a file is retention.

A batch may span days, so it is not one transaction. Rows are therefore unique by themselves, and
the batch's sequence is stored last: a batch broken off in the middle is simply stored again.
"""

import contextlib
import functools
import json
import sqlite3
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import astuple

from modelyard.adapters.records.query import (
    MEASURED,
    SUMS,
    condition,
    held,
    merged,
    ordered,
    summarised,
)
from modelyard.adapters.sqlite import connect, transaction, translated
from modelyard.domain.records import KINDS, Record
from modelyard.errors import Invalid
from modelyard.lib.ids import began_us
from modelyard.ports.records import Batch, Query

DAY_US = 24 * 3600 * 1_000_000
MAX_OPEN = 8
UNIQUE = {"request": "request_id", "attempt": "request_id, number"}

_TYPES = {int: "INTEGER", str: "TEXT", bool: "INTEGER"}


class SqliteRecordStore:
    """Implements RecordStore."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._open: OrderedDict[int, sqlite3.Connection] = OrderedDict()
        path = folder / "sources.sqlite"
        with translated(path):
            self._sources = connect(path)
            # Rows are durable before their sequence is noted. A sequence that a power cut takes
            # back costs nothing: the rows come again, and are there.
            self._sources.execute("PRAGMA synchronous=NORMAL")
            self._sources.execute(
                "CREATE TABLE IF NOT EXISTS source "
                "(name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, day INTEGER NOT NULL) "
                "WITHOUT ROWID"
            )

    def append(self, batch: Batch) -> None:
        """See the port."""
        with self._lock:
            days = _by_day(batch.records[self._overlap(batch) :])
            for day, kinds in days.items():
                with self._window(day) as db, transaction(db):
                    for kind, rows in kinds.items():
                        _insert(db, kind, rows)
            if batch.source:
                self._remember(batch, max(days, default=0))

    def _overlap(self, batch: Batch) -> int:
        """How many of the batch's records are stored: `sequence` counts up to the last of it."""
        if not batch.source:
            return 0
        first = batch.sequence - len(batch.records)
        return max(0, self.last_sequence(batch.source) - first)

    def _remember(self, batch: Batch, day: int) -> None:
        with translated(self._folder / "sources.sqlite"):
            self._sources.execute(
                "INSERT INTO source VALUES (?,?,?) ON CONFLICT (name) DO UPDATE SET "
                "sequence=max(sequence, excluded.sequence), day=max(day, excluded.day)",
                (batch.source, batch.sequence, day),
            )

    def last_sequence(self, source: str) -> int:
        """See the port."""
        with self._lock, translated(self._folder / "sources.sqlite"):
            row = self._sources.execute(
                "SELECT sequence FROM source WHERE name=?", (source,)
            ).fetchone()
        return int(row[0]) if row else 0

    def query(self, query: Query) -> list[dict[str, Any]]:
        """See the port."""
        where, values = condition(query, _columns(query.kind), self._began(query))
        found: list[dict[str, Any]] = []
        for day in self._days(query.since_us, query.until_us, newest_first=True):
            found += self._select(
                day,
                f"SELECT * FROM {query.kind} WHERE {where} "
                "ORDER BY started_at_us DESC, request_id DESC LIMIT ?",
                (*values, query.limit - len(found)),
            )
            if len(found) >= query.limit:
                break
        return ordered(found, query.kind)

    def aggregate(self, query: Query, group_by: str, bucket_us: int = 0) -> list[dict[str, Any]]:
        """See the port."""
        columns = _columns("request")
        if group_by and group_by not in columns:
            raise Invalid(f"cannot group by {group_by!r}", hint=f"columns: {', '.join(columns)}")
        where, values = condition(query, columns, self._began(query))
        names = ", ".join({*MEASURED, *SUMS, *([group_by] if group_by else [])})
        sql = f"SELECT {names} FROM request WHERE {where}"
        groups = (
            summarised(self._select(day, sql, values), group_by, bucket_us)
            for day in self._days(query.since_us, query.until_us, newest_first=False)
        )
        return merged(groups)

    def prune(self, before_us: int) -> int:
        """See the port."""
        dropped = 0
        with self._lock:
            for day in self._days(0, before_us, newest_first=False):
                if (day + 1) * DAY_US > before_us:
                    continue
                for kind in KINDS:
                    (count,) = self._select(day, f"SELECT count(*) AS rows FROM {kind}", ())
                    dropped += count["rows"]
                self._drop(day)
            with translated(self._folder / "sources.sqlite"):
                self._sources.execute("DELETE FROM source WHERE day < ?", (before_us // DAY_US,))
        return dropped

    def close(self) -> None:
        """Close all files; the store is not used afterwards."""
        with self._lock:
            for db in (*self._open.values(), self._sources):
                db.close()
            self._open.clear()

    def _began(self, query: Query) -> int:
        """When the request `before_id` began; from its id when it is not here (any more)."""
        if not query.before_id:
            return 0
        by_id_us = began_us(query.before_id)
        for day in self._days(by_id_us - DAY_US, by_id_us + DAY_US, newest_first=True):
            sql = "SELECT started_at_us FROM request WHERE request_id=?"
            for row in self._select(day, sql, (query.before_id,)):
                return int(row["started_at_us"])
        return by_id_us

    # --- windows ---------------------------------------------------------------------------

    def _days(self, since_us: int, until_us: int, newest_first: bool) -> list[int]:
        days = [int(path.stem.removeprefix("day-")) for path in self._folder.glob("day-*.sqlite")]
        wanted = [day for day in days if since_us < (day + 1) * DAY_US and day * DAY_US < until_us]
        return sorted(wanted, reverse=newest_first)

    def _path(self, day: int) -> Path:
        return self._folder / f"day-{day}.sqlite"

    @contextmanager
    def _window(self, day: int) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self._path(day)):
            if day not in self._open:
                self._open[day] = _prepared(self._path(day))
            self._open.move_to_end(day)
            while len(self._open) > MAX_OPEN:
                _, oldest = self._open.popitem(last=False)
                oldest.close()
            yield self._open[day]

    def _select(self, day: int, sql: str, values: Iterable[Any]) -> list[dict[str, Any]]:
        with self._window(day) as db:
            cursor = db.execute(sql, tuple(values))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def _drop(self, day: int) -> None:
        if day in self._open:
            self._open.pop(day).close()
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                self._path(day).with_name(self._path(day).name + suffix).unlink()


@functools.cache
def _columns(kind: str) -> Mapping[str, type]:
    """Column → Python type of its values."""
    if kind not in KINDS:
        raise Invalid(f"no record kind {kind!r}", hint=f"known: {', '.join(KINDS)}")
    return {
        field.name: next(
            known for known in _TYPES if known is field.type or known in _members(field.type)
        )
        for field in msgspec.structs.fields(KINDS[kind])
    }


def _members(kind: Any) -> tuple[Any, ...]:
    return getattr(kind, "__args__", ())


def _by_day(records: Sequence[Record]) -> dict[int, dict[type[Record], list[tuple[Any, ...]]]]:
    """Day → kind → rows, values in the order of the kind's columns."""
    days: dict[int, dict[type[Record], list[tuple[Any, ...]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for record in records:
        days[record.started_at_us // DAY_US][type(record)].append(astuple(record))
    return days


def _insert(db: sqlite3.Connection, kind: type[Record], rows: list[tuple[Any, ...]]) -> None:
    sql = _insertion(kind)
    try:
        db.executemany(sql, rows)
    except OverflowError:
        db.executemany(sql, [tuple(map(held, row)) for row in rows])


@functools.cache
def _insertion(record: type[Record]) -> str:
    """A row of that kind, unless it is there; columns by name, since old files order them
    otherwise."""
    kind = next(name for name, known in KINDS.items() if known is record)
    names = list(_columns(kind))
    marks = ", ".join("?" * len(names))
    return f"INSERT OR IGNORE INTO {kind} ({', '.join(names)}) VALUES ({marks})"


def _prepared(path: Path) -> sqlite3.Connection:
    """The day's file with all tables and columns that are known today."""
    db = connect(path)
    for kind in KINDS:
        columns = _columns(kind)
        kinds = ", ".join(f"{name} {_TYPES[type_]}" for name, type_ in columns.items())
        db.execute(f"CREATE TABLE IF NOT EXISTS {kind} ({kinds})")
        there = {row[1] for row in db.execute(f"PRAGMA table_info({kind})")}
        for name, type_ in columns.items():
            if name not in there:
                default = json.dumps(_default(kind, name)).replace('"', "'")
                db.execute(
                    f"ALTER TABLE {kind} ADD COLUMN {name} {_TYPES[type_]} DEFAULT {default}"
                )
        db.execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {kind}_key ON {kind} ({UNIQUE[kind]})")
        db.execute(f"CREATE INDEX IF NOT EXISTS {kind}_time ON {kind} (started_at_us)")
    return db


def _default(kind: str, name: str) -> Any:
    field = next(field for field in msgspec.structs.fields(KINDS[kind]) if field.name == name)
    value = None if field.default is msgspec.NODEFAULT else field.default
    return int(value) if isinstance(value, bool) else value
