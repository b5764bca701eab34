"""What a model can do, in words."""

from typing import Any

import msgspec

from modelyard.domain.snapshot import Capabilities, Endpoint
from modelyard.entry.abilities import said


def service(own: dict[str, Any], *known: Capabilities, fim: str = "") -> dict[str, Any]:
    endpoints = [Endpoint(id="e", url="http://x/v1", capabilities=one, fim=fim) for one in known]
    spec = {"capabilities": own} if own else {}
    return {"document": {"spec": spec}, "status": {"endpoints": msgspec.to_builtins(endpoints)}}


def test_what_can_be_and_what_cannot() -> None:
    one = Capabilities(chat=True, structured_output=True, images=False, context_tokens=32_768)
    assert said(service({}, one)) == (
        "chat, structured output; not images; 32,768 tokens of context"
    )
    assert said(service({"images": True, "max_output_tokens": 4_096}, one)) == (
        "chat, images, structured output; 32,768 tokens of context; answers up to 4,096"
    )
    assert said(service({}, one, fim="{prefix}{suffix}")).startswith("chat, structured output, fim")


def test_nothing_is_said_of_what_nobody_knows() -> None:
    assert said(service({}, Capabilities())) == ""
    assert said({"document": {"spec": {}}, "status": None}) == ""
