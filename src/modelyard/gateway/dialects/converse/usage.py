"""What an answer took.

Source: `TokenUsage` in Bedrock's API reference, and "Prompt caching" in its user guide: what was
read from and written to the cache is not part of `inputTokens`.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Usage

_KNOWN = frozenset({
    "inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens",
})  # fmt: skip


class Tier(msgspec.Struct):
    """`serviceTier`."""

    type: str = ""


def read_usage(usage: dict[str, Any] | None, tier: Tier | None) -> Usage | None:
    """None where it says nothing."""
    if not usage:
        return None
    counts = {name: count for name, count in usage.items() if _is_count(count)}
    read, written = counts.get("cacheReadInputTokens"), counts.get("cacheWriteInputTokens", 0)
    for_1h = sum(_written(detail) for detail in usage.get("cacheDetails") or ())
    return Usage(
        input_tokens=counts.get("inputTokens", 0) + (read or 0) + written,
        output_tokens=counts.get("outputTokens", 0),
        cache_read_tokens=read,
        cache_write_tokens=max(0, written - for_1h),
        cache_write_1h_tokens=for_1h,
        unknown={name: count for name, count in counts.items() if count and name not in _KNOWN},
        service_tier=tier.type if tier is not None else "",
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _written(detail: Any) -> int:
    is_1h = isinstance(detail, dict) and detail.get("ttl") == "1h"
    count = detail.get("inputTokens") if is_1h else 0
    return count if _is_count(count) else 0
