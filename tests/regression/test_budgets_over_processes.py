"""Regression 3: 64 parallel first requests on an untouched budget, over three gateway processes.

What gateways get wrong: every process checks its own idea of what was spent, or nothing is reserved
before dispatch, so the first burst goes through whole; and what has no price passes unseen.
"""

import asyncio
import json
from collections import Counter
from functools import partial

import pytest
from tests.platform import Platform
from tests.regression.clients import Line, Reply, Watched, body, lines, new_key, records, served
from tests.regression.conftest import PROCESSES

from modelyard.testing.echo import Behaviour

pytestmark = pytest.mark.anyio
FIRST = 64
MOST_TOKENS = 50
TOKEN_USD = 0.001
PRICE = {"output_usd_per_million": TOKEN_USD * 1_000_000}
RESERVATION_USD = MOST_TOKENS * TOKEN_USD
FITS = 5
BUDGET = {"usd": FITS * RESERVATION_USD + 0.01, "per": "total"}
CHAT, TEXT, EMBED = b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings"


def content(model: str, path: bytes, number: int) -> bytes:
    """A request of three words on this route; half of those that can be are streamed."""
    if path == EMBED:
        return json.dumps({"model": model, "input": "one two three"}).encode()
    words = {} if path == CHAT else {"prompt": "one two three"}
    return body(model, max_tokens=MOST_TOKENS, stream=number % 2 == 0, **words)


async def burst(running: Platform, model: str, key: bytes, *paths: bytes) -> list[Reply]:
    """All at once over all processes and these routes."""

    async def one(number: int, line: Line) -> Reply:
        path = paths[number // 2 % len(paths)]
        return await line.ask(content(model, path, number), key, path)

    async with lines(running, -(-FIRST // PROCESSES)) as found:
        return await asyncio.gather(*map(one, range(FIRST), found))


async def test_a_budget_holds_no_more_first_requests_than_fit_into_it(three: Platform) -> None:
    server = Watched(Behaviour(first_token_s=1.0))
    async with served(three, "priced", server, price=PRICE):
        key = await new_key(three, "priced", limits={"budget": BUDGET})
        replies = await burst(three, "priced", key, CHAT, TEXT)
        assert Counter(reply.status for reply in replies) == {200: FITS, 429: FIRST - FITS}
        assert len(server.calls) == FITS
        refused = next(reply for reply in replies if reply.status == 429)
        assert refused.error["code"] == "insufficient_quota"
        assert "x-should-retry" not in refused.headers, "open requests hold the rest"
        found = await records(three, replies)
        spent = sum(record["cost_nano_usd"] or 0 for record in found)
        assert spent == FITS * 3 * 1_000_000, "three tokens each; what was reserved came back"
        assert len({record["process"] for record in found}) == PROCESSES
        # What is left is spent to the end by asking on, and not a token more.
        server.behaviour = Behaviour()
        async with lines(three) as (line, *_):
            ask = partial(line.ask, body("priced", max_tokens=3), key)
            while (reply := await ask()).status == 200:
                spent += 3 * 1_000_000
        assert (reply.status, reply.headers["x-should-retry"]) == (429, "false")
        most = int(BUDGET["usd"] * 1_000_000_000)
        assert most - 3 * 1_000_000 < spent <= most


async def test_a_budget_holds_for_embeddings(three: Platform) -> None:
    """They have no answer to bound: what is reserved is the estimate of their input."""
    server = Watched(Behaviour(first_token_s=1.0))
    price = {"input_usd_per_million": TOKEN_USD * 1_000_000}
    async with served(three, "embed", server, price=price):
        key = await new_key(three, "embed", limits={"budget": BUDGET})
        replies = await burst(three, "embed", key, EMBED)
        answered = [reply for reply in replies if reply.status == 200]
        assert 1 <= len(answered) == len(server.calls) < FIRST
        most, spent = int(BUDGET["usd"] * 1_000_000_000), len(answered) * 3 * 1_000_000
        assert spent <= most
        server.behaviour = Behaviour()
        async with lines(three) as (line, *_):
            while (await line.ask(content("embed", EMBED, 0), key, EMBED)).status == 200:
                spent += 3 * 1_000_000
        assert spent <= most


@pytest.mark.parametrize(("rule", "answered"), [("refuse", 0), ("allow", FIRST)])
async def test_what_has_no_price_obeys_the_document(
    three: Platform, rule: str, answered: int
) -> None:
    server = Watched()
    async with served(three, "unpriced", server):
        limits = {"budget": BUDGET, "unknown_price": rule}
        key = await new_key(three, "unpriced", limits=limits)
        replies = await burst(three, "unpriced", key, CHAT, TEXT, EMBED)
        assert [reply.status for reply in replies].count(200) == answered == len(server.calls)
        for reply in replies:
            if reply.status != 200:
                assert (reply.status, reply.error["code"]) == (429, "price_unknown")
                assert reply.headers["x-should-retry"] == "false"
