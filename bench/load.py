"""Load for the benchmarks: Debian's `wrk` for whole answers where it is there, our own otherwise.

Ours is a process of its own (`python -m bench.load`, its order on stdin): questions are made once,
and of an answer it looks for no more than its status, its end and its tokens. It counts its own
processor time, so that a report can show that it was not the limit.
"""

import asyncio
import json
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

WRK = shutil.which("wrk")
LUA = Path(__file__).with_name("wrk.lua")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM_END = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Order:
    """What to ask, where, how often at once and for how long."""

    url: str
    key: str
    body: str
    connections: int
    seconds: float
    marker: str = ""
    """Streams: what occurs once in every token."""
    tokens: int = 0
    """Streams: how many tokens a good one has; 0: any number."""
    stagger_s: float = 0.0
    """Between the starts of two connections, so that paced streams do not march in step."""


@dataclass
class Measured:
    """What came back. Times in microseconds."""

    seconds: float = 0.0
    requests: int = 0
    """Whole good answers."""
    errors: int = 0
    tokens: int = 0
    p50_us: float = 0.0
    p99_us: float = 0.0
    first_p50_us: float = 0.0
    """To the first token of a stream."""
    first_p99_us: float = 0.0
    cpu_s: float = 0.0
    """Processor time of the load generator; 0 where it is not known."""
    samples: list[float] = field(default_factory=list, repr=False)

    @property
    def rps(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second, over all streams."""
        return self.tokens / self.seconds


def measure(order: Order) -> Measured:
    """Put load on one address and wait for the result."""
    if WRK and not order.marker:
        return _with_wrk(order)
    answered = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(order)), capture_output=True, text=True, check=True,
        timeout=order.seconds + 60,
    )  # fmt: skip
    return Measured(**json.loads(answered.stdout))


def _with_wrk(order: Order) -> Measured:
    command = [
        *(str(WRK), "-t1", f"-c{order.connections}", f"-d{max(1, round(order.seconds))}s"),
        *("--timeout", "30s", "-s", str(LUA), order.url, "--", order.key, order.body),
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answered = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=order.seconds + 60
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = Measured(**json.loads(answered.stdout.splitlines()[-1]))
    found.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found


class Asker(asyncio.Protocol):
    """One client that asks again as soon as it has its answer.

    A server may close between two answers (llama.cpp does, after each stream): then it connects
    anew and the clock of the question runs on, as it would for any client.
    """

    def __init__(self, question: bytes, order: Order, found: Measured, first: list[float]) -> None:
        self._question = question
        self._order = order
        self._marker = order.marker.encode()
        self._found = found
        self._first = first
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._asked_s = 0.0
        self._began = False
        self._answers = 0
        """Of this connection."""
        self._tail = b""
        self._tokens = 0
        self.stopped = False

    async def connect(self) -> None:
        """Open a connection, over which the question goes at once."""
        parts = urlsplit(self._order.url)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, parts.hostname or "", parts.port or 80)
        except OSError:
            self._found.errors += 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._answers = 0
        if not self._asked_s:
            self._asked_s = time.perf_counter()
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.stopped:
            return
        if self._began or not self._answers:
            self._found.errors += 1
        else:
            self._task = asyncio.get_running_loop().create_task(self.connect())

    def data_received(self, data: bytes) -> None:
        if not self._began and not self._begin(data):
            return
        ended = self._stream(data) if self._marker else self._whole(data)
        if ended and not self.stopped:
            self._count()
            self._asked_s = time.perf_counter()
            self._ask()

    def _count(self) -> None:
        self._answers += 1
        if self._order.tokens and self._tokens != self._order.tokens:
            self._found.errors += 1
            return
        self._found.requests += 1
        self._found.samples.append(time.perf_counter() - self._asked_s)

    def stop(self) -> None:
        """Close at once."""
        self.stopped = True
        if self._transport is not None:
            self._transport.abort()

    def _ask(self) -> None:
        assert self._transport is not None
        self._began, self._tokens, self._tail = False, 0, b""
        self._transport.write(self._question)

    def _begin(self, data: bytes) -> bool:
        """Whether the answer that begins here is a good one."""
        self._began = True
        if data[9:12] == b"200":
            return True
        self._found.errors += 1
        self.stop()
        return False

    def _whole(self, data: bytes) -> bool:
        self._tail = self._tail + data if self._tail else data
        head = self._tail.find(b"\r\n\r\n")
        length = _LENGTH.search(self._tail, 0, head) if head > 0 else None
        return length is not None and len(self._tail) >= head + 4 + int(length[1])

    def _stream(self, data: bytes) -> bool:
        # What the last piece ended with: a token or the end may be cut in two.
        whole = self._tail + data
        keep = len(self._marker) - 1
        counted = whole.count(self._marker, max(0, len(self._tail) - keep))
        if counted and not self._tokens:
            self._first.append(time.perf_counter() - self._asked_s)
        self._tokens += counted
        self._found.tokens += counted
        self._tail = whole[-max(keep, len(_STREAM_END)) :]
        return self._tail.endswith(_STREAM_END)


async def run(order: Order) -> Measured:
    """Ask for as long as ordered."""
    parts = urlsplit(order.url)
    body = order.body.encode()
    question = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {order.key}"
        f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    found, first = Measured(), list[float]()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    askers = [Asker(question, order, found, first) for _ in range(order.connections)]
    for asker in askers:
        await asker.connect()
        await asyncio.sleep(order.stagger_s)
    await asyncio.sleep(order.seconds)
    found.seconds = time.perf_counter() - began_s
    found.cpu_s = time.process_time() - cpu_s
    for asker in askers:
        asker.stop()
    found.p50_us, found.p99_us = _percentiles(found.samples)
    found.first_p50_us, found.first_p99_us = _percentiles(first)
    found.samples.clear()
    return found


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    if not ordered:
        return 0.0, 0.0
    at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99)]
    return at[0] * 1e6, at[1] * 1e6


def main() -> None:
    """Read an order, print what was measured."""
    order: dict[str, Any] = json.load(sys.stdin)
    print(json.dumps(asdict(uvloop.run(run(Order(**order))))))


if __name__ == "__main__":
    main()
