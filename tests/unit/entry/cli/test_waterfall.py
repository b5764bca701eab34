"""Bars over time."""

from typing import Any

from modelyard.entry.cli.waterfall import WIDTH, draw


def request(**fields: Any) -> dict[str, Any]:
    return {"duration_us": 1_000_000, "admission_us": 1_000, "ttft_us": 500_000, **fields}


def attempt(number: int, **fields: Any) -> dict[str, Any]:
    return {"number": number, "offset_us": 0, "duration_us": 1_000_000, "first_byte_us": 500_000,
            "outcome": "ok", "endpoint": "support-1", **fields}  # fmt: skip


def bar(line: str) -> str:
    return line.split("│")[1]


def test_waiting_and_answering_look_different() -> None:
    lines = draw(request(), [attempt(1)])
    assert [line.split()[0] for line in lines] == ["request", "admission", "attempt", "first"]
    assert bar(lines[0]) == "█" * WIDTH
    assert bar(lines[2]) == "░" * (WIDTH // 2) + "█" * (WIDTH // 2)
    assert bar(lines[3]).index("▲") == WIDTH // 2
    assert lines[2].endswith("1.00 s ok support-1")


def test_what_happened_is_never_invisible() -> None:
    assert bar(draw(request(), [])[1]).strip() == "█"


def test_a_failed_attempt_never_answers_and_says_why() -> None:
    failed = attempt(1, duration_us=250_000, first_byte_us=None, outcome="connect",
                     error_message="refused")  # fmt: skip
    second = attempt(2, offset_us=250_000, duration_us=750_000, first_byte_us=1)
    lines = draw(request(admission_us=None, ttft_us=None), [failed, second])
    assert bar(lines[1]) == "░" * (WIDTH // 4) + " " * (WIDTH * 3 // 4)
    assert lines[1].endswith("connect support-1: refused")
    assert bar(lines[2]).startswith(" " * (WIDTH // 4) + "░█")


def test_a_request_that_took_no_time() -> None:
    lines = draw({"duration_us": 0}, [attempt(1, duration_us=0, first_byte_us=0)])
    assert all(len(bar(line)) == WIDTH for line in lines)
