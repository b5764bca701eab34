"""Who listens is told of each request once, of its own tenant's alone, and of what it missed."""

import asyncio

import pytest

from modelyard.control.insight import LISTENER_ROWS, Insight
from modelyard.domain.records import AttemptRecord, RequestRecord
from modelyard.ports.records import Batch
from modelyard.testing.stores import MemoryRecordStore

SOON_S = 5.0
AT_ONCE_S = 0.0


def record(number: int, tenant: str = "default") -> RequestRecord:
    return RequestRecord(
        request_id=f"req_{number}", tenant=tenant, started_at_us=number, outcome="completed",
        status=200, route="/v1/chat/completions",
    )  # fmt: skip


def batch(*numbers: int, tenant: str = "default") -> Batch:
    return Batch("", 0, [record(number, tenant) for number in numbers])


@pytest.fixture
def insight() -> Insight:
    return Insight(MemoryRecordStore())


def names(rows: list[dict[str, object]]) -> list[object]:
    return [row["request_id"] for row in rows]


@pytest.mark.anyio
async def test_a_listener_gets_whole_rows(insight: Insight) -> None:
    with insight.listen("default") as listener:
        await asyncio.to_thread(insight.ingest, batch(1, 2))
        rows = await listener.take(SOON_S)
    stored = insight.requests("default", {})
    assert rows == stored[::-1]


@pytest.mark.anyio
async def test_a_batch_that_comes_again_is_not_told_again(insight: Insight) -> None:
    with insight.listen("default") as one, insight.listen("default") as two:
        insight.ingest(batch(1, 2))
        insight.ingest(batch(1, 2, 3))
        await asyncio.sleep(0)
        for listener in (one, two):
            assert names(await listener.take(SOON_S)) == ["req_1", "req_2", "req_3"]


@pytest.mark.anyio
async def test_only_requests_of_its_tenant(insight: Insight) -> None:
    attempt = AttemptRecord(
        request_id="req_1", tenant="default", started_at_us=1, number=1, endpoint="a", offset_us=0
    )
    with insight.listen("default") as listener:
        insight.ingest(batch(7, tenant="acme"))
        insight.ingest(Batch("", 0, [attempt]))
        assert await listener.take(AT_ONCE_S) == []
        insight.ingest(Batch("", 0, [record(8, "acme"), attempt, record(9)]))
        assert names(await listener.take(SOON_S)) == ["req_9"]


@pytest.mark.anyio
async def test_a_slow_listener_is_told_how_much_it_lost(insight: Insight) -> None:
    with insight.listen("default") as listener:
        insight.ingest(batch(*range(LISTENER_ROWS + 5)))
        assert len(await listener.take(SOON_S)) == LISTENER_ROWS
        assert listener.lost == 5
        insight.ingest(batch(9999))
        assert names(await listener.take(SOON_S)) == ["req_9999"]


@pytest.mark.anyio
async def test_rows_are_stored_whoever_listens(insight: Insight) -> None:
    insight.ingest(batch(1))
    with insight.listen("default") as listener:
        insight.ingest(batch(2))
        assert names(await listener.take(SOON_S)) == ["req_2"]
    insight.ingest(batch(3))
    assert names(insight.requests("default", {})) == ["req_3", "req_2", "req_1"]
