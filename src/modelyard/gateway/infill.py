"""Filling in the middle for models that only continue texts: the `suffix` goes into the prompt, in
the words that the model was taught."""

import re

import msgspec

from modelyard.errors import Invalid

_PLACE = re.compile(r"\{(prefix|suffix)\}")


def in_prompt(body: bytes, template: str) -> bytes:
    """A body of `/v1/completions` without its `suffix`; all else keeps its bytes.

    Raises Invalid for prompts that are no text: they cannot be put together with one.
    """
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    suffix = _text("suffix", members.pop("suffix", msgspec.Raw(b"null")))
    if suffix:
        halves = {"prefix": _text("prompt", members.get("prompt", b"null")), "suffix": suffix}
        prompt = _PLACE.sub(lambda place: halves[place[1]], template)
        members["prompt"] = msgspec.Raw(msgspec.json.encode(prompt))
    return msgspec.json.encode(members)


def _text(name: str, value: msgspec.Raw | bytes) -> str:
    try:
        return msgspec.json.decode(value, type=str | None) or ""
    except msgspec.ValidationError:
        raise Invalid(
            f"{name}: must be one text where there is a `suffix`",
            hint="send one request for each prompt",
            code="invalid_request_error",
        ) from None
