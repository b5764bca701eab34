"""What an answer took, both directions.

Source: `response_usage.py` and `ToolUsage` of OpenAI's official SDK; vLLM and xAI add members.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from modelyard.domain.chat import Members, Usage
from modelyard.gateway.dialects.fields import UNREADABLE

_KNOWN = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "input_tokens_details.cached_tokens": "cache_read_tokens",
    "input_tokens_details.cache_write_tokens": "cache_write_tokens",
    "input_tokens_details.audio_tokens": "audio_input_tokens",
    "input_tokens_details.image_tokens": "image_input_tokens",
    "output_tokens_details.reasoning_tokens": "reasoning_tokens",
    "output_tokens_details.audio_tokens": "audio_output_tokens",
    "output_tokens_details.image_tokens": "image_output_tokens",
}
_COUNTED_ALREADY = frozenset({
    "total_tokens",
    "input_tokens_details.text_tokens",
    "output_tokens_details.text_tokens",
    "input_tokens_details.cache_write_tokens_details.ttl_30m_tokens",
})  # fmt: skip
_CHARGED_ITEMS = {"web_search_call": "web_search", "file_search_call": "file_search"}
"""Items of an answer that are each one use of a tool that the provider runs."""


def read_usage(
    usage: msgspec.Raw,
    service_tier: str = "",
    tool_usage: msgspec.Raw = msgspec.Raw(),
    kinds: Iterable[str] = (),
) -> Usage | None:
    """The usage of a response whose output has items of these kinds; None where it says none, or
    nothing that can be read: an answer is not lost for a count that is wrong."""
    members = _members(usage)
    if not members:
        return None
    counts: dict[str, int] = {}
    extra: Members = {}
    for name, raw in members.items():
        found = list(_counts(_value(raw), name))
        counts.update(found)
        if not found and bytes(raw)[:1] not in (b"{", b"n"):
            extra[name] = raw
    return Usage(
        **{field: counts[path] for path, field in _KNOWN.items() if path in counts},
        server_tools=_server_tools(tool_usage, kinds),
        unknown={
            path: count
            for path, count in counts.items()
            if count and path not in _KNOWN and path not in _COUNTED_ALREADY
        },
        service_tier=service_tier,
        extra=extra,
    )


def _members(raw: msgspec.Raw) -> Members:
    try:
        return msgspec.json.decode(raw, type=Members) if bytes(raw) else {}
    except UNREADABLE:
        return {}


def _value(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return None


def _counts(value: Any, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _counts(inner, f"{path}.{name}")
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        yield path, value


def _server_tools(told: msgspec.Raw, kinds: Iterable[str]) -> dict[str, int]:
    """What the provider says of its tools; else the uses that the answer shows."""
    tools: dict[str, int] = {}
    for kind in kinds:
        name = _CHARGED_ITEMS.get(kind)
        if name is not None:
            tools[name] = tools.get(name, 0) + 1
    for name, raw in _members(told).items():
        uses = dict(_counts(_value(raw), "")).get(".num_requests", 0)
        if uses:
            tools[name] = uses
    return tools


def write_usage(usage: Usage | None) -> dict[str, Any] | None:
    """`usage` of a response: clients read every one of these members."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens or 0,
            "cache_write_tokens": usage.cache_write_tokens + usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
