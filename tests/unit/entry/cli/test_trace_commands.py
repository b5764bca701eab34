"""`modelyard traces replay`: what it prints, draws and refuses."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from click.testing import Result

from modelyard.domain.routing import RULES
from modelyard.domain.simulation.traces import conversations
from modelyard.entry.cli import traces as command

Run = Callable[..., Result]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A small made trace in the published form."""
    rows = [
        {"timestamp": int(one.at_s * 1e3), "input_length": one.tokens_input,
         "output_length": one.tokens_output, "hash_ids": list(one.blocks)}
        for one in conversations(Random(1).random, 300, 0.4)
    ]  # fmt: skip
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def test_rules_are_compared_in_a_table(run: Run, trace: Path) -> None:
    result = run("traces", "replay", str(trace), "--replicas", "4", "--rule", "first_token",
                 "--rule", "round_robin", "--rule", "first_token")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("300 requests in ")
    assert lines[2].split() == ["RULE", "HIT", "RATE", "P50", "P90", "P99", "MEAN", "BALANCE",
                                "BUSY"]  # fmt: skip
    assert [line.split()[0] for line in lines[3:]] == ["first_token", "round_robin"]
    assert result.stderr == "", "short runs show no progress"


def test_json_is_one_value_with_everything(run: Run, trace: Path) -> None:
    result = run("trace", "replay", str(trace), "--replicas", "4", "--replica-speeds", "1,2,0.5",
                 "--speed", "2", "-o", "json")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert [one["rule"] for one in value["rules"]] == list(command.DEFAULT_RULES)
    assert value["fleet"]["speeds"] == [1, 2, 0.5]
    assert value["trace"]["shares_prefixes"] is True
    for one in value["rules"]:
        assert one["answered"] == one["requests"] == 300
        assert 0 < one["p50_s"] <= one["p90_s"] <= one["p99_s"]
        assert len(one["work"]) == 4
    hits = {one["rule"]: one["hit_rate"] for one in value["rules"]}
    assert hits["first_token"] > hits["round_robin"]


def test_recorded_requests_come_from_standard_input(run: Run) -> None:
    records = [
        {"started_at_us": 1_700_000_000_000_000 + number * 250_000, "tokens_input": 400 + number,
         "tokens_output": 20, "request_id": f"req_{number}"}
        for number in range(40)
    ]  # fmt: skip
    result = run("traces", "replay", "-", "--replicas", "2", stdin=json.dumps(records, indent=1))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("40 requests in 9.75 s, 2 replicas")
    assert "differ by load only" in result.stderr


def test_it_is_drawn_as_svg(run: Run, trace: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.svg"
    rules = [word for name in RULES for word in ("--rule", name)]
    result = run("traces", "replay", str(trace), *rules, "--report", str(path))
    assert result.exit_code == 0, result.stderr
    root = ET.fromstring(path.read_text())
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}polyline")) == len(RULES)
    assert {text.text for text in root.iter(f"{space}text")} >= set(RULES)
    assert "prefers-color-scheme: dark" in path.read_text()
    for line in root.findall(f"{space}polyline"):
        points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        assert points == sorted(points, key=lambda point: (point[0], -point[1]))


def test_it_is_drawn_as_a_page_that_needs_nothing_else(
    run: Run, trace: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    result = run("traces", "replay", str(trace), "--report", str(path))
    assert result.exit_code == 0, result.stderr
    text = path.read_text()
    assert text.count("<svg") == 1
    assert "<td>first_token</td>" in text
    assert "src=" not in text
    assert "href=" not in text


def test_a_long_run_shows_how_far_it_is(
    run: Run, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SILENT_S", 0.0)
    result = run("traces", "replay", str(trace), "--rule", "round_robin")
    assert "replaying round_robin: 50 %" in result.stderr
    assert "replaying" not in result.stdout
    assert run("traces", "replay", str(trace), "-o", "json").stderr == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello\n", "error: bad.jsonl: row 1: "),
        ('{"a": 1}\n', "error: bad.jsonl: row 1 has neither"),
        ('{"timestamp": 1, "input_length": 5}\n\n{"timestamp": 2}\n', "row 3: no 'input_length'"),
        ("[1]", "row 1 is no object"),
        ("[{]", "error: bad.jsonl: "),
        ("", "no request with its number of input tokens"),
    ],
)
def test_a_wrong_file_is_answered_with_what_is_wrong(
    run: Run, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    result = run("traces", "replay", str(path))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "defect" not in result.stderr


def test_a_binary_file_is_no_trace(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF\xff\xfe\x80")
    assert "this is no text" in run("traces", "replay", str(path)).stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rule", "first_tokn"), "did you mean first_token?"),
        (("--report", "chart.png"), "a report is .svg or .html"),
        (("--replica-speeds", "1,fast"), "write 1,1,0.5,2"),
        (("--replica-speeds", "1,0"), "no list of positive numbers"),
        (("--speed", "0"), "--speed"),
        (("--replicas", "2", "--replica-speeds", "1,1,1"), "3 speeds for 2 replicas"),
    ],
)
def test_wrong_options_are_said(run: Run, trace: Path, options: tuple[str, ...], said: str) -> None:
    result = run("traces", "replay", str(trace), *options)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_file_that_is_not_there(run: Run) -> None:
    result = run("traces", "replay", "nowhere.jsonl")
    assert result.exit_code == 2
    assert "nowhere.jsonl" in result.stderr
