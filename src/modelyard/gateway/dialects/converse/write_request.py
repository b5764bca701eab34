"""A request for Bedrock.

Source: `Converse` in Bedrock's API reference. What it does not have a word for goes to the model in
`additionalModelRequestFields` where the model is known to take it.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Members, Request, ResponseFormat
from modelyard.errors import Invalid
from modelyard.gateway.dialects.base import Written
from modelyard.gateway.dialects.converse.models import maker, thinking, top_k
from modelyard.gateway.dialects.converse.parts import Blocks
from modelyard.gateway.dialects.converse.tools import write_tools
from modelyard.gateway.dialects.converse.write_messages import write_messages
from modelyard.gateway.dialects.refusals import hint_for

_OWN = frozenset({
    "additionalModelRequestFields", "additionalModelResponseFieldPaths", "guardrailConfig",
    "performanceConfig", "promptVariables", "requestMetadata",
})  # fmt: skip
"""Members of Bedrock's own, which a client may add to its request whatever its dialect."""
_ELSEWHERE = "stands for what is stored elsewhere, which Amazon Bedrock does not have"
_REFUSED: dict[str, tuple[object, str]] = {
    "n": (1, "asks for several answers, and Amazon Bedrock gives one"),
    "logprobs": (False, "asks for probabilities, which Amazon Bedrock does not tell"),
    "logit_bias": ({}, "is not known to Amazon Bedrock, and the answer would be another"),
    "modalities": (["text"], "asks for more than text, which is not translated"),
    "previous_response_id": ("", _ELSEWHERE),
    "conversation": ({}, _ELSEWHERE),
    "prompt": ({}, _ELSEWHERE),
    "background": (False, "asks for an answer that is fetched later"),
}
"""Members that change the answer, and the values that ask for nothing."""
_TIERS = {"default": "default", "standard_only": "default", "flex": "flex", "priority": "priority",
          "fast": "priority", "reserved": "reserved"}  # fmt: skip
_SAYS_NOTHING = frozenset({"stream_options"})
_NOTHING = (b"null", b"false", b"[]", b"{}")
_MOST_TEMPERATURE = 1.0


def write_request(request: Request, cache_points: bool) -> Written:
    """Raises Invalid (`unsupported_content`, `unsupported_parameter`)."""
    blocks = Blocks(cache_points)
    own, dropped = _extra(request.extra)
    system, messages = write_messages(request, blocks)
    tools, untold_tools = write_tools(request, blocks)
    model_fields, effort, untold_thoughts = _model_fields(request, own)
    body: dict[str, Any] = {
        **own,
        "messages": messages,
        "system": system,
        "inferenceConfig": _inference(request, dropped),
        "toolConfig": tools,
        "additionalModelRequestFields": model_fields,
        "outputConfig": _output(request.response_format, effort),
        "serviceTier": _tier(request, dropped),
    }
    if request.stop and maker(request.model) == "anthropic":
        body.setdefault("additionalModelResponseFieldPaths", ["/stop_sequence"])
    if request.user:
        dropped.append("user")
    said = {name: value for name, value in body.items() if value or name == "messages"}
    named = {*dropped, *untold_tools, *untold_thoughts}
    return Written(msgspec.json.encode(said), tuple(sorted(named)))


def _inference(request: Request, dropped: list[str]) -> dict[str, Any]:
    """Temperatures end at 1 here; a hotter one is brought down, and named."""
    temperature = request.temperature
    if temperature is not None and temperature > _MOST_TEMPERATURE:
        temperature = _MOST_TEMPERATURE
        dropped.append("temperature")
    said = {
        "maxTokens": request.max_tokens,
        "temperature": temperature,
        "topP": request.top_p,
        "stopSequences": [text for text in request.stop if text] or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _model_fields(request: Request, own: Members) -> tuple[dict[str, Any], str, list[str]]:
    """What the client itself says to the model wins."""
    said, effort, dropped = thinking(request)
    if request.top_k is not None:
        told = top_k(request)
        said |= told or {}
        dropped += [] if told else ["top_k"]
    raw = own.get("additionalModelRequestFields")
    mine = msgspec.json.decode(raw, type=Members) if raw is not None else {}
    return said | mine, effort, dropped


def _output(form: ResponseFormat | None, effort: str) -> dict[str, Any]:
    said: dict[str, Any] = {"effort": effort} if effort else {}
    if form is None or form.kind == "text":
        return said
    if form.kind != "json_schema":
        raise Invalid(
            f"response_format asks for {form.kind}, and Amazon Bedrock knows schemas only",
            hint="give a json_schema",
            code="unsupported_parameter",
        )
    schema = {
        "schema": bytes(form.schema).decode() or "{}",
        "name": form.name,
        "description": form.description,
    }
    told = {name: text for name, text in schema.items() if text}
    return said | {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": told}}}


def _tier(request: Request, dropped: list[str]) -> dict[str, str]:
    asked = request.service_tier
    if asked in ("", "auto"):
        return {}
    if asked not in _TIERS:
        dropped.append("service_tier")
        return {}
    return {"type": _TIERS[asked]}


def _extra(extra: Members) -> tuple[Members, list[str]]:
    """Bedrock's own members, and the names of the others. Raises Invalid for those without which
    it would be another question."""
    own: Members = {}
    dropped: list[str] = []
    for name, raw in extra.items():
        if name in _OWN:
            own[name] = raw
        elif not _asks_for_nothing(name, raw):
            dropped.append(name)
    return own, dropped


def _asks_for_nothing(name: str, raw: msgspec.Raw) -> bool:
    if bytes(raw) in _NOTHING or name in _SAYS_NOTHING:
        return True
    if name not in _REFUSED:
        return False
    harmless, why = _REFUSED[name]
    if msgspec.json.decode(raw) == harmless:
        return True
    raise Invalid(
        f"{name} {why}",
        hint=hint_for(name),
        code="unsupported_parameter",
    )
