"""What two attempts at one answer took together."""

from modelyard.domain.chat import Usage


def added(one: Usage, other: Usage) -> Usage:
    """Both; a number that only one of them says is that one's."""
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cache_read_tokens=_sum(one.cache_read_tokens, other.cache_read_tokens),
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
        cache_write_1h_tokens=one.cache_write_1h_tokens + other.cache_write_1h_tokens,
        audio_input_tokens=one.audio_input_tokens + other.audio_input_tokens,
        image_input_tokens=one.image_input_tokens + other.image_input_tokens,
        reasoning_tokens=_sum(one.reasoning_tokens, other.reasoning_tokens),
        audio_output_tokens=one.audio_output_tokens + other.audio_output_tokens,
        image_output_tokens=one.image_output_tokens + other.image_output_tokens,
        server_tools=_sums(one.server_tools, other.server_tools),
        unknown=_sums(one.unknown, other.unknown),
        service_tier=other.service_tier or one.service_tier,
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else other + (one or 0)


def _sums(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
