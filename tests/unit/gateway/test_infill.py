"""A `suffix` in the words of a model that only continues texts."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.rig import endpoint, post, rig, service
from tests.unit.gateway.test_passing import There, says

from modelyard.domain.services.abilities import FAMILIES
from modelyard.errors import Invalid
from modelyard.gateway.infill import in_prompt

QWEN = FAMILIES["qwen"]
ANSWER = says(b'{"id":"c","object":"text_completion","choices":[{"text":"1","index":0,'
              b'"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,'
              b'"total_tokens":4}}')  # fmt: skip


@given(prefix=st.text(), suffix=st.text(min_size=1), family=st.sampled_from(sorted(FAMILIES)))
def test_both_halves_stand_where_the_family_wants_them(
    prefix: str, suffix: str, family: str
) -> None:
    """Also halves that look like places of the template."""
    sent = json.dumps({"model": "m", "prompt": prefix, "suffix": suffix, "top_k": 3}).encode()
    got = json.loads(in_prompt(sent, FAMILIES[family]))
    assert got["prompt"].startswith(FAMILIES[family].partition("{")[0])
    assert prefix in got["prompt"]
    assert suffix in got["prompt"]
    marks = len(FAMILIES[family]) - len("{prefix}{suffix}")
    assert len(got["prompt"]) == marks + len(prefix) + len(suffix)
    assert {**got, "prompt": ""} == {"model": "m", "prompt": "", "top_k": 3}


@pytest.mark.parametrize("suffix", [None, ""])
def test_without_anything_behind_it_a_prompt_is_continued(suffix: str | None) -> None:
    sent = json.dumps({"model": "m", "prompt": ["a", "b"], "suffix": suffix}).encode()
    assert json.loads(in_prompt(sent, QWEN)) == {"model": "m", "prompt": ["a", "b"]}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"prompt": ["a", "b"], "suffix": "c"}, "prompt"),
        ({"prompt": [1, 2], "suffix": "c"}, "prompt"),
        ({"prompt": "a", "suffix": 7}, "suffix"),
    ],
)
def test_what_is_no_text_is_refused_by_name(body: dict[str, object], named: str) -> None:
    with pytest.raises(Invalid, match=f"{named}: must be one text"):
        in_prompt(json.dumps({"model": "m", **body}).encode(), QWEN)


@pytest.mark.anyio
@pytest.mark.parametrize("fim", ["", QWEN])
async def test_endpoints_get_what_they_understand(tmp_path: Path, fim: str) -> None:
    there = There(ANSWER)
    server = await asyncio.start_server(there.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    asked = {"model": "code", "prompt": "def f(x):", "suffix": "\n  return y", "max_tokens": 4}
    async with rig(tmp_path) as one:
        end = endpoint(f"http://127.0.0.1:{port}", fim=fim, cancels_without_stream=True)
        one.offer(service("code", end))
        wire = await one.connect()
        wire.writer.write(post(json.dumps(asked).encode(), path=b"/v1/completions"))
        status, _ = await wire.answer()
        (record,) = one.records()
    server.close()
    got = json.loads(there.asked[0].partition(b"\r\n\r\n")[2])
    filled = "<|fim_prefix|>def f(x):<|fim_suffix|>\n  return y<|fim_middle|>"
    assert status == 200
    assert got == ({"model": "code", "prompt": filled, "max_tokens": 4} if fim else asked)
    assert record["tokens_output"] == 1
