"""Records go up whole and once, whatever state the spool and the control plane are in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.app import App
from modelyard.domain.records import RequestRecord
from modelyard.errors import ModelyardError
from modelyard.gateway.feed import Shipper
from modelyard.gateway.recorder import SEGMENT_BYTES, Recorder, Segment
from modelyard.testing.control import NOWHERE, memory_app, serving

pytestmark = pytest.mark.anyio


class Rig:
    """A spool, and a control plane that takes it."""

    def __init__(self, folder: Path) -> None:
        self.app: App = memory_app(folder / "data")
        self.folder = folder / "spool"
        self.recorder = Recorder(self.folder, 8 * SEGMENT_BYTES)
        self.count = 0

    def shipper(self, url: str, *orphans: Path) -> Shipper:
        token = self.app.folder.internal_token()
        return Shipper(url, token, self.recorder, lambda: [one for one in orphans if one.exists()])

    def record(self, error_message: str = "") -> None:
        self.recorder.append("request", a_record(self.count, error_message))
        self.count += 1

    def stored(self) -> int:
        return sum(row["requests"] for row in self.app.insight.aggregate("default", {}))


def a_record(number: int, error_message: str = "") -> RequestRecord:
    return RequestRecord(
        request_id=f"req_{number:032x}", tenant="default", started_at_us=number, status=200,
        outcome="completed", route="/v1/chat/completions", error_message=error_message,
    )  # fmt: skip


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    one = Rig(tmp_path)
    yield one
    one.recorder.close()
    one.app.close()


async def test_what_is_being_written_goes_up_piece_by_piece(rig: Rig) -> None:
    with serving(rig.app) as url:
        shipper = rig.shipper(url)
        for wanted in (3, 5):
            while rig.count < wanted:
                rig.record()
            await shipper.ship()
            assert rig.stored() == wanted
    assert rig.recorder.current is not None
    assert shipper.shipped_bytes() == rig.recorder.current.written


async def test_sealed_segments_go_up_and_are_deleted(rig: Rig) -> None:
    while len(rig.recorder.sealed()) < 2:
        rig.record("x" * 100_000)
    with serving(rig.app) as url:
        await rig.shipper(url).ship()
    assert rig.recorder.sealed() == []
    assert rig.stored() == rig.count


async def test_a_process_that_starts_anew_brings_all_again_and_nothing_is_stored_twice(
    rig: Rig,
) -> None:
    rig.record()
    rig.record()
    with serving(rig.app) as url:
        await rig.shipper(url).ship()
        rig.record()
        await rig.shipper(url).ship()
    assert rig.stored() == 3


async def test_a_segment_that_a_killed_process_left_ends_where_it_was_written(rig: Rig) -> None:
    other = rig.folder.parent / "1"
    other.mkdir()
    left = Segment(other)  # never closed: its file is as long as it was allocated
    encoded = rig.recorder.current
    rig.record()
    assert encoded is not None
    left.append(bytes(encoded.read(8, encoded.written - 8)))
    assert left.path.stat().st_size == SEGMENT_BYTES
    empty = other / "seg_0.spool"
    empty.touch()
    with serving(rig.app) as url:
        await rig.shipper(url, left.path, empty).ship()
    assert rig.stored() == 1
    assert list(other.iterdir()) == []


async def test_what_cannot_be_read_is_put_aside_and_the_rest_goes_on(rig: Rig) -> None:
    segment = Segment(rig.folder)
    segment.append(b'["flavour",{}]')
    segment.close()
    rig.record()
    with serving(rig.app) as url:
        await rig.shipper(url).ship()
    assert rig.stored() == 1
    assert segment.path.with_suffix(".refused").exists()


async def test_without_a_control_plane_all_stays(rig: Rig) -> None:
    rig.record()
    with pytest.raises(ModelyardError):
        await rig.shipper(NOWHERE).ship()
    with serving(rig.app) as url:
        await rig.shipper(url).ship()
    assert rig.stored() == 1
