"""The rules live: the same conversations through a real gateway to echo engines, rule by rule.

    python -m bench.routing_live [--seconds 20] [--json PATH]

Each rule gets a service of its own with four replicas of the echo engine, which read prompts at a
rate, one after the other, and keep a bounded prefix cache, as real engines do. Conversations of
very different length take turns in a Poisson stream whose uncached work is about what the replicas
can do. First-token times are those of the records. What the simulator says (`make bench-routing`)
must hold here in order, not in size.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from tests.platform import Platform, platform

from bench import report

RULES = ("first_token", "prefix", "least_load", "round_robin")
REPLICAS = 4
PREFILL_TOKENS_PER_S = 4000.0
CACHE_BLOCKS = 600
BLOCK_TOKENS = 16
SESSIONS = 40
RATE_PER_S = 14.0
SEED = 7


class Turn(NamedTuple):
    """One request: when, and the conversation so far."""

    at_s: float
    text: str


def turns(seconds: float) -> list[Turn]:
    """The same for every rule. A word is a token of the echo engine."""
    draw = random.Random(SEED)
    sessions = [_words(draw, int(draw.lognormvariate(6.3, 1.0))) for _ in range(SESSIONS)]
    found, at_s = [], 0.0
    while at_s < seconds:
        at_s += draw.expovariate(RATE_PER_S)
        number = draw.randrange(SESSIONS)
        sessions[number] += " " + _words(draw, draw.randint(10, 60))
        found.append(Turn(at_s, sessions[number]))
    return found


def _words(draw: random.Random, count: int) -> str:
    return " ".join(f"{draw.getrandbits(24):x}" for _ in range(max(10, min(count, 4000))))


async def _play(running: Platform, service: str, schedule: Sequence[Turn]) -> None:
    headers = {"authorization": f"Bearer {running.key}"}
    limits = httpx.Limits(max_connections=500)
    async with httpx.AsyncClient(headers=headers, timeout=60, limits=limits) as client:
        began_s = time.monotonic()
        asking = []
        for turn in schedule:
            await asyncio.sleep(max(0.0, began_s + turn.at_s - time.monotonic()))
            asking.append(asyncio.create_task(_ask(client, running, service, turn)))
        await asyncio.gather(*asking)


async def _ask(client: httpx.AsyncClient, running: Platform, service: str, turn: Turn) -> None:
    question = {
        "model": service,
        "stream": True,
        "messages": [{"role": "user", "content": turn.text}],
        "echo": {"tokens": 8},
    }
    url = f"{running.gateway_url}/v1/chat/completions"
    async with client.stream("POST", url, json=question) as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_bytes():
            continue


def measure(running: Platform, rule: str, schedule: Sequence[Turn]) -> dict[str, float]:
    """First-token times and cached share of one rule, on replicas that know nothing yet."""
    name = rule.replace("_", "-")
    engine = {
        "name": "echo", "prefill_tokens_per_s": PREFILL_TOKENS_PER_S, "cache_blocks": CACHE_BLOCKS,
        "block_tokens": BLOCK_TOKENS, "slots": 64,
    }  # fmt: skip
    running.apply(name, engine=engine, replicas=REPLICAS, routing={"rule": rule})
    asyncio.run(_play(running, name, schedule))
    rows = _rows(running, name, len(schedule))
    running.client.delete_service(name)
    waits = sorted(row["ttft_us"] / 1e3 for row in rows if row["ttft_us"] is not None)
    asked = sum(row["tokens_input"] or 0 for row in rows)
    cached = sum(row["tokens_cached"] or 0 for row in rows)
    return {
        "p50_ttft_ms": waits[len(waits) // 2],
        "p99_ttft_ms": waits[int(len(waits) * 0.99)],
        "hit_percent": 100 * cached / max(1, asked),
        "requests": len(waits),
    }


def _rows(running: Platform, service: str, count: int) -> list[dict[str, Any]]:
    """The records of all requests; they come a moment after the answers."""
    deadline_s = time.monotonic() + 30
    while True:
        rows = running.client.requests(limit=1000, service=service)
        if len(rows) >= min(count, 1000) or time.monotonic() > deadline_s:
            return rows
        time.sleep(0.2)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing_live", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    schedule = turns(options.seconds)[:1000]
    print(f"{report.machine()}\n{len(schedule)} requests a rule, {REPLICAS} replicas\n")
    found: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder,
        platform(Path(folder) / "data") as running,
    ):
        for rule in RULES:
            found[rule] = measure(running, rule, schedule)
    names = ("p50_ttft_ms", "p99_ttft_ms", "hit_percent", "requests")
    rows: list[list[report.Cell]] = [
        [rule, *(found[rule][name] for name in names)] for rule in RULES
    ]
    print(report.table(["rule", "first token p50, ms", "p99, ms", "cached, %", "requests"], rows))
    ours, plain = found["first_token"], found["round_robin"]
    flat = {
        "live_p50_ttft_over_round_robin": ours["p50_ttft_ms"] / plain["p50_ttft_ms"],
        "live_p99_ttft_over_round_robin": ours["p99_ttft_ms"] / plain["p99_ttft_ms"],
        "live_prefix_hit_rate": ours["hit_percent"] / 100,
    }
    print("\n" + json.dumps({name: round(value, 3) for name, value in flat.items()}))
    if options.json:
        options.json.write_text(json.dumps(flat))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
