"""Kill, freeze and slow every kind of process under load; nothing that was answered may lack its
record, and nothing may fail that another replica could have answered.

    python -m bench.chaos [--callers 6] [--calm 2] [--json PATH]

One platform: two gateway processes, a service of two replicas on the shipped model and one of two
outside endpoints. While callers ask both without a pause, half of them streamed, SIGKILL ends in
turn a replica, a gateway process, the control plane, the reconciler, the supervisor, and everything
at once; SIGSTOP freezes a replica for good and the control plane for ten seconds; another process
locks the databases for some seconds; an outside endpoint becomes slow, then answers garbage. After
the last two kills the script starts `modelyard up` again, as an init system would.

It ends with 1 when the service does not heal, when the record of an answered request is missing,
when a request failed that need not have, or when a process is left. What may fail: a stream that
had begun on a replica that is then killed or frozen (it ends with an error), a connection to a
killed gateway process, everything while the platform is down.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from bench import report
from bench.callers import BROKEN_STREAM, CUT_STREAM, Callers
from bench.installation import HEAL_S, Installation, Outside, locked, wait_for
from bench.processes import Process, alive, freeze, frozen, kill
from modelyard.client import Client
from modelyard.errors import ModelyardError
from modelyard.testing.echo import Behaviour

MODEL = Path(__file__).parents[1] / "examples" / "support-model" / "support-bot-v2.gguf"
FROZEN_S = 10.0
LOCKED_S = 5.0
DISTURBED_S = 5.0
RESTARTS = {"supervisor", "everything"}
KILLS = ("replica", "frozen", "gateway", "control", "reconciler", "supervisor", "everything")
DISTURBANCES = ("slow", "garbage", "control frozen", "database locked")
STRIKES = (*KILLS[:2], *DISTURBANCES, *KILLS[2:])
MAY_BREAK_STREAMS = {"replica", "frozen"}
"""A begun stream cannot go on elsewhere: its text would come twice."""
MAY_LOSE_CONNECTIONS = {"gateway", *RESTARTS}


class Struck(NamedTuple):
    """What one strike did."""

    what: str
    killed: int
    healed_s: float
    answered: int
    failures: Counter[str]

    @property
    def avoidable(self) -> int:
        """Calls that failed although something was there that could have answered."""
        if self.what in MAY_LOSE_CONNECTIONS:
            return 0
        excused = self.broken_streams if self.what in MAY_BREAK_STREAMS else 0
        return self.failures.total() - excused

    @property
    def broken_streams(self) -> int:
        """Streams that had begun and did not end well."""
        return self.failures[BROKEN_STREAM] + self.failures[CUT_STREAM]


def main() -> None:
    """Run all strikes, print a table, exit 0 or 1."""
    parser = argparse.ArgumentParser(description="Kill every process under load.")
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--calm", type=float, default=2.0, metavar="SECONDS",
                        help="load before a strike and after the healing")  # fmt: skip
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelyard-chaos-") as folder, Outside() as outside:
        installation = Installation(Path(folder) / "data")
        result = run(installation, outside, options.callers, options.calm)
    report.publish(result, options.json)
    bad = ("missing", "left_running", "failed_avoidable")
    raise SystemExit(1 if any(result[name] for name in bad) else 0)


def run(
    installation: Installation, outside: Outside, count: int, calm_s: float
) -> dict[str, float]:
    """All strikes on one installation; the figures."""
    installation.start()
    try:
        _serve(installation, outside)
        key = (installation.data / "admin.key").read_text().strip()
        url = f"http://127.0.0.1:{installation.ports[0]}"
        print(f"{'struck':<18}{'processes':>9}{'healed':>9}{'answered':>10}{'failed':>8}")
        with Callers(url, key, count) as callers:
            struck = [_strike(what, installation, outside, callers, calm_s) for what in STRIKES]
        missing = _missing(installation, callers.answered)
    finally:
        code = installation.stop()
    left = [one for one in installation.seen.values() if alive(one.pid)]
    print(f"\n{len(callers.answered)} requests answered, {len(missing)} without a record")
    avoidable = sum(one.avoidable for one in struck)
    broken = sum(one.broken_streams for one in struck)
    print(f"{avoidable} failed that need not have, {broken} begun streams broken off")
    print(f"stopped with {code}, {len(left)} processes left running")
    for process in left:
        print(f"  left: {process.kind} {process.pid}")
    figures: dict[str, float] = {
        "answered": len(callers.answered),
        "missing": len(missing),
        "left_running": len(left),
        "failed_avoidable": avoidable,
        "broken_streams": broken,
    }
    for one in struck:
        name = one.what.replace(" ", "_")
        figures[f"healed_s_{name}"] = one.healed_s
        figures[f"failed_{name}"] = one.failures.total()
    return figures


def _serve(installation: Installation, outside: Outside) -> None:
    with installation.client() as client:
        client.push(MODEL, "support-bot", alias="production")
        spec = {"model": "support-bot@production", "replicas": 2}
        _apply(client, "support", spec)
        _apply(client, "outside", {"engine": {"name": "openai", "urls": outside.urls}})


def _apply(client: Client, name: str, spec: dict[str, Any]) -> None:
    client.apply({"apiVersion": "modelyard/v1", "kind": "Service", "name": name, "spec": spec})
    client.wait_ready(name, HEAL_S)


def _strike(
    what: str, installation: Installation, outside: Outside, callers: Callers, calm_s: float
) -> Struck:
    time.sleep(calm_s)
    answered, failures = len(callers.answered), callers.failures.copy()
    if what in DISTURBANCES:
        gone = _disturb(what, installation, outside)
        started = time.monotonic()
    else:
        started = time.monotonic()
        gone = _kill(what, installation)
    wait_for(lambda: _healed(installation, gone, callers), f"healing after: {what}")
    healed_s = time.monotonic() - started
    time.sleep(calm_s)
    now = Struck(what, len(gone) or 1, round(healed_s, 2), len(callers.answered) - answered,
                 callers.failures - failures)  # fmt: skip
    reasons = ", ".join(f"{reason} {count}" for reason, count in now.failures.most_common())
    print(f"{what:<18}{now.killed:>9}{now.healed_s:>8.1f}s{now.answered:>10}"
          f"{now.failures.total():>8}  {reasons}", flush=True)  # fmt: skip
    return now


def _kill(what: str, installation: Installation) -> set[int]:
    """Strike for good; the processes that must be replaced."""
    victims = _victims(what, installation.processes())
    for one in victims:
        (freeze if what == "frozen" else kill)(one.pid)
    if what in RESTARTS:
        assert installation.process is not None
        installation.process.wait()
        wait_for(lambda: not any(alive(pid) for pid in installation.seen), "the dead end")
        installation.start()
    return {one.pid for one in victims}


def _disturb(what: str, installation: Installation, outside: Outside) -> set[int]:
    """Disturb for some seconds and undo it; no process must be replaced after it."""
    if what == "control frozen":
        pids = [one.pid for one in installation.processes() if one.kind == "control"]
        with frozen(pids):
            time.sleep(FROZEN_S)
    elif what == "database locked":
        with locked(installation.data):
            time.sleep(LOCKED_S)
    else:
        fault = "garbage" if what == "garbage" else ""
        with outside.one_is(Behaviour(fault=fault, first_token_s=0.0 if fault else 1.0)):
            time.sleep(DISTURBED_S)
    return set()


def _victims(what: str, processes: list[Process]) -> list[Process]:
    if what == "everything":
        return processes
    kind = "replica" if what == "frozen" else what
    return [one for one in processes if one.kind == kind][:1]


def _healed(installation: Installation, gone: set[int], callers: Callers) -> bool:
    """All processes of before are there, the service is ready, and answers come."""
    kinds = Counter(one.kind for one in installation.processes() if one.pid not in gone)
    if kinds["gateway"] < 2 or not kinds["control"] or not kinds["reconciler"]:
        return False
    if kinds["replica"] < 2:
        return False
    try:
        with installation.client() as client:
            ready = client.service("support")["status"]["phase"] == "ready"
    except ModelyardError:
        return False
    before = len(callers.answered)
    time.sleep(0.2)
    return ready and len(callers.answered) > before


def _missing(installation: Installation, answered: set[str]) -> set[str]:
    """Answered requests without a record, after those on their way had time to arrive."""
    missing = set(answered)
    deadline = time.monotonic() + HEAL_S
    while missing and time.monotonic() < deadline:
        missing -= _recorded(installation)
        time.sleep(0.2)
    return missing


def _recorded(installation: Installation) -> set[str]:
    found: set[str] = set()
    before_id = ""
    with installation.client() as client:
        while rows := client.requests(limit=1000, before_id=before_id, outcome="completed"):
            found.update(row["request_id"] for row in rows)
            before_id = rows[-1]["request_id"]
    return found


if __name__ == "__main__":
    main()
