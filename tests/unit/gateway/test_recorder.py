"""The spool: what is in it survives a kill, is read in order, and ends at a torn entry."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.domain.records import Outcome, RequestRecord
from modelyard.gateway.recorder import (
    SEGMENT_BYTES,
    Recorder,
    Segment,
    close_lost_slots,
    open_request,
)
from modelyard.gateway.shared import SLOTS, SharedFile
from modelyard.lib import frames


def record(number: int) -> RequestRecord:
    return RequestRecord(
        request_id=f"req_{number:032x}", tenant="default", started_at_us=number, status=200,
        outcome=Outcome.COMPLETED, route="/v1/chat/completions",
    )  # fmt: skip


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    one = Recorder(tmp_path / "spool", 4 * SEGMENT_BYTES)
    yield one
    one.close()


def read(path: Path) -> list[str]:
    payloads, _ = frames.whole(path.read_bytes())
    return [json.loads(payload)[1]["request_id"] for payload in payloads]


def test_entries_are_readable_while_they_are_written(recorder: Recorder) -> None:
    segment = recorder.current
    assert segment is not None
    assert segment.read(0, 1000) == b""
    for number in range(3):
        recorder.append("request", record(number))
    payloads, size = frames.whole(segment.read(0, 100_000))
    assert len(payloads) == 3
    assert size == segment.written
    recorder.append("request", record(3))
    ((payload,), _) = frames.whole(segment.read(size, 100_000))
    assert json.loads(payload)[1]["started_at_us"] == 3
    assert frames.whole(segment.read(0, size + 9)) == (payloads, size), "a cut frame is left"


def test_a_segment_that_was_rolled_gives_nothing_more(recorder: Recorder) -> None:
    segment = recorder.current
    assert segment is not None
    count = 0
    while recorder.current is segment:
        recorder.append("request", record(count))
        count += 1
    assert segment.read(0, 1000) == b"", "its reader goes on with the file, once it is sealed"


def test_what_is_being_read_stays_when_its_segment_is_rolled(recorder: Recorder) -> None:
    segment = recorder.current
    assert segment is not None
    recorder.append("request", record(0))
    being_sent = segment.read(0, 1000)
    kept = bytes(being_sent)
    count = 1
    while recorder.current is segment:
        recorder.append("request", record(count))
        count += 1
    assert being_sent == kept
    assert segment.path.stat().st_size == segment.written, "no zeros are sent"


def test_segments_follow_each_other_in_order(recorder: Recorder) -> None:
    count = 0
    while len(recorder.sealed()) < 2:
        recorder.append("request", record(count))
        count += 1
    assert recorder.current is not None
    found = [one for path in [*recorder.sealed(), recorder.current.path] for one in read(path)]
    assert found == [f"req_{number:032x}" for number in range(count)]


def test_a_full_spool_is_said_and_passes(recorder: Recorder) -> None:
    for number in range(6):
        (recorder.folder / f"seg_{number}.spool").write_bytes(bytes(16))
    recorder.check()
    assert recorder.full
    for path in recorder.sealed():
        path.unlink()
    recorder.check()
    assert not recorder.full


@pytest.mark.parametrize("damage", ["payload", "length", "cut"])
def test_a_torn_entry_ends_the_segment(tmp_path: Path, damage: str) -> None:
    segment = Segment(tmp_path, 4096)
    payloads = [json.dumps(["request", {"request_id": f"req_{n}"}]).encode() for n in range(3)]
    for payload in payloads:
        assert segment.append(payload)
    segment.close()
    data = bytearray(segment.path.read_bytes())
    start = data.index(b"req_2")
    if damage == "payload":
        data[start] = 0
    elif damage == "length":
        data[data.index(payloads[2]) - 8] = 0xFF
    else:
        del data[start:]
    segment.path.write_bytes(bytes(data))
    assert read(segment.path) == ["req_0", "req_1"]


def test_a_segment_takes_what_fits(tmp_path: Path) -> None:
    segment = Segment(tmp_path, 256)
    assert segment.append(b"x" * 100)
    assert not segment.append(b"x" * 200)
    assert segment.append(b"x" * 100)
    segment.close()


def test_an_empty_segment_leaves_no_file(tmp_path: Path) -> None:
    Recorder(tmp_path, 4 * SEGMENT_BYTES).close()
    assert list(tmp_path.iterdir()) == []


def test_open_slots_of_a_dead_process_become_records(tmp_path: Path) -> None:
    shared = tmp_path / "shared.bin"
    file = SharedFile(shared, 2)
    region = file.region(1)
    slots = [region.open_slot(open_request(b"held %d" % n, json.dumps({
             "request_id": f"req_{n}", "tenant": "default",
             "started_at_us": 1, "route": "/v1/chat/completions"}).encode()))
             for n in range(3)]  # fmt: skip
    region.close_slot(slots[1])
    del region
    file.close()
    settled: list[bytes] = []
    assert close_lost_slots(shared, tmp_path / "spool", 1, settled.append) == 2
    assert sorted(settled) == [b"held 0", b"held 2"]
    (path,) = (tmp_path / "spool" / "1").glob("*.spool")
    assert sorted(read(path)) == ["req_0", "req_2"]
    payloads, _ = frames.whole(path.read_bytes())
    assert {json.loads(payload)[1]["outcome"] for payload in payloads} == {"gateway_lost"}
    assert close_lost_slots(shared, tmp_path / "spool", 1, settled.append) == 0


def test_slots_run_out_and_come_back(tmp_path: Path) -> None:
    file = SharedFile(tmp_path / "shared.bin", 1)
    region = file.region(0)
    slots = [region.open_slot(b"{}") for _ in range(SLOTS)]
    assert -1 not in slots
    assert region.open_slot(b"{}") == -1
    region.close_slot(slots[7])
    assert region.open_slot(b"{}") == slots[7]
    del region
    file.close()
