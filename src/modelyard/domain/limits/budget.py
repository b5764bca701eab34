"""Periods of a budget: calendar days, weeks (from Monday) and months in UTC, or all time."""

from datetime import date

DAY_US = 86_400_000_000
NEVER_US = 1 << 62
KINDS = {"day": 1, "week": 2, "month": 3, "total": 4}
_KIND_BITS = 7
_EPOCH = date(1970, 1, 1).toordinal()


def period_ends_us(per: str, now_us: int) -> int:
    """When the period that now lies in ends; NEVER_US for `total`."""
    day = now_us // DAY_US
    if per == "total":
        return NEVER_US
    if per == "day":
        return (day + 1) * DAY_US
    if per == "week":
        return (day - (day + 3) % 7 + 7) * DAY_US  # the first day of 1970 was a Thursday
    today = date.fromordinal(_EPOCH + day)
    following = date(today.year + today.month // 12, today.month % 12 + 1, 1)
    return (following.toordinal() - _EPOCH) * DAY_US


def period(per: str, now_us: int) -> int:
    """One word for a period: its end, which is a multiple of 8, with its kind in the low bits."""
    return period_ends_us(per, now_us) | KINDS[per]


def ends_us(word: int) -> int:
    """The end of the period that the word stands for; 0 for a word never written."""
    return word & ~_KIND_BITS


def per(word: int) -> str:
    """The kind of the period that the word stands for."""
    return next(name for name, kind in KINDS.items() if kind == word & _KIND_BITS)


def rolled(word: int, kind: str, now_us: int) -> tuple[int, bool]:
    """The period to count in, given the one counted in so far, and whether the count starts anew.

    A clock that was set back leaves the later period as it is: nothing is spent twice. A document
    that now names another kind of period keeps what was spent until the new period ends.
    """
    if now_us >= ends_us(word):
        return period(kind, now_us), True
    if word & _KIND_BITS != KINDS[kind]:
        return period(kind, now_us), False
    return word, False
