"""Numbers as people read them, and times as people type them."""

from datetime import datetime

import click
import pytest

from modelyard.entry.cli import formats
from modelyard.lib.clock import now_us


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0 µs"),
        (850, "850 µs"),
        (12_345, "12.3 ms"),
        (999_499, "999 ms"),
        (1_240_000, "1.24 s"),
        (200_000_000, "3 m 20 s"),
    ],
)
def test_durations(value: int | None, text: str) -> None:
    assert formats.duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0 B"), (3_816_192, "3.82 MB"), (5 * 10**12, "5 TB"), (10**16, "1e+04 TB")],
)
def test_sizes(value: int | None, text: str) -> None:
    assert formats.size(value) == text


def test_numbers_and_money() -> None:
    assert formats.number(12_345) == "12,345"
    assert formats.number(None) == "-"
    assert formats.dollars(1_500_000) == "$0.0015"
    assert formats.dollars(0) == "$0"
    assert formats.dollars(None) == "-"


def test_moments_are_local() -> None:
    here = datetime(2026, 1, 31, 12, 0, 5).astimezone()
    at_us = round(here.timestamp() * 10**6)
    assert formats.moment(at_us) == "2026-01-31 12:00:05"
    assert formats.clock_time(at_us) == "2026-01-31 12:00:05.000"
    assert formats.moment(0) == formats.clock_time(None) == "-"


def test_today_needs_no_date() -> None:
    assert len(formats.clock_time(now_us())) == len("12:00:05.000")


def test_control_characters_are_replaced_but_for_line_ends_and_tabs() -> None:
    assert formats.printable("a\x1b[31mb\r\n\tc\x9b") == "a�[31mb�\n\tc�"
    assert formats.one_line("a\n  b\x07", limit=10) == "a b�"
    assert formats.one_line("x" * 20, limit=10) == "x" * 9 + "…"


@pytest.mark.parametrize(("text", "value"), [("500ms", 500_000), ("1.5h", 5_400_000_000)])
def test_spans(text: str, value: int) -> None:
    assert formats.Span().convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", "5", "h", "-1s", "1 year"])
def test_no_spans(text: str) -> None:
    with pytest.raises(click.BadParameter):
        formats.Span().convert(text, None, None)


def test_a_span_is_that_long_ago_or_from_now() -> None:
    hour_us = 3600 * 10**6
    past = formats.PastMoment().convert("1h", None, None)
    future = formats.FutureMoment().convert("1h", None, None)
    assert abs(now_us() - hour_us - past) < 60 * 10**6
    assert abs(now_us() + hour_us - future) < 60 * 10**6


def test_a_moment_without_a_zone_is_local() -> None:
    local = datetime(2026, 1, 31, 12, 0).astimezone()
    convert = formats.PastMoment().convert
    assert convert("2026-01-31T12:00", None, None) == round(local.timestamp() * 10**6)
    assert convert("2026-01-31T12:00Z", None, None) == 1_769_860_800_000_000


def test_no_moment() -> None:
    with pytest.raises(click.BadParameter, match="no time"):
        formats.PastMoment().convert("yesterday", None, None)
