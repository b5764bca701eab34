"""Regression 2: from 16 to 1,024 requests at once, some with images of 5 MB: every one is answered.

What gateways get wrong: they collapse or die at a thousand open requests, or when bodies are large.
How fast it is, is measured in `bench/`; here only that nothing fails and nothing is mixed up.
"""

import asyncio
import base64
import os
import resource
from collections.abc import Iterator

import pytest
from tests.platform import Platform
from tests.regression.clients import Reply, Watched, ask, body, port_of, records, served

from modelyard.testing.echo import Behaviour

pytestmark = pytest.mark.anyio
STEPS = (16, 64, 256, 1024)
LARGE = 4
"""Of each step."""
IMAGE = base64.b64encode(os.urandom(5 * 1024 * 1024 * 3 // 4)).decode()


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    """This process has both ends: the clients' and the upstream's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def question(number: int) -> bytes:
    """Its words name it; the first few bring an image."""
    content: list[dict[str, object]] = [{"type": "text", "text": f"number {number}"}]
    if number < LARGE:
        url = f"data:image/png;base64,{IMAGE}"
        content.append({"type": "image_url", "image_url": {"url": url}})
    messages = [{"role": "user", "content": content}]
    return body("crowd", stream=number % 2 == 0, messages=messages)


async def test_every_request_is_answered_with_its_own_answer(three: Platform) -> None:
    server = Watched(Behaviour(first_token_s=0.2))
    key, port = three.key.encode(), port_of(three)
    async with served(three, "crowd", server):
        for step in STEPS:
            replies: list[Reply] = await asyncio.gather(
                *(ask(port, question(number), key=key) for number in range(step))
            )
            assert [reply.status for reply in replies] == [200] * step
            said = [reply.text.split() for reply in replies]
            assert said == [["number", str(number)] for number in range(step)]
        assert len(server.calls) == sum(STEPS), "nothing was asked twice"
        assert server.most_active > STEPS[0], "they were really open at once"
        images = [call for call in server.calls if len(call["messages"][0]["content"]) == 2]
        assert len(images) == LARGE * len(STEPS)
        sent = {call["messages"][0]["content"][1]["image_url"]["url"][22:] for call in images}
        assert sent == {IMAGE}, "every byte of them came through"
        rows = await records(three, replies[:LARGE])
        assert all(row["request_bytes"] > 5 * 1024 * 1024 for row in rows)
