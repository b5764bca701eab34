"""Regression 8: a client that goes away stops its upstream, whenever it goes and however.

What gateways get wrong: before the first token, or where nothing is streamed, the engine runs on
for nobody, and the place and the tokens that were reserved are gone with the client.

Times are measured as the upstream sees them. The bound is on the median of a few tries: that is
the gateway's doing, while a single late one may be the machine's.
"""

import asyncio
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest
from tests.platform import Platform
from tests.regression.clients import (
    Watched,
    ask,
    body,
    new_key,
    port_of,
    request,
    reset,
    served,
    until,
)

from modelyard.lib import clock
from modelyard.testing.echo import Behaviour

pytestmark = pytest.mark.anyio
TRIES = 5
MOST_S = 0.1
MINUTE_TOKENS = 100_000
SILENT = Behaviour(first_token_s=3600)
SLOW = Behaviour(tokens=5000, token_interval_s=0.01)


def leave(writer: asyncio.StreamWriter) -> None:
    """An orderly end."""
    writer.close()


@pytest.mark.parametrize("how", [leave, reset])
@pytest.mark.parametrize(
    ("moment", "behaviour", "stream", "engine"),
    [
        ("before the first byte of a stream", SILENT, True, {}),
        ("in mid-stream", SLOW, True, {}),
        ("unstreamed", SLOW, False, {}),
        ("unstreamed, before anything", SILENT, False, {}),
        ("unstreamed from a stream", SLOW, False, {"cancels_without_stream": False}),
        ("unstreamed from a silent stream", SILENT, False, {"cancels_without_stream": False}),
    ],
)
async def test_the_upstream_is_closed_within_100_ms(
    three: Platform, record_property: Callable[[str, object], None], moment: str,
    behaviour: Behaviour, stream: bool, engine: dict[str, Any],
    how: Callable[[asyncio.StreamWriter], None],
) -> None:  # fmt: skip
    server = Watched(behaviour)
    limits = {"concurrency": 1, "tokens_per_minute": MINUTE_TOKENS}
    async with served(three, "left", server, engine=engine):
        key = await new_key(three, "left", limits=limits)
        took_s = [await one(three, server, key, stream, how) for _ in range(TRIES)]
        record_property("cancelled_after_ms", [round(1000 * each, 2) for each in took_s])
        print(f"{moment}, {how.__name__}: {max(took_s) * 1000:.1f} ms at most")
        assert median(took_s) < MOST_S
        assert server.cancelled == TRIES == len(server.calls)
        server.behaviour = Behaviour()
        reply = await ask(port_of(three), body("left"), key=key)
        assert reply.status == 200, "every place came back"
        left = int(reply.headers["x-ratelimit-remaining-tokens"])
        found = await cancelled(three, key)
    assert len(found) == TRIES
    for record in found:
        assert record["error_code"] == "client_closed"
        assert record["usage_estimated"]
        assert record["status"] == (200 if stream and behaviour is SLOW else 499)
        assert record["tokens_input"] > 0
        assert (record["tokens_output"] > 0) == (behaviour is SLOW and (stream or bool(engine)))
    used = sum(record["tokens_input"] + record["tokens_output"] for record in found)
    assert left == MINUTE_TOKENS - used - reply.json["usage"]["total_tokens"]


async def one(
    running: Platform, server: Watched, key: bytes, stream: bool,
    how: Callable[[asyncio.StreamWriter], None],
) -> float:  # fmt: skip
    """Ask, wait until the upstream works on it, go away: seconds until the upstream knows."""
    before = server.cancelled
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(running))
    writer.write(request(body("left", stream=stream), key=key))
    await until(lambda: server.active)
    if stream and server.behaviour is SLOW:
        await reader.readuntil(b'"content":"three')
    else:
        await asyncio.sleep(0.05)
    left_s = clock.monotonic_s()
    how(writer)
    await until(lambda: server.cancelled > before)
    assert server.active == 0
    return server.cancelled_at_s[-1] - left_s


async def cancelled(running: Platform, key: bytes) -> list[dict[str, Any]]:
    """The records of those who left, by their key."""
    key_id, found = key.decode().split("_")[1], []
    async with asyncio.timeout(10):
        while len(found) < TRIES:
            await asyncio.sleep(0.05)
            rows = await asyncio.to_thread(running.client.requests, 50, outcome="cancelled")
            found = [row for row in rows if row["key_id"] == key_id]
    return found
