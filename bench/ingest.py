"""What one request record costs after its request: taken apart, checked, stored, acknowledged.

    python -m bench.ingest

The stages alone, then the whole path over HTTP: a gateway's shipper sends a backlog of spool
segments to a control plane in another thread, and then 150 records at a time, as many as come at
1,000 requests/s between two of its turns. CPU time of the sending thread is the gateway's, all
other CPU time of the process the control plane's. The best of three rounds, each into an empty
folder.
"""

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench import report
from modelyard import app as composition
from modelyard.adapters.records.sqlite import SqliteRecordStore
from modelyard.control.insight import Insight
from modelyard.domain.records import Record, RequestRecord, entries
from modelyard.gateway.feed import Shipper
from modelyard.gateway.recorder import SEGMENT_BYTES, Recorder
from modelyard.lib import clock, frames, ids
from modelyard.lib.datafolder import DataFolder
from modelyard.ports.records import Batch
from modelyard.settings import Settings
from modelyard.testing.control import serving

ROUNDS = 3
PIECE_ROWS = 600
"""Of one call in the stages that are measured alone."""
STEP_US = 50
"""20,000 requests a second."""
STAGES = {
    "frames": "frames taken apart, checksums proved",
    "decode": "JSON read into typed records",
    "store": "stored durably in SQLite",
    "ingest": "the same, and listeners told if there are any",
    "gateway": "a backlog over HTTP: the gateway's share",
    "control": "a backlog over HTTP: the control plane's share",
    "gateway_150": "150 at once (1,000 requests/s): the gateway's share",
    "control_150": "150 at once (1,000 requests/s): the control plane's share",
}


def record(number: int, base_us: int, request_id: str) -> RequestRecord:
    """As a request leaves it that a replica of a service answered."""
    return RequestRecord(
        request_id=request_id, tenant="default", started_at_us=base_us + number * STEP_US,
        outcome="completed", status=200, route="/v1/chat/completions", service="support",
        model="support-bot", model_version="support-bot:3", model_digest="sha256:" + "5c" * 32,
        revision="support-0003", endpoint="support-0003-1", key_id="0ag7bjg4vq76", team="blue",
        person="ada", client="openai-python", duration_us=41_200 + number % 1000,
        admission_us=110, ttft_us=12_300 + number % 100, tokens_input=120, tokens_output=64,
        tokens_cached=0, cost_nano_usd=123_456, finish_reason="stop", attempts=1,
        request_bytes=580, response_bytes=960, process="0", snapshot_generation=17,
        first_byte_us=12_000,
    )  # fmt: skip


class Writer:
    """A gateway process's spool, and records to fill it with."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.recorder = Recorder(folder, rows * 2048 + 4 * SEGMENT_BYTES)
        self._ids = ids.RequestIds()
        self._base_us = clock.now_us()
        self._count = 0

    def write(self, rows: int) -> None:
        """As many requests end."""
        for _ in range(rows):
            one = record(self._count, self._base_us, self._ids.next())
            self.recorder.append("request", one)
            self._count += 1

    def segments(self) -> list[bytes]:
        """The spool's bytes, a segment each."""
        assert self.recorder.current is not None
        paths = [*self.recorder.sealed(), self.recorder.current.path]
        return [path.read_bytes() for path in paths]


def pieces(records: Sequence[Record]) -> list[Batch]:
    """What one call takes; an empty source is not compared with what came before."""
    starts = range(0, len(records), PIECE_ROWS)
    return [Batch("", 0, records[at : at + PIECE_ROWS]) for at in starts]


def cpu_us(work: Callable[[], object], rows: int) -> float:
    """CPU time of this process a row."""
    gc.collect()
    began_ns = time.process_time_ns()
    work()
    return (time.process_time_ns() - began_ns) / rows / 1000


def stages(folder: Path, rows: int) -> dict[str, float]:
    """Each stage by itself, in one thread."""
    writer = Writer(folder / "spool", rows)
    writer.write(rows)
    data = writer.segments()
    writer.recorder.close()
    payloads = [one for segment in data for one in frames.whole(segment)[0]]
    batches = pieces([entries.decoded(payload) for payload in payloads])
    store, told = SqliteRecordStore(folder / "a"), SqliteRecordStore(folder / "b")
    insight = Insight(told)

    def storing(into: Callable[[Batch], None]) -> None:
        for batch in batches:
            into(batch)

    found = {
        "frames": cpu_us(lambda: [frames.whole(segment) for segment in data], rows),
        "decode": cpu_us(lambda: [entries.decoded(payload) for payload in payloads], rows),
        "store": cpu_us(lambda: storing(store.append), rows),
        "ingest": cpu_us(lambda: storing(insight.ingest), rows),
    }
    store.close()
    told.close()
    return found


@contextmanager
def control(folder: Path) -> Iterator[tuple[composition.App, str]]:
    """A control plane on a data folder of its own, and its URL."""
    DataFolder(folder).create()
    app = composition.build(Settings(data=folder))
    try:
        with serving(app) as url:
            yield app, url
    finally:
        app.close()


async def shipping(writer: Writer, shipper: Shipper, rows: int, each: int) -> int:
    """Write `each` records and ship them, until there are `rows`: the sender's CPU time, ns."""
    took_ns = 0
    for _ in range(0, rows, each):
        writer.write(each)
        began_ns = time.thread_time_ns()
        await shipper.ship()
        took_ns += time.thread_time_ns() - began_ns
    return took_ns


def whole(folder: Path, rows: int, each: int) -> tuple[float, float]:
    """Records shipped, `each` at once: µs of CPU a row of the gateway and of the control plane.

    Ends the program when a row is missing.
    """
    rows -= rows % each
    writer = Writer(folder / "spool", rows)
    with control(folder / "data") as (app, url):
        shipper = Shipper(url, app.folder.internal_token(), writer.recorder, list)
        gc.collect()
        all_ns, here_ns = time.process_time_ns(), time.thread_time_ns()
        gateway_ns = uvloop.run(shipping(writer, shipper, rows, each))
        here_ns = time.thread_time_ns() - here_ns
        control_ns = time.process_time_ns() - all_ns - here_ns
        stored = sum(row["requests"] for row in app.insight.aggregate("default", {}))
    writer.recorder.close(shipper.shipped_bytes())
    if stored != rows:
        raise SystemExit(f"{stored} of {rows} records were stored")
    return gateway_ns / rows / 1000, control_ns / rows / 1000


def measured(rows: int) -> dict[str, float]:
    """One round."""
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as name:
        folder = Path(name)
        found = stages(folder, rows)
        found["gateway"], found["control"] = whole(folder / "backlog", rows, rows)
        found["gateway_150"], found["control_150"] = whole(folder / "little", rows // 4, 150)
    return found


def main() -> None:
    """Print the table, and the figures as flat JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000 if os.environ.get("FULL") else 60_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(report.machine())
    rounds = [measured(options.rows) for _ in range(ROUNDS)]
    best = {name: min(one[name] for one in rounds) for name in STAGES}
    print(report.table(["", "µs a record"], [[STAGES[name], best[name]] for name in STAGES]))
    report.publish({f"{name}_us_per_record": best[name] for name in STAGES}, options.json)


if __name__ == "__main__":
    main()
