"""What answers took that no dialect models: tokens in whatever form, else the units they tell.

Sources: `images_response.py`, `transcription.py` and `moderation_create_response.py` of OpenAI's
official SDK; the references of vLLM and Jina (`/v1/rerank`, `/v1/score`: `usage.total_tokens`),
Cohere (`meta.billed_units`) and Mistral (`/v1/ocr`: `usage_info`).
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Usage

_DETAILS = ("input_tokens_details", "input_token_details", "prompt_tokens_details")
_OUTPUT_DETAILS = ("output_tokens_details", "output_token_details")
_UNITS = (("usage", "seconds"), ("usage_info", "pages_processed"))
_TOKENS = frozenset({
    "input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "total_tokens",
    *_DETAILS, *_OUTPUT_DETAILS,
})  # fmt: skip


def read(body: bytes, route: str) -> Usage | None:
    """The usage in an answer or in one event; a call of `route` is one unit where nothing is told.
    None when the body is no JSON object."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    told = _object(answer.get("usage"))
    units = _units(answer)
    if units or not _TOKENS & told.keys():
        return Usage(server_tools=units or {route: 1})
    return _tokens(told, pictures="/images/" in route)


def uncounted(route: str) -> Usage:
    """One call of a route whose answers tell nothing."""
    return Usage(server_tools={route: 1})


def _units(answer: dict[str, Any]) -> dict[str, int]:
    """Whole units that are no tokens, rounded up; Cohere's by the names it bills them under."""
    found = {name: -(-_number(_object(answer.get(place)).get(name)) // 1) for place, name in _UNITS}
    billed = _object(_object(answer.get("meta")).get("billed_units"))
    found.update({name: -(-_number(value) // 1) for name, value in billed.items()})
    return {name: int(count) for name, count in found.items() if count > 0}


def _tokens(told: dict[str, Any], *, pictures: bool) -> Usage:
    details = _first(told, _DETAILS)
    made = _first(told, _OUTPUT_DETAILS)
    total = _count(told, "total_tokens")
    output = _count(told, "output_tokens", "completion_tokens")
    return Usage(
        input_tokens=_count(told, "input_tokens", "prompt_tokens") or max(0, total - output),
        output_tokens=output,
        cache_read_tokens=_count(details, "cached_tokens") or None,
        audio_input_tokens=_count(details, "audio_tokens"),
        image_input_tokens=_count(details, "image_tokens"),
        audio_output_tokens=_count(made, "audio_tokens"),
        image_output_tokens=_count(made, "image_tokens") if made or not pictures else output,
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(told: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return next((_object(told[name]) for name in names if told.get(name)), {})


def _count(told: dict[str, Any], *names: str) -> int:
    return next((int(_number(told[name])) for name in names if name in told), 0)


def _number(value: Any) -> int | float:
    """A number that can be counted, else 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
        return 0
    return value
