"""What every record store promises."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.adapters.records.sqlite import DAY_US, SqliteRecordStore
from modelyard.domain.records import AttemptRecord, Outcome, RequestRecord
from modelyard.errors import Invalid, Unavailable
from modelyard.lib import ids
from modelyard.ports.records import Batch, Query, RecordStore
from modelyard.testing.stores import MemoryRecordStore

NOW_US = 1_800_000_000_000_000


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RecordStore]:
    if request.param == "memory":
        yield MemoryRecordStore()
        return
    opened = SqliteRecordStore(tmp_path / "records")
    yield opened
    opened.close()


def request_row(at_us: int = NOW_US, **fields: Any) -> dict[str, Any]:
    known = {"tenant": "default", "outcome": Outcome.COMPLETED.value, "status": 200,
             "route": "/v1/chat/completions", "service": "support"}  # fmt: skip
    record = RequestRecord(
        request_id=fields.pop("request_id", None) or request_id(at_us), started_at_us=at_us,
        **{**known, **fields},
    )  # fmt: skip
    row: dict[str, Any] = msgspec.to_builtins(record)
    return row


def request_id(at_us: int) -> str:
    """Ids begin with their time, as those that the gateway makes."""
    return f"req_{ids.uuid7(at_us // 1000).hex()}"


def batch(*rows: dict[str, Any], source: str = "", sequence: int = 0) -> Batch:
    return Batch(source, sequence, [msgspec.convert(row, RequestRecord) for row in rows])


def ids_of(rows: list[dict[str, Any]]) -> list[str]:
    return [row["request_id"] for row in rows]


def test_a_row_comes_back_with_every_column(store: RecordStore) -> None:
    row = request_row(person="ada", tokens_input=3, cost_nano_usd=12345678901234, stream=True)
    store.append(batch(row))
    (found,) = store.query(Query("request"))
    assert found == row
    assert found["ttft_us"] is None, "what is missing is nothing, never 0"


def test_rows_are_newest_first_and_paged_without_gaps(store: RecordStore) -> None:
    rows = [request_row(NOW_US + number // 3 * 1000) for number in range(20)]
    store.append(batch(*rows))
    found: list[dict[str, Any]] = []
    before = ""
    while page := store.query(Query("request", limit=6, before_id=before)):
        found += page
        before = page[-1]["request_id"]
    order = [(row["started_at_us"], row["request_id"]) for row in found]
    assert order == sorted(order, reverse=True)
    assert sorted(ids_of(found)) == sorted(ids_of(rows))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query("request", {"service": "a"}), {"one", "two"}),
        (Query("request", {"service": ("a", "b")}), {"one", "two", "three"}),
        (Query("request", {"service": "a", "status": 404}), {"two"}),
        (Query("request", {"tenant": "acme"}), {"four"}),
        (Query("request", {"service": "nobody"}), set()),
        (Query("request", minimum={"duration_us": 20}), {"two", "three"}),
        (Query("request", minimum={"ttft_us": 1}), {"three"}),
        (Query("request", since_us=NOW_US + 1), {"two", "three", "four"}),
        (Query("request", until_us=NOW_US + 1), {"one"}),
        (Query("request", limit=1), {"four"}),
    ],
)
def test_filters(store: RecordStore, query: Query, expected: set[str]) -> None:
    rows = [
        ("one", request_row(NOW_US, service="a", duration_us=10)),
        ("two", request_row(NOW_US + 1, service="a", status=404, duration_us=20)),
        ("three", request_row(NOW_US + 2, service="b", duration_us=30, ttft_us=5)),
        ("four", request_row(NOW_US + 3, service="c", tenant="acme")),
    ]
    store.append(batch(*(row for _, row in rows)))
    names = {row["request_id"]: name for name, row in rows}
    assert {names[one] for one in ids_of(store.query(query))} == expected


def test_what_cannot_be_asked_is_told(store: RecordStore) -> None:
    with pytest.raises(Invalid, match="no record kind 'requests'"):
        store.query(Query("requests"))
    with pytest.raises(Invalid, match="servce"):
        store.query(Query("request", {"servce": "a"}))
    with pytest.raises(Invalid):
        store.aggregate(Query("request"), "nothing")


def test_a_number_beyond_64_bits_costs_no_record(store: RecordStore) -> None:
    """An upstream may claim any number of tokens."""
    claimed = request_row(tokens_input=10**30, tokens_output=-(10**30), stream=True)
    store.append(batch(claimed, request_row(NOW_US + 1), source="seg", sequence=2))
    _, found = store.query(Query("request"))
    assert (found["tokens_input"], found["tokens_output"]) == (2**63 - 1, -(2**63 - 1))
    assert found["stream"] is True


def test_records_of_both_kinds_and_several_days_are_one_batch(store: RecordStore) -> None:
    """As a gateway that was cut off over midnight brings them, and brings them again."""
    request_ids = [request_id(NOW_US + n * DAY_US) for n in range(3)]
    records = [
        record
        for number, one in enumerate(request_ids)
        for record in (
            AttemptRecord(request_id=one, tenant="default", started_at_us=NOW_US + number * DAY_US,
                          number=1, endpoint="a", offset_us=0),
            RequestRecord(request_id=one, tenant="default", started_at_us=NOW_US + number * DAY_US,
                          outcome=Outcome.FAILED, status=502, route="/v1/chat/completions"),
        )
    ]  # fmt: skip
    store.append(Batch("seg", 3, records[:3]))
    store.append(Batch("seg", 6, records))
    for kind in ("request", "attempt"):
        found = store.query(Query(kind))
        assert ids_of(found) == request_ids[::-1]
        assert {row["outcome"] for row in found} <= {"", "failed"}


def test_a_batch_that_comes_twice_is_stored_once(store: RecordStore) -> None:
    one, two, three = (request_row(NOW_US + n) for n in range(3))
    store.append(batch(one, two, source="seg", sequence=2))
    store.append(batch(one, two, source="seg", sequence=2))
    store.append(batch(one, two, three, source="seg", sequence=3))
    assert store.last_sequence("seg") == 3
    assert store.last_sequence("other") == 0
    assert sorted(ids_of(store.query(Query("request")))) == sorted(ids_of([one, two, three]))


def test_the_first_row_of_a_request_stands(store: RecordStore) -> None:
    store.append(batch(request_row(request_id="req_1", outcome="gateway_lost")))
    store.append(batch(request_row(request_id="req_1", outcome="completed")))
    (found,) = store.query(Query("request"))
    assert found["outcome"] == "gateway_lost"


def test_attempts_are_joined_by_their_request(store: RecordStore) -> None:
    rows = [
        AttemptRecord(request_id="req_1", tenant="default", started_at_us=NOW_US + number,
                      number=number, endpoint="a", offset_us=number)
        for number in (1, 2)
    ]  # fmt: skip
    store.append(Batch("", 0, rows))
    store.append(batch(request_row(request_id="req_1")))
    found = store.query(Query("attempt", {"request_id": "req_1"}))
    assert [row["number"] for row in found] == [2, 1]


def test_sums_and_percentiles(store: RecordStore) -> None:
    rows = [
        request_row(
            NOW_US + n, duration_us=(n + 1) * 100, tokens_input=1, tokens_output=2,
            cost_nano_usd=5, outcome="failed" if n >= 98 else "completed",
        )
        for n in range(100)
    ]  # fmt: skip
    rows.append(request_row(NOW_US, service="other", tokens_input=None))
    store.append(batch(*rows))
    groups = {row["group"]: row for row in store.aggregate(Query("request"), "service")}
    support = groups["support"]
    assert (support["requests"], support["errors"]) == (100, 2)
    assert (support["tokens_input"], support["tokens_output"]) == (100, 200)
    assert support["cost_nano_usd"] == 500
    assert abs(support["p50_us"] - 5_000) <= 500
    assert abs(support["p95_us"] - 9_500) <= 950
    assert groups["other"]["requests"] == 1
    (whole,) = store.aggregate(Query("request"), "")
    assert whole["requests"] == 101


def test_time_buckets(store: RecordStore) -> None:
    minute = 60_000_000
    start = NOW_US - NOW_US % minute
    store.append(batch(*(request_row(start + n * minute // 2) for n in range(5))))
    rows = store.aggregate(Query("request"), "", minute)
    assert [(row["bucket_us"], row["requests"]) for row in rows] == [
        (start, 2), (start + minute, 2), (start + 2 * minute, 1),
    ]  # fmt: skip


def test_old_windows_are_dropped_whole(store: RecordStore) -> None:
    day = NOW_US - NOW_US % DAY_US
    old, new = request_row(day - 2 * DAY_US), request_row(day + 5)
    store.append(batch(old, new))
    assert store.prune(day) == 1
    assert ids_of(store.query(Query("request"))) == ids_of([new])
    assert store.prune(day) == 0


def test_rows_of_several_days_are_one_list(store: RecordStore) -> None:
    rows = [request_row(NOW_US - n * DAY_US) for n in range(12)]
    store.append(batch(*rows))
    assert ids_of(store.query(Query("request", limit=10))) == ids_of(rows[:10])
    rest = store.query(Query("request", before_id=rows[9]["request_id"]))
    assert ids_of(rest) == ids_of(rows[10:])


def test_many_threads_may_append(store: RecordStore) -> None:
    def append(number: int) -> None:
        for n in range(20):
            store.append(batch(request_row(NOW_US + n), source=f"s{number}", sequence=n + 1))

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.query(Query("request", limit=1000))) == 80


# --- what only a folder can show ------------------------------------------------------------------


def test_all_is_there_after_opening_again(tmp_path: Path) -> None:
    store = SqliteRecordStore(tmp_path)
    store.append(batch(request_row(request_id="req_1"), source="seg", sequence=1))
    store.close()
    again = SqliteRecordStore(tmp_path)
    assert ids_of(again.query(Query("request"))) == ["req_1"]
    assert again.last_sequence("seg") == 1
    again.close()


def test_a_sequence_that_a_power_cut_took_back_stores_nothing_twice(tmp_path: Path) -> None:
    """Rows are flushed to disk before they are acknowledged, the source's sequence later."""
    one, two = request_row(request_id="req_1"), request_row(NOW_US + 1, request_id="req_2")
    store = SqliteRecordStore(tmp_path)
    store.append(batch(one, source="seg", sequence=1))
    store.close()
    with sqlite3.connect(tmp_path / "sources.sqlite") as db:
        db.execute("DELETE FROM source")
    db.close()
    again = SqliteRecordStore(tmp_path)
    again.append(batch(one, two, source="seg", sequence=2))
    assert ids_of(again.query(Query("request"))) == ["req_2", "req_1"]
    assert again.last_sequence("seg") == 2
    again.close()


def test_a_day_of_an_older_version_gets_the_columns_it_lacks(tmp_path: Path) -> None:
    store = SqliteRecordStore(tmp_path)
    store.append(batch(request_row(request_id="req_1")))
    store.close()
    (path,) = tmp_path.glob("day-*.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE request DROP COLUMN finish_reason")
        db.execute("ALTER TABLE request DROP COLUMN tokens_cached")
    db.close()
    again = SqliteRecordStore(tmp_path)
    (found,) = again.query(Query("request"))
    assert (found["finish_reason"], found["tokens_cached"]) == ("", None)
    again.append(batch(request_row(NOW_US + 1, finish_reason="stop")))
    assert again.query(Query("request"))[0]["finish_reason"] == "stop"
    again.close()


def test_a_damaged_day_is_named(tmp_path: Path) -> None:
    store = SqliteRecordStore(tmp_path)
    (tmp_path / f"day-{NOW_US // DAY_US}.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(Unavailable, match=r"day-\d+\.sqlite") as raised:
        store.append(batch(request_row()))
    assert raised.value.hint
    store.close()
