"""`GET /v1/models`: what a key may call, in a form that OpenAI's and Anthropic's clients read."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelyard.domain.snapshot.capabilities import Capabilities, common, with_said
from modelyard.gateway.catalog import Service

_NAMES = {
    "images": "image_input",
    "audio": "audio_input",
    "structured_output": "structured_outputs",
    "reasoning": "thinking",
}
"""Anthropic's names, where it has one; the others are ours."""


def models(services: Sequence[Service]) -> bytes:
    """All of them on one page."""
    data = [_model(service) for service in services]
    names = [one["id"] for one in data] or [None]
    return msgspec.json.encode(
        {
            "object": "list",
            "data": data,
            "has_more": False,
            "first_id": names[0],
            "last_id": names[-1],
        }
    )


def model(service: Service) -> bytes:
    """One of them."""
    return msgspec.json.encode(_model(service))


def _model(service: Service) -> dict[str, Any]:
    known = _capabilities(service)
    created_s = service.spec.created_at_us // 1_000_000
    return {
        "id": service.spec.name,
        "object": "model",
        "type": "model",
        "display_name": service.spec.name,
        "created": created_s,
        "created_at": datetime.fromtimestamp(created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "owned_by": service.spec.tenant,
        "model_version": service.stable.revision.model_version,
        "ready": bool(service.stable.endpoints),
        "capabilities": {
            _NAMES.get(name, name): {"supported": able}
            for name in known.__struct_fields__
            if isinstance(able := getattr(known, name), bool)
        },
        **_sizes(known),
    }


def _capabilities(service: Service) -> Capabilities:
    """Of all that may answer, but for what the document says."""
    found = common(one.spec.able for one in service.endpoints())
    return with_said(found, service.spec.capabilities)


def _sizes(known: Capabilities) -> dict[str, int]:
    """By the names that clients look for: Anthropic's, OpenRouter's and vLLM's."""
    found: dict[str, int] = {}
    if known.context_tokens:
        names = ("max_input_tokens", "context_length", "max_model_len")
        found.update(dict.fromkeys(names, known.context_tokens))
    if known.max_output_tokens:
        found.update(dict.fromkeys(("max_tokens", "max_output_tokens"), known.max_output_tokens))
    return found
