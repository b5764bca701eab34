"""What the gateway leaves of an engine's speed: the shipped model asked directly and through it.

    python -m bench.engine [--seconds 4] [--rounds 3] [--json PATH]

One `xllamacpp` replica with 16 slots, started by `modelyard up`. Streams of 64 tokens go in turn
to the replica's own port with its own key, as the gateway does it, and to the gateway. Rounds
alternate and medians are shown. Engine, gateway and load share the machine's cores. With FULL=1:
five rounds of ten seconds.
"""

import argparse
import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from tests.platform import SHIPPED, Platform, platform

from bench import load, native, report, targets
from bench.peers import Unusable
from bench.targets import Target
from modelyard.domain import snapshot
from modelyard.lib.datafolder import DataFolder

MODEL = SHIPPED / "support-bot-v2.gguf"
STREAMS = (1, 4, 16)
TOKENS = 64
TOKEN = '"content":"'
"""Once in every event of llama.cpp that carries a token."""
FULL = bool(os.environ.get("FULL"))

Found = dict[tuple[str, int], list[load.Measured]]


def serve(running: Platform) -> tuple[Target, Target]:
    """Push and serve the model; the engine and the gateway before it."""
    running.client.push(MODEL, "support-bot", alias="production")
    engine = {"name": "xllamacpp", "context_tokens": 256, "slots": max(STREAMS)}
    running.apply("support", model="support-bot@production", engine=engine)
    endpoint = _endpoint(running.data)
    gateway = f"{running.gateway_url.rstrip('/').removesuffix('/v1')}/v1/chat/completions"
    return (
        Target("engine", "engine", f"{endpoint.url}/chat/completions", endpoint.api_key),
        Target("gateway", "gateway", gateway, running.key),
    )


def _endpoint(data: Path) -> snapshot.Endpoint:
    """The replica's address and key, from the snapshot that the gateway serves from."""
    served = snapshot.decode(DataFolder(data).snapshot.read_bytes())
    return next(one.revision.endpoints[0] for one in served.services if one.name == "support")


def _order(target: Target, streams: int, seconds: float) -> load.Order:
    question = {
        "model": "support",
        "messages": [{"role": "user", "content": "How do I cancel my order?"}],
        "stream": True,
        "max_tokens": TOKENS,
        "ignore_eos": True,
    }
    return load.Order(
        target.url, [target.key], [json.dumps(question)], streams, seconds,
        tokens=TOKENS, token_mark=TOKEN,
    )  # fmt: skip


def measure(program: Path, found: tuple[Target, Target], rounds: int, seconds: float) -> Found:
    """All numbers of streams at both, again and again; a warm-up first."""
    measured: Found = defaultdict(list)
    for target in found:
        load.measure(program, _order(target, max(STREAMS), 1.0))
    for turn in range(rounds):
        for streams in STREAMS:
            for target in found if turn % 2 else found[::-1]:
                order = _order(target, streams, seconds)
                measured[target.name, streams].append(load.measure(program, order))
    return measured


def figures(measured: Found) -> dict[str, float | None]:
    """Medians, and the gateway's share of the engine's speed within one round."""
    of: dict[str, float | None] = {"errors": sum(m.errors for ms in measured.values() for m in ms)}
    for streams in STREAMS:
        engine, gateway = measured["engine", streams], measured["gateway", streams]
        pairs = list(zip(gateway, engine, strict=True))
        of[f"tokens_per_s_engine_{streams}"] = median(one.tokens_per_s for one in engine)
        of[f"tokens_per_s_gateway_{streams}"] = median(one.tokens_per_s for one in gateway)
        of[f"gateway_over_engine_{streams}"] = median(
            a.tokens_per_s / b.tokens_per_s for a, b in pairs
        )
        of[f"ttft_added_us_{streams}"] = median(a.first_p50_us - b.first_p50_us for a, b in pairs)
    return of


def _print(of: dict[str, float | None]) -> None:
    rows: list[list[report.Cell]] = [
        [
            f"{streams}",
            of[f"tokens_per_s_engine_{streams}"],
            of[f"tokens_per_s_gateway_{streams}"],
            f"{of[f'gateway_over_engine_{streams}']:.3f}",
            of[f"ttft_added_us_{streams}"],
        ]
        for streams in STREAMS
    ]
    head = ["streams", "engine tokens/s", "gateway tokens/s", "ratio", "first token added p50, µs"]
    print(report.table(head, rows), end="\n\n")


def run(options: argparse.Namespace) -> int:
    """Measure and report; 1 when answers failed."""
    print(f"{report.machine()}\n{MODEL.name}, streams of {TOKENS} tokens\n")
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as name:
        folder = Path(name)
        try:
            tools = native.build(folder)
        except Unusable as error:
            print(f"nothing is measured: {error}")
            return 2
        with platform(folder / "data") as running:
            of = figures(measure(tools.load, serve(running), options.rounds, options.seconds))
    _print(of)
    report.publish(of, options.json)
    return 1 if of["errors"] else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=10 if FULL else 4)
    parser.add_argument("--rounds", type=int, default=5 if FULL else 3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    targets.end_on_signal()
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
