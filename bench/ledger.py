"""What the ledger costs a request: reserve, headers and settle, in microseconds of one core.

    python -m bench.ledger

In one process, over several kinds of counters, and with the lock that several processes need
(without contention). The best of five rounds.
"""

import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path

from modelyard.domain.limits import Counter, said
from modelyard.domain.snapshot import Bounds
from modelyard.gateway.ledger import SharedLedger
from modelyard.ports.ledger import Lease

NOW_US = 1_800_000_000_000_000
MANY = 10**12
CALLS = 50_000
WINDOWS = Bounds(requests_per_minute=MANY, tokens_per_minute=MANY)
ALL = Bounds(
    requests_per_minute=MANY, tokens_per_minute=MANY, concurrency=10, budget_nano_usd=MANY * 10**6
)
KINDS = {
    "no counter": (),
    "requests and tokens": (Counter("a", WINDOWS, "key a"),),
    "all four bounds": (Counter("b", ALL, "key b"),),
    "three counters, requests and tokens": tuple(Counter(id, WINDOWS, id) for id in "cde"),
}


def request(ledger: SharedLedger, counters: tuple[Counter, ...]) -> None:
    """All that one request asks of the ledger."""
    lease = ledger.reserve(counters, 100, 1000, NOW_US)
    assert isinstance(lease, Lease)
    if counters:
        said.headers(ledger.standing(counters, NOW_US))
        lease.pack()
    ledger.settle(lease, 60, 600, NOW_US)


def cost_us(call: Callable[[], object]) -> float:
    """Of one call, the best of five rounds."""
    return min(timeit.repeat(call, number=CALLS, repeat=5)) / CALLS * 1e6


def main() -> None:
    """Print the table."""
    print(f"{'':36}{'one process':>14}{'several':>14}   µs per request")
    with tempfile.TemporaryDirectory() as folder:
        one, several = (
            SharedLedger(Path(folder) / str(count), 0, count, now_us=NOW_US) for count in (1, 2)
        )
        for name, counters in KINDS.items():
            found = [
                cost_us(lambda ledger=ledger, counters=counters: request(ledger, counters))  # type: ignore[misc]
                for ledger in (one, several)
            ]
            print(f"{name:36}{found[0]:14.2f}{found[1]:14.2f}")
        tight = (Counter("f", Bounds(requests_per_minute=1), "key f"),)
        one.reserve(tight, 1, 1, NOW_US)
        print(f"{'refused':36}{cost_us(lambda: one.reserve(tight, 1, 1, NOW_US)):14.2f}")
        one.close()
        several.close()


if __name__ == "__main__":
    main()
