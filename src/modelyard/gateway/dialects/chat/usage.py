"""What an answer took, both directions.

Source: `completion_usage.py` of OpenAI's official SDK; for what it does not have, the references of
OpenRouter (`cache_write_tokens`, `server_tool_use`), LiteLLM (`cache_creation_input_tokens`),
DeepSeek (`prompt_cache_hit_tokens`), Moonshot (`cached_tokens`) and xAI.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Usage

_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
_INPUT = "prompt_tokens_details"
_OUTPUT = "completion_tokens_details"
_KNOWN = {
    "": {
        "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens",
        "cache_read_input_tokens", "cache_creation_input_tokens", "prompt_cache_hit_tokens",
        "prompt_cache_miss_tokens", "num_cached_tokens", "reasoning_tokens",
    },
    _INPUT: {
        "cached_tokens", "cache_write_tokens", "cache_creation_tokens", "audio_tokens",
        "image_tokens", "text_tokens",
    },
    _OUTPUT: {
        "reasoning_tokens", "audio_tokens", "image_tokens", "text_tokens",
        "accepted_prediction_tokens", "rejected_prediction_tokens",
    },
    "cache_creation": {"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"},
    f"{_INPUT}.cache_creation_token_details": {
        "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens",
    },
}  # fmt: skip
"""By the object that they stand in. Predicted tokens are part of the output, `text_tokens` and
`prompt_cache_miss_tokens` are what remains of a sum."""
_USES = "server_tool_use"
_NO_COUNTS = (_USES, "cost", "cost_details")
"""Uses are counted apart, and money is not counted here."""


class _Counts:
    """Whole numbers of a JSON object by their path; what is none is nothing."""

    def __init__(self, value: Any) -> None:
        self._found: dict[str, int] = {}
        self._walk(value, "")

    def _walk(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            return
        for name, entry in value.items():
            at = f"{path}.{name}" if path else name
            if isinstance(entry, int) and not isinstance(entry, bool) and entry >= 0:
                self._found[at] = entry
            else:
                self._walk(entry, at)

    def first(self, *paths: str) -> int | None:
        """The first of these that is there."""
        return next((self._found[path] for path in paths if path in self._found), None)

    def get(self, *paths: str) -> int:
        """The first of these that is there, else 0."""
        return self.first(*paths) or 0

    def uses(self) -> dict[str, int]:
        """Of tools that the provider runs."""
        begin, end = f"{_USES}.", "_requests"
        return {
            path.removeprefix(begin).removesuffix(end): count
            for path, count in self._found.items()
            if path.startswith(begin) and count
        }

    def unknown(self) -> dict[str, int]:
        """Those that nobody here knows, and that are not nothing."""
        return {
            path: count
            for path, count in self._found.items()
            if count and path.partition(".")[0] not in _NO_COUNTS and not _is_known(path)
        }


def _is_known(path: str) -> bool:
    place, _, name = path.rpartition(".")
    return name in _KNOWN.get(place, ())


def read_usage(raw: msgspec.Raw, service_tier: str = "") -> Usage | None:
    """None where it says nothing."""
    data = bytes(raw)
    counts = _Counts(msgspec.json.decode(data)) if data.startswith(b"{") else None
    if counts is None or counts.first("prompt_tokens", "completion_tokens") is None:
        return None
    input_tokens = counts.get("prompt_tokens")
    reasoning = counts.first(f"{_OUTPUT}.reasoning_tokens", "reasoning_tokens")
    output_tokens, missing = _output(counts, input_tokens, reasoning)
    written, for_1h = _cache_writes(counts)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=counts.first(
            f"{_INPUT}.cached_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens",
            "cached_tokens", "num_cached_tokens",
        ),
        cache_write_tokens=written,
        cache_write_1h_tokens=for_1h,
        audio_input_tokens=counts.get(f"{_INPUT}.audio_tokens"),
        image_input_tokens=counts.get(f"{_INPUT}.image_tokens"),
        reasoning_tokens=reasoning,
        audio_output_tokens=counts.get(f"{_OUTPUT}.audio_tokens"),
        image_output_tokens=counts.get(f"{_OUTPUT}.image_tokens"),
        server_tools=counts.uses(),
        unknown=counts.unknown() | ({"total_tokens": missing} if missing else {}),
        service_tier=service_tier,
    )  # fmt: skip


def _output(counts: _Counts, input_tokens: int, reasoning: int | None) -> tuple[int, int]:
    """The output, and what the total has more than both. xAI counts thinking beside the output;
    where a total says more and nobody says why, the rest is shown as unknown."""
    output = counts.get("completion_tokens")
    rest = counts.get("total_tokens") - input_tokens - output
    if rest > 0 and rest == reasoning:
        return output + rest, 0
    return output, max(0, rest)


def _cache_writes(counts: _Counts) -> tuple[int, int]:
    """For five minutes, and for an hour."""
    details = f"{_INPUT}.cache_creation_token_details"
    both = counts.get(
        f"{_INPUT}.cache_write_tokens", f"{_INPUT}.cache_creation_tokens",
        "cache_creation_input_tokens",
    )  # fmt: skip
    name = "ephemeral_1h_input_tokens"
    for_1h = counts.get(f"cache_creation.{name}", f"{details}.{name}")
    return max(0, both - for_1h), for_1h


def write_usage(usage: Usage) -> dict[str, Any]:
    """For a client; what the upstream did not say is not said."""
    written = usage.cache_write_tokens + usage.cache_write_1h_tokens
    of_input = {
        "cached_tokens": usage.cache_read_tokens,
        "audio_tokens": usage.audio_input_tokens or None,
        "image_tokens": usage.image_input_tokens or None,
        "cache_write_tokens": written or None,
    }
    of_output = {
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_tokens": usage.audio_output_tokens or None,
        "image_tokens": usage.image_output_tokens or None,
    }
    told: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    uses = {f"{name}_requests": count for name, count in usage.server_tools.items()}
    for name, details in ((_INPUT, of_input), (_OUTPUT, of_output), (_USES, uses)):
        said = {key: count for key, count in details.items() if count is not None}
        if said:
            told[name] = said
    return told


def written_tier(usage: Usage | None) -> dict[str, str]:
    """`service_tier` of an answer, where it is one of OpenAI's."""
    tier = usage.service_tier if usage is not None else ""
    return {"service_tier": tier} if tier in _TIERS else {}
