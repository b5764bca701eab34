"""What answers of other routes took, by hand."""

import json
from typing import Any

import pytest

from modelyard.domain.chat import Usage
from modelyard.gateway.dialects import units

SPEECH, SOUND, PICTURES = "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/images/generations"


@pytest.mark.parametrize(
    ("answer", "route", "told"),
    [
        ({"text": "hi"}, SOUND, Usage(server_tools={SOUND: 1})),
        ({"text": "hi", "usage": {"type": "duration", "seconds": 3.2}}, SOUND,
         Usage(server_tools={"seconds": 4})),
        ({"text": "hi", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45,
          "total_tokens": 59, "input_token_details": {"text_tokens": 0, "audio_tokens": 14}}},
         SOUND, Usage(input_tokens=14, output_tokens=45, audio_input_tokens=14)),
        ({"data": [], "usage": {"total_tokens": 100, "input_tokens": 50, "output_tokens": 50,
          "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}},
         PICTURES,
         Usage(input_tokens=50, output_tokens=50, image_input_tokens=40, image_output_tokens=50)),
        ({"results": [], "usage": {"total_tokens": 56}}, "/v1/rerank", Usage(input_tokens=56)),
        ({"results": [], "meta": {"billed_units": {"search_units": 1}}}, "/v1/rerank",
         Usage(server_tools={"search_units": 1})),
        ({"pages": [], "usage_info": {"pages_processed": 29, "doc_size_bytes": 3002783}},
         "/v1/ocr", Usage(server_tools={"pages_processed": 29})),
        ({"usage": {"seconds": True, "total_tokens": -3}}, SOUND, Usage()),
        ({"usage": "much"}, SPEECH, Usage(server_tools={SPEECH: 1})),
        ({"meta": [], "usage": {"seconds": 1e16}}, SPEECH, Usage(server_tools={SPEECH: 1})),
    ],
)  # fmt: skip
def test_by_hand(answer: dict[str, Any], route: str, told: Usage) -> None:
    assert units.read(json.dumps(answer).encode(), route) == told


@pytest.mark.parametrize("body", [b"", b"[1]", b'"x"', b"\xff", b"[" * 5000])
def test_what_is_no_answer(body: bytes) -> None:
    assert units.read(body, SPEECH) is None
