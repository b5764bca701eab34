"""Regression 14: 100,000 different names from clients make no series and take no memory.

What gateways get wrong: each user, model or key in a request becomes a label, until the metrics
endpoint and the process are too large to live.
"""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from tests.regression.clients import read_all
from tests.unit.gateway.rig import KEY, Rig, Wire, endpoint, rig, service

from modelyard.gateway.shared import METRIC_ROWS
from modelyard.testing.echo import EchoServer

pytestmark = pytest.mark.anyio
STRANGERS = 100_000
BATCH = 500
WARM = 20_000
"""After so many, every table that is bounded is full."""
MOST_BLOCKS = 20_000
"""Objects that may be there more at the end than when all tables were full: far fewer than one a
name."""
SERVICES = METRIC_ROWS + 50


def stranger(number: int, model: str) -> bytes:
    """A request whose every label is new: model, user, session, client."""
    content = json.dumps({
        "model": model, "user": f"user-{number}", "max_tokens": 1,
        "messages": [{"role": "user", "content": "hi"}],
    }).encode()  # fmt: skip
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
        b"User-Agent: agent-%d\r\nX-Modelyard-Session: session-%d\r\nX-Modelyard-Client: c-%d\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (KEY, number, number, number, len(content), content)
    )


def series(one: Rig) -> list[str]:
    """The sample lines of `/metrics`."""
    text = one.gateway.render_metrics().decode()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


async def flood(wire: Wire, numbers: range) -> None:
    """Sent ahead in batches: every one is answered, with 404."""
    for start in range(numbers.start, numbers.stop, BATCH):
        batch = range(start, start + BATCH)
        wire.writer.write(b"".join(stranger(number, f"model-{number}") for number in batch))
        seen = b""
        async with asyncio.timeout(30):
            while seen.count(b"HTTP/1.1 404 ") < BATCH or not seen.endswith(b"}"):
                seen += await wire.reader.read(1 << 20)
        assert seen.count(b"HTTP/1.1 ") == BATCH


async def test_names_that_clients_invent_make_no_series(tmp_path: Path) -> None:
    async with EchoServer() as url, rig(tmp_path, spool_bytes=1 << 30) as one:
        one.serve(echo=[endpoint(url)])
        wire = await one.connect()
        await flood(wire, range(WARM))
        before, blocks = len(series(one)), sys.getallocatedblocks()
        await flood(wire, range(WARM, STRANGERS))
        grown = sys.getallocatedblocks() - blocks
        assert len(series(one)) == before
        assert grown < MOST_BLOCKS
        assert before < 100
        counted = next(line for line in series(one) if 'outcome="rejected"' in line)
        assert counted.endswith(f" {STRANGERS}")
        assert 'service=""' in counted
        # Of a service that exists it is the same: the body's `user` and the head's names.
        wire.writer.write(b"".join(stranger(number, "echo") for number in range(BATCH)))
        for _ in range(BATCH):
            assert (await wire.answer())[0] == 200
        text = "\n".join(series(one))
        for word in ("user-", "session-", "agent-", "model-", "c-1"):
            assert word not in text


async def test_more_services_than_rows_are_counted_as_one(tmp_path: Path) -> None:
    names = [f"service-{number}" for number in range(SERVICES)]
    async with rig(tmp_path) as one:
        one.offer(*(service(name) for name in names))
        data = b"".join(stranger(number, name) for number, name in enumerate(names))
        replies = read_all(await one.talk(data + b"GET / HTTP/1.1\r\n\r\n"))
        assert [reply.status for reply in replies] == [503] * SERVICES + [400]
        counted = [line for line in series(one) if "_requests_total{" in line]
        assert len(counted) == METRIC_ROWS
        (rest,) = [line for line in counted if 'service="(other)"' in line]
        assert rest.endswith(f" {SERVICES - METRIC_ROWS + 1}")
        assert sum(int(line.rpartition(" ")[2]) for line in counted) == SERVICES
