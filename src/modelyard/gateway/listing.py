"""`GET /v1/models`: what a key may call, in a form that OpenAI's and Anthropic's clients read."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelyard.gateway.catalog import Service


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
    }
