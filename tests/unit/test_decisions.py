"""Decisions that later work stands on: ids, times, money, lifts, plugins (docs/adr)."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain import documents, services
from modelyard.domain.pricing import cost_nano_usd
from modelyard.domain.snapshot import Price
from modelyard.errors import Invalid
from modelyard.lib import clock, ids


def test_ids_are_uuids_that_sort_by_their_birth() -> None:
    for made, prefix in ((ids.request_id(), "req_"), (ids.release_id(), "rel_")):
        assert re.fullmatch(prefix + "[0-9a-f]{32}", made)
        parsed = uuid.UUID(made.removeprefix(prefix))
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    early, late = ids.uuid7(1_000), ids.uuid7(1_001)
    assert early < late
    assert ids.began_us(f"req_{late.hex()}") == 1_001_000
    assert ids.began_us("nonsense") == 0
    assert len({ids.uuid7(5) for _ in range(1000)}) == 1000


def test_times_are_whole_microseconds() -> None:
    assert isinstance(clock.now_us(), int)
    assert clock.to_iso(1_700_000_000_000_001) == "2023-11-14T22:13:20.000001Z"
    assert clock.from_iso("2023-11-14T22:13:20.000001Z") == 1_700_000_000_000_001
    assert clock.from_iso("2023-11-14T23:13:20+01:00") == 1_700_000_000_000_000
    with pytest.raises(ValueError):
        clock.from_iso("yesterday")


@pytest.mark.parametrize(
    ("tokens", "nano_usd"),
    [
        ((0, 0, 0), 0),
        ((1, 0, 0), 150),
        ((0, 1, 0), 601),
        ((1_000_000, 0, 0), 150_000_000),
        ((10, 0, 10), 1),
        ((10, 0, 4), 901),
        ((3, 0, 99), 1),
    ],
)
def test_money_is_whole_and_rounded_up(tokens: tuple[int, int, int], nano_usd: int) -> None:
    # 0.15 dollars a million in, 0.6000001 out, and a cached token for next to nothing.
    price = Price(input=150_000_000, output=600_000_100, cached=1)
    assert cost_nano_usd(price, *tokens) == nano_usd


def test_documents_of_an_older_version_are_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    def lift(data: dict[str, Any]) -> dict[str, Any]:
        spec = {**data["spec"], "replicas": data["spec"]["copies"]}
        del spec["copies"]
        return {**data, "apiVersion": documents.API_VERSION, "spec": spec}

    monkeypatch.setitem(documents._LIFTS, "modelyard/v0", lift)
    old = {"apiVersion": "modelyard/v0", "kind": "Service", "name": "a", "spec": {"copies": 2}}
    document = services.parse(old)
    assert document.spec.replicas.min == 2
    assert old["apiVersion"] == "modelyard/v0", "a lift changes nothing that it was given"
    with pytest.raises(Invalid, match="this server speaks"):
        services.parse({**old, "apiVersion": "modelyard/v7"})


PLUGIN = """
from modelyard.ports.engine import LaunchSpec

class Mine:
    def plan(self, model, options):
        return LaunchSpec(engine="mine", urls=("http://127.0.0.1:9/v1",))
"""


def test_an_engine_of_somebody_else_is_found_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    about = tmp_path / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[modelyard.engines]\nmine = mine:Mine\n")
    code = (
        "from modelyard.app import engine; print(engine('mine').plan(None, {}).urls[0])\n"
        "from modelyard.errors import Invalid\n"
        "try: engine('mien')\n"
        "except Invalid as error: print(error.message, error.hint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    assert first == "http://127.0.0.1:9/v1", done.stderr
    assert "mine" in second
