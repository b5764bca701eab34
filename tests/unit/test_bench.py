"""The benchmarks' own arithmetic. What they measure is not tested; how they compute it is."""

import json
import math

import pytest
from bench import figures, load, report, trend
from bench.figures import Row
from bench.samples import DIRECT, Sample, Samples
from bench.scenarios import FLOOD, RATE_1000, SATURATION, STREAMS, can_keep_up
from bench.targets import Target
from hypothesis import given
from hypothesis import strategies as st

OURS = Target("ours", "", "http://127.0.0.1:1/v1/chat/completions", "key")
NGINX = Target("nginx 1", "nginx", "http://127.0.0.1:2/v1/chat/completions", "none")


def measured(**fields: object) -> load.Measured:
    base = {
        "seconds": 2.0, "asked": 100, "requests": 100, "errors": 0, "aborted": 0, "reconnects": 0,
        "tokens": 0, "p50_us": 100.0, "p99_us": 200.0, "first_p50_us": 0.0, "first_p99_us": 0.0,
        "cpu_s": 0.1, "first_error": "",
    }  # fmt: skip
    return load.read(json.dumps({**base, **fields}))


def sampled(*rounds: tuple[str, str, float | None, dict[str, object]]) -> Samples:
    samples = Samples()
    for target, scenario, cpu_s, fields in rounds:
        samples.add(target, scenario, Sample(measured(**fields), cpu_s))
    return samples


def test_a_question_has_its_size_and_its_plan() -> None:
    for size, tokens in ((580, 0), (580, 64), (100_000, 0), (300_000, 2)):
        text = load.question("bench", tokens, pace_us=7, size_bytes=size)
        assert len(text) == size
        body = json.loads(text)
        assert f"[bench marker={'0' * 16} tokens={tokens} pace_us=7]" in text
        assert body.get("stream", False) is bool(tokens)


def test_processor_time_is_the_median_of_the_rounds() -> None:
    samples = sampled(
        *(("ours", "saturation", cpu, {"requests": 1000}) for cpu in (0.03, 0.9, 0.05))
    )
    assert samples.cpu_us("ours", "saturation") == pytest.approx(50.0)


def test_ratios_are_taken_within_a_round() -> None:
    # A machine twice as busy in the second round moves both targets and not the ratio.
    samples = sampled(
        ("ours", "saturation", 0.02, {}), ("nginx 1", "saturation", 0.01, {}),
        ("ours", "saturation", 0.04, {}), ("nginx 1", "saturation", 0.02, {}),
    )  # fmt: skip
    assert samples.ratio("ours", "nginx 1", "saturation") == pytest.approx(0.5)
    assert figures.ratios(samples, OURS, [NGINX])["ratio_nginx"] == pytest.approx(0.5)


def test_the_best_rust_router_is_the_one_we_beat_least() -> None:
    routers = [Target(name, name, "http://127.0.0.1:3/v1", "none") for name in figures.RUST]
    samples = sampled(
        ("ours", "saturation", 0.01, {}),
        ("vllm_router", "saturation", 0.05, {}),
        ("sglang_router", "saturation", 0.03, {}),
    )
    found = figures.ratios(samples, OURS, routers)
    assert found["ratio_rust_router"] == pytest.approx(3.0)
    assert figures.ratios(samples, OURS, [])["ratio_rust_router"] is None


def test_what_is_added_is_the_difference_to_direct() -> None:
    samples = sampled(
        ("ours", "200 rps", None, {"p50_us": 300.0}), (DIRECT, "200 rps", None, {"p50_us": 90.0})
    )
    assert samples.added("ours", "200 rps", "p50_us") == pytest.approx(210.0)


def test_an_overloaded_target_is_not_asked_for_latencies() -> None:
    slow = sampled(("ours", SATURATION.name, 1.0, {"requests": 180}),
                   ("ours", FLOOD.name, 1.0, {"tokens": 100_000}))  # fmt: skip
    assert not can_keep_up(slow, OURS, RATE_1000)
    assert can_keep_up(slow, OURS, STREAMS)
    assert can_keep_up(Samples(), OURS, RATE_1000)


def test_errors_are_counted_and_the_first_is_told() -> None:
    samples = sampled(
        ("ours", "a", None, {}),
        ("ours", "b", None, {"errors": 2, "first_error": "status 503"}),
        ("other", "b", None, {"errors": 1, "first_error": "status 500"}),
    )
    assert samples.total("ours", "errors") == 2
    assert samples.first_error("ours") == "status 503"
    assert samples.first_error("nobody") == ""


def test_better_is_above_one_whichever_way_a_figure_counts() -> None:
    assert figures.better(10.0, 20.0, Row("µs", "cpu")) == 2.0
    assert figures.better(10.0, 20.0, Row("rps", "rps", more_is_better=True)) == 0.5
    assert figures.better(-3.0, 20.0, Row("added", "added")) is None
    assert figures.better(None, 20.0, Row("µs", "cpu")) is None


def test_figures_of_ours_have_no_suffix_and_absent_ones_no_name() -> None:
    flat = figures.flat({"": {"rps": 1.0}, "nginx": {"rps": 2.0, "rss_mb": None}})
    assert json.loads(report.flat(flat)) == {"rps": 1.0, "rps_nginx": 2.0}


def test_a_table_has_a_cell_for_every_figure() -> None:
    samples = sampled(("ours", "saturation", 0.02, {}), ("nginx 1", "saturation", 0.01, {}))
    of = {one.suffix: figures.of_target(samples, one, 30.0) for one in (OURS, NGINX)}
    lines = figures.values([OURS, NGINX], of).splitlines()
    assert len(lines) == len(figures.ROWS) + 2
    assert "0.5×" in figures.comparison([OURS, NGINX], of)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.sets(st.integers(0, 1000), min_size=2))
def test_the_slope_of_a_line_is_its_slope(slope: float, start: float, xs: set[int]) -> None:
    found = trend.slope([(x, start + slope * x) for x in xs])
    assert math.isclose(found, slope, rel_tol=1e-6, abs_tol=1e-6)


def test_too_few_readings_have_no_slope() -> None:
    assert trend.slope([]) == 0.0
    assert trend.slope([(1.0, 5.0), (1.0, 9.0)]) == 0.0
