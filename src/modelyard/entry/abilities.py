"""What the model behind a service can do, in words."""

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.domain.snapshot import Capabilities, Endpoint
from modelyard.domain.snapshot.capabilities import common, with_said


def said(service: Mapping[str, Any]) -> str:
    """As `/v1/models` says it: what every endpoint can do, but for what the document says. Empty
    when nobody knows anything."""
    endpoints = (service["status"] or {}).get("endpoints") or ()
    found = common(msgspec.convert(one, Endpoint).able for one in endpoints)
    own = msgspec.convert(service["document"]["spec"].get("capabilities") or {}, Capabilities)
    return _words(with_said(found, own))


def _words(known: Capabilities) -> str:
    named = {name.replace("_", " "): getattr(known, name) for name in known.__struct_fields__}
    can = [name for name, able in named.items() if able is True]
    cannot = [name for name, able in named.items() if able is False]
    parts = [", ".join(can), f"not {', '.join(cannot)}" if cannot else ""]
    if known.context_tokens:
        parts.append(f"{known.context_tokens:,} tokens of context")
    if known.max_output_tokens:
        parts.append(f"answers up to {known.max_output_tokens:,}")
    return "; ".join(part for part in parts if part)
