"""What an answer took, both directions. Anthropic's `input_tokens` leaves out what was read from
its cache and written to it; the neutral sum has them in.

Source: `usage.py` and `message_delta_usage.py` of Anthropic's official SDK.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Usage

_KNOWN = frozenset({
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    "cache_creation.ephemeral_5m_input_tokens", "cache_creation.ephemeral_1h_input_tokens",
    "output_tokens_details.thinking_tokens",
})  # fmt: skip
_USES, _SUFFIX = "server_tool_use.", "_requests"
_APART = ("iterations",)
"""Sums of what is counted already."""


class Counter:
    """The counts of one answer: those of its beginning, replaced by those of its end."""

    __slots__ = ("_counts", "_tier")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._tier = ""

    def add(self, raw: msgspec.Raw) -> None:
        """Take a `usage`; what it does not say stays as it was."""
        data = bytes(raw)
        if not data.startswith(b"{"):
            return
        members = msgspec.json.decode(data)
        self._counts.update(_flat(members))
        tier = members.get("service_tier")
        self._tier = tier if isinstance(tier, str) else self._tier

    def usage(self) -> Usage | None:
        """None where nothing was said."""
        counts = self._counts
        if not counts:
            return None
        read = counts.get("cache_read_input_tokens")
        for_1h = counts.get("cache_creation.ephemeral_1h_input_tokens", 0)
        for_5m = counts.get("cache_creation.ephemeral_5m_input_tokens", 0)
        written = max(counts.get("cache_creation_input_tokens", 0), for_1h + for_5m)
        return Usage(
            input_tokens=counts.get("input_tokens", 0) + (read or 0) + written,
            output_tokens=counts.get("output_tokens", 0),
            cache_read_tokens=read,
            cache_write_tokens=written - for_1h,
            cache_write_1h_tokens=for_1h,
            reasoning_tokens=counts.get("output_tokens_details.thinking_tokens"),
            server_tools={
                path.removeprefix(_USES).removesuffix(_SUFFIX): count
                for path, count in counts.items()
                if path.startswith(_USES) and count
            },
            unknown={
                path: count
                for path, count in counts.items()
                if count and path not in _KNOWN and not path.startswith(_USES)
            },
            service_tier=self._tier,
        )


def _flat(members: dict[str, Any], place: str = "") -> dict[str, int]:
    found: dict[str, int] = {}
    for name, value in members.items():
        path = f"{place}{name}"
        if isinstance(value, dict) and name not in _APART:
            found |= _flat(value, f"{path}.")
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            found[path] = value
    return found


def write_usage(usage: Usage | None) -> dict[str, Any]:
    """For a client, with every member that its type has."""
    said = usage or Usage()
    written = said.cache_write_tokens + said.cache_write_1h_tokens
    fresh = said.input_tokens - (said.cache_read_tokens or 0) - written
    uses = {f"{name}{_SUFFIX}": count for name, count in said.server_tools.items()}
    return {
        "input_tokens": max(0, fresh),
        "output_tokens": said.output_tokens,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": said.cache_read_tokens or 0,
        "cache_creation": {
            "ephemeral_5m_input_tokens": said.cache_write_tokens,
            "ephemeral_1h_input_tokens": said.cache_write_1h_tokens,
        },
        "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0, **uses}
        if uses
        else None,
        "service_tier": said.service_tier
        if said.service_tier in ("standard", "priority", "batch")
        else None,
    }
