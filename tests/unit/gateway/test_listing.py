"""What `/v1/models` says that a model can do."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.rig import endpoint, rig, service

from modelyard.domain.snapshot import Capabilities, Endpoint, Service

pytestmark = pytest.mark.anyio
ABLE = Capabilities(chat=True, tools=True, images=False, structured_output=True,
                    context_tokens=32_768, max_output_tokens=4_096)  # fmt: skip


async def listed(folder: Path, one: Service) -> dict[str, Any]:
    """What a client that lists the models is told of the only one."""
    async with rig(folder) as there:
        there.offer(one)
        wire = await there.connect()
        wire.writer.write(
            b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer my_abc_secret\r\n\r\n"
        )
        _, body = await wire.answer()
    (found,) = json.loads(body)["data"]
    return dict(found)


def end(name: str, **options: Any) -> Endpoint:
    return endpoint("http://127.0.0.1:9/v1", name, **options)


async def test_names_are_those_that_clients_look_for(tmp_path: Path) -> None:
    got = await listed(tmp_path, service("m", end("a", capabilities=ABLE)))
    assert got["capabilities"] == {
        "chat": {"supported": True},
        "tools": {"supported": True},
        "image_input": {"supported": False},
        "structured_outputs": {"supported": True},
    }
    assert {got[name] for name in ("max_input_tokens", "context_length", "max_model_len")} == {
        32_768
    }
    assert got["max_tokens"] == got["max_output_tokens"] == 4_096


async def test_of_what_nobody_knows_nothing_is_said(tmp_path: Path) -> None:
    got = await listed(tmp_path, service("m", end("a")))
    assert got["capabilities"] == {}
    assert not {"context_length", "max_tokens"} & set(got)


async def test_any_endpoint_may_answer_so_the_weakest_counts(tmp_path: Path) -> None:
    weaker = Capabilities(chat=True, tools=False, context_tokens=8_192)
    got = await listed(
        tmp_path, service("m", end("a", capabilities=ABLE), end("b", capabilities=weaker))
    )
    assert got["capabilities"]["chat"] == {"supported": True}
    assert got["capabilities"]["tools"] == {"supported": False}
    assert "structured_outputs" not in got["capabilities"], "the other's is not known"
    assert got["context_length"] == 8_192
    assert "max_tokens" not in got


async def test_a_document_has_the_last_word(tmp_path: Path) -> None:
    said = Capabilities(images=True, context_tokens=1_000)
    got = await listed(
        tmp_path,
        service("m", end("a", capabilities=ABLE, fim="{prefix}{suffix}"), capabilities=said),
    )
    assert got["capabilities"]["image_input"] == {"supported": True}
    assert got["capabilities"]["fim"] == {"supported": True}, "it is asked in its own words"
    assert got["context_length"] == 1_000
