"""Regression 4: limits hold over three gateway processes, one of which is killed meanwhile.

What gateways get wrong: each process admits the whole limit, a restart forgets the window, and the
headers tell another story than the body.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from tests.platform import Platform
from tests.regression.clients import (
    Line,
    Reply,
    Watched,
    body,
    gateways,
    lines,
    new_key,
    served,
    until,
)
from tests.regression.conftest import PROCESSES

from modelyard.testing.echo import Behaviour

pytestmark = pytest.mark.anyio
REQUESTS = 1022
PER_MINUTE = 100
AT_ONCE = 4
WINDOW_S = 60.0
FULL, BUSY = "requests per minute", "open at once"


class Callers:
    """Ask over many connections until the minute is full, and remember every answer."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.replies: list[Reply] = []
        self.sent = 0
        self.complete = asyncio.Event()
        """Whether the killed process has been replaced: until then the minute is not filled up."""

    async def run(self, found: Sequence[Line]) -> None:
        """Each connection asks, one request after the other, until the minute is full."""
        await asyncio.gather(*(self._run(line) for line in found))

    async def _run(self, line: Line) -> None:
        while (reply := await self.one(line)).status and refused_by(reply) != FULL:
            if reply.status == 429:
                await asyncio.sleep(0.05)  # as a client that was told to come back
            if self.sent > REQUESTS // 3 or self.answered > PER_MINUTE // 2:
                await self.complete.wait()

    @property
    def answered(self) -> int:
        """Requests that were admitted and answered."""
        return [reply.status for reply in self.replies].count(200)

    async def one(self, line: Line) -> Reply:
        """One more request."""
        self.sent += 1
        reply = await line.ask(body("limited", stream=self.sent % 2 == 0), self._key)
        self.replies.append(reply)
        return reply


def refused_by(reply: Reply) -> str:
    """Which bound refused; empty when none did."""
    if reply.status != 429:
        return ""
    message = reply.error["message"]
    return next(bound for bound in (FULL, BUSY) if bound in message)


async def test_a_hundred_a_minute_are_admitted_and_not_one_more(three: Platform) -> None:
    begun_s = time.monotonic()
    server = Watched(Behaviour(first_token_s=0.1))
    limits = {"requests_per_minute": PER_MINUTE, "concurrency": AT_ONCE}
    async with served(three, "limited", server):
        callers = Callers(await new_key(three, "limited", limits=limits))
        async with lines(three, AT_ONCE) as found:
            await asyncio.gather(callers.run(found), kill_one(three, server, callers))
        async with lines(three, AT_ONCE) as found:
            for number in range(REQUESTS - callers.sent):
                reply = await callers.one(found[number % len(found)])
                assert refused_by(reply) == FULL
    assert time.monotonic() - begun_s < WINDOW_S, "all of it belongs to one window"
    counted = Counter(reply.status for reply in callers.replies)
    lost = counted.pop(0)
    assert sum(counted.values()) + lost == REQUESTS
    assert 1 <= lost <= AT_ONCE * PROCESSES, "only what the killed process had open"
    assert PER_MINUTE - lost <= len(server.calls) <= PER_MINUTE
    assert PER_MINUTE - lost <= counted[200] <= PER_MINUTE
    assert server.most_active <= AT_ONCE
    for reply in callers.replies:
        if reply.status:
            assert_headers_agree(reply)


async def kill_one(running: Platform, server: Watched, callers: Callers) -> None:
    """In the middle of the window; the one that takes its place is asked as well."""
    await until(lambda: len(server.calls) >= PER_MINUTE // 4)
    victim, *others = await asyncio.to_thread(gateways, running)
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(15):
        while len(pids := await asyncio.to_thread(gateways, running)) < PROCESSES or victim in pids:
            await asyncio.sleep(0.05)
    assert len(server.calls) < PER_MINUTE, "the window is not full yet"
    async with lines(running, AT_ONCE) as found:
        callers.complete.set()
        await callers.run([line for line in found if line.pid not in others])


def assert_headers_agree(reply: Reply) -> None:
    headers = reply.headers
    assert headers["x-ratelimit-limit-requests"] == str(PER_MINUTE)
    left = int(headers["x-ratelimit-remaining-requests"])
    assert 0 <= left < PER_MINUTE
    bound = refused_by(reply)
    if bound == FULL:
        assert left == 0
        assert 1 <= int(headers["retry-after"]) <= WINDOW_S + 1
        assert reply.error["code"] == "rate_limit_exceeded"
        assert f"all {PER_MINUTE} {FULL}" in reply.error["message"]
    elif bound == BUSY:
        assert headers["retry-after"] == "1"
        assert f"all {AT_ONCE} requests" in reply.error["message"]
    else:
        assert "retry-after" not in headers


async def test_tokens_per_minute_hold_over_all_processes(three: Platform) -> None:
    answer, most, per_minute = 37, 40, 3000
    server = Watched()
    async with served(three, "limited", server):
        key = await new_key(three, "limited", limits={"tokens_per_minute": per_minute})
        used = 0

        async def ask(line: Line) -> None:
            nonlocal used
            refused = 0
            while refused < 3:
                content = body("limited", max_tokens=most, echo={"tokens": answer})
                reply = await line.ask(content, key)
                if reply.status == 200:
                    used += reply.json["usage"]["total_tokens"]
                    assert reply.headers["x-ratelimit-limit-tokens"] == str(per_minute)
                    continue
                refused += 1
                assert reply.status == 429
                assert f"of {per_minute} tokens per minute are left" in reply.error["message"]
                await asyncio.sleep(0.02)

        async with lines(three, 4) as found:
            await asyncio.gather(*map(ask, found))
            last = await found[0].ask(body("limited", max_tokens=most), key)
        assert used <= per_minute
        left = int(last.headers["x-ratelimit-remaining-tokens"])
        assert left == per_minute - used, "what was reserved and not used has come back"
        assert left < most + len(body("limited", max_tokens=most)), "and it was used to the end"
