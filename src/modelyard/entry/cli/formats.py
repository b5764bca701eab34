"""How the command line writes times, sizes and numbers, and reads the ones people type."""

import re
from datetime import UTC, datetime

import click

from modelyard.lib.clock import from_iso, now_us

_UNITS = {"us": 1, "ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_CONTROL = {code: "�" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


def printable(text: str) -> str:
    """The text without control characters: what a model or a client wrote must not steer the
    terminal of whoever looks at it."""
    return text.translate(_CONTROL)


def one_line(text: str, limit: int = 200) -> str:
    """For a table's cell."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def duration(value_us: int | float | None) -> str:
    """`850 µs`, `12.3 ms`, `1.24 s`, `3 m 20 s`; `-` when there is none."""
    if value_us is None:
        return "-"
    if value_us < 1_000:
        return f"{value_us:.0f} µs"
    if value_us < 999_500:
        return f"{value_us / 1_000:.3g} ms"
    if value_us < 100 * 10**6:
        return f"{value_us / 10**6:.2f} s"
    minutes, seconds = divmod(round(value_us / 10**6), 60)
    return f"{minutes} m {seconds} s"


def size(value: int | None) -> str:
    """Bytes in the decimal units that disks and downloads are sold in."""
    if value is None:
        return "-"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1_000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1_000
    return f"{amount:.3g} TB"


def number(value: int | float | None) -> str:
    """With thousands separated; `-` when there is none."""
    return "-" if value is None else f"{value:,}"


def dollars(nano_usd: int | None) -> str:
    """Nano-dollars as dollars, as many places as the amount needs."""
    return "-" if nano_usd is None else f"${nano_usd / 10**9:.6f}".rstrip("0").rstrip(".")


def moment(at_us: int | None) -> str:
    """Local date and time to the second; `-` when there is none."""
    if not at_us:
        return "-"
    return datetime.fromtimestamp(at_us / 10**6, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock_time(at_us: int | None) -> str:
    """Local time of day to the millisecond, for dense tables; with the date when not today."""
    if not at_us:
        return "-"
    then = datetime.fromtimestamp(at_us / 10**6, UTC).astimezone()
    same_day = then.date() == datetime.now(UTC).astimezone().date()
    return then.strftime("%H:%M:%S.%f" if same_day else "%Y-%m-%d %H:%M:%S.%f")[:-3]


class Span(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A length of time such as `500ms`, `1.5h`; the value is microseconds."""

    name = "span"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """See click."""
        if isinstance(value, int):
            return value
        match = _SPAN.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no length of time; write 500ms, 30s, 2h or 7d", param, ctx)
        return round(float(match[1]) * _UNITS[match[2]])


class PastMoment(click.ParamType):  # type: ignore[type-arg]
    """A moment as `2h` (that long ago) or ISO 8601; the value is microseconds since the epoch."""

    name = "when"
    ahead = False

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """See click."""
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if match := _SPAN.fullmatch(text):
            span = round(float(match[1]) * _UNITS[match[2]])
            return now_us() + (span if self.ahead else -span)
        try:
            return from_iso(_in_local_zone(text))
        except ValueError:
            self.fail(
                f"{value!r} is no time; write 2h, 7d or 2026-01-31T12:00 (local time)", param, ctx
            )


class FutureMoment(PastMoment):
    """A moment as `30d` (from now) or ISO 8601."""

    ahead = True


def _in_local_zone(text: str) -> str:
    """People mean their own zone when they name none."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.astimezone()).isoformat()
