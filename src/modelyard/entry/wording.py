"""How limits, and what is kept, are said: the same on pages and in the terminal."""

from collections.abc import Mapping
from typing import Any

COUNTED = ("key", "team", "person", "service")
_BOUNDS = (
    ("requests_per_minute", "rpm"),
    ("tokens_per_minute", "tpm"),
    ("concurrency", "at once"),
)


def whom(spec: Mapping[str, Any]) -> str:
    """Whom a limit counts: `team blue, each key`; `everybody` where nothing narrows it."""
    parts = [f"{name} {spec[name]}" for name in COUNTED if spec.get(name)]
    return ", ".join([*parts, f"each {spec['each']}"] if spec.get("each") else parts) or "everybody"


def bounds(spec: Mapping[str, Any]) -> str:
    """`100 rpm, 50,000 tpm, 4 at once, $50 a month`; empty where nothing is bounded."""
    shown = [f"{spec[name]:,} {unit}" for name, unit in _BOUNDS if spec.get(name)]
    return ", ".join([*shown, budget(spec)] if spec.get("budget") else shown)


def budget(spec: Mapping[str, Any]) -> str:
    """`$50 a month`, `$5 in all`; empty without one."""
    found = spec.get("budget")
    if not found:
        return ""
    money = f"${found['usd']:,.6f}".rstrip("0").rstrip(".")
    per = found.get("per", "month")
    return f"{money} in all" if per == "total" else f"{money} a {per}"


def content(spec: Mapping[str, Any]) -> str:
    """What a service keeps of what people write: `responses, for 30 d`; empty for nothing."""
    responses = (spec.get("content") or {}).get("responses")
    return f"responses, for {span(responses['keep_s'])}" if responses else ""


def span(seconds: float) -> str:
    """`3600` → `1 h`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
