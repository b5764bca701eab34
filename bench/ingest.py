"""What one request record costs after its request: taken apart, checked, stored, acknowledged.

    python -m bench.ingest

The stages alone, then the whole path over HTTP: a gateway's shipper sends a backlog of spool
segments to a control plane in another thread. CPU time of the sending thread is the gateway's, all
other CPU time of the process the control plane's. The best of three rounds, each into an empty
folder.
"""

import argparse
import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import report
from modelyard import app as composition
from modelyard.adapters.records.sqlite import SqliteRecordStore
from modelyard.control.insight import Insight
from modelyard.domain.records import RequestRecord
from modelyard.entry.api import internal
from modelyard.gateway.feed import Shipper
from modelyard.gateway.recorder import SEGMENT_BYTES, Recorder
from modelyard.lib import clock, frames, ids
from modelyard.lib.datafolder import DataFolder
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
    "gateway": "whole path: gateway's share",
    "control": "whole path: control plane's share",
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


def spooled(folder: Path, rows: int) -> Recorder:
    """A spool with that many records, as a gateway process leaves it when nobody takes them."""
    recorder = Recorder(folder, rows * 2048 + 4 * SEGMENT_BYTES)
    base_us, new = clock.now_us(), ids.RequestIds()
    for number in range(rows):
        recorder.append("request", record(number, base_us, new.next()))
    return recorder


def segments(recorder: Recorder) -> list[bytes]:
    """The spool's bytes, a segment each."""
    assert recorder.current is not None
    return [path.read_bytes() for path in [*recorder.sealed(), recorder.current.path]]


def pieces(rows: list[bytes]) -> list[list[bytes]]:
    """What one call takes."""
    return [rows[at : at + PIECE_ROWS] for at in range(0, len(rows), PIECE_ROWS)]


def cpu_us(work: Callable[[], object], rows: int) -> float:
    """CPU time of this process a row."""
    gc.collect()
    began_ns = time.process_time_ns()
    work()
    return (time.process_time_ns() - began_ns) / rows / 1000


def stages(folder: Path, rows: int) -> dict[str, float]:
    """Each stage by itself, in one thread."""
    recorder = spooled(folder / "spool", rows)
    data = segments(recorder)
    recorder.close()
    payloads = pieces([one for segment in data for one in frames.whole(segment)[0]])
    batches = [internal.decoded("", 0, piece) for piece in payloads]
    store, told = SqliteRecordStore(folder / "a"), SqliteRecordStore(folder / "b")
    insight = Insight(told)
    found = {
        "frames": cpu_us(lambda: [frames.whole(segment) for segment in data], rows),
        "decode": cpu_us(lambda: [internal.decoded("s", 0, one) for one in payloads], rows),
        "store": cpu_us(lambda: [store.append(batch) for batch in batches], rows),
        "ingest": cpu_us(lambda: [insight.ingest(batch) for batch in batches], rows),
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


def whole(folder: Path, rows: int) -> dict[str, float]:
    """A backlog shipped, µs of CPU a row on either side. Raises when a row is missing."""
    recorder = spooled(folder / "spool", rows)
    with control(folder / "data") as (app, url):
        shipper = Shipper(url, app.folder.internal_token(), recorder, list)
        gc.collect()
        all_ns, mine_ns = time.process_time_ns(), time.thread_time_ns()
        asyncio.run(shipper.ship())
        mine_ns = time.thread_time_ns() - mine_ns
        all_ns = time.process_time_ns() - all_ns
        stored = sum(row["requests"] for row in app.insight.aggregate("default", {}))
    recorder.close(shipper.shipped_bytes())
    if stored != rows:
        raise SystemExit(f"{stored} of {rows} records were stored")
    return {"gateway": mine_ns / rows / 1000, "control": (all_ns - mine_ns) / rows / 1000}


def main() -> None:
    """Print the table, and the figures as flat JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000 if os.environ.get("FULL") else 60_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(report.machine())
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as name:
            folder = Path(name)
            rounds.append({**stages(folder, options.rows), **whole(folder / "w", options.rows)})
    best = {name: min(one[name] for one in rounds) for name in STAGES}
    print(report.table(["", "µs a row"], [[STAGES[name], best[name]] for name in STAGES]))
    report.publish({f"{name}_us_per_row": best[name] for name in STAGES}, options.json)


if __name__ == "__main__":
    main()
