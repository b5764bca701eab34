"""Kill every kind of process under load; nothing that was answered may lack its record.

    python -m bench.chaos [--callers 6] [--calm 2] [--json PATH]

One platform on the shipped model: two gateway processes, two replicas. While callers ask without
a pause, half of them streamed, SIGKILL ends in turn a replica, a gateway process, the control
plane, the reconciler, the supervisor, and everything at once, and SIGSTOP freezes a replica. After
the last two the script starts `modelyard up` again, as an init system would. It ends with 1 when
the service does not heal, when the record of an answered request is missing, or when a process is
left.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx

from bench import report
from bench.processes import Process, alive, freeze, kill, tree
from modelyard.client import Client
from modelyard.errors import ModelyardError

MODEL = Path(__file__).parents[1] / "examples" / "support-model" / "support-bot-v2.gguf"
QUESTIONS = ("How do I cancel my order?", "Where do I track my parcel?")
HEAL_S = 60.0
MOST_CALLS = 20_000
RESTARTS = {"supervisor", "everything"}
STRIKES = ("replica", "frozen", "gateway", "control", "reconciler", "supervisor", "everything")


class Struck(NamedTuple):
    """What one strike did."""

    what: str
    killed: int
    healed_s: float
    answered: int
    failed: int
    reasons: str


class Installation:
    """`modelyard up` on a data folder, started again when asked."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.ports = [_free_port(), _free_port()]
        self.process: subprocess.Popen[str] | None = None
        self.seen: dict[int, Process] = {}

    def start(self) -> None:
        """Start it; a port or lock that the dead one still holds is waited for."""
        deadline = time.monotonic() + HEAL_S
        while not self._try_start():
            if time.monotonic() > deadline:
                raise SystemExit("the platform does not start again; its log is above")
            time.sleep(0.1)

    def _try_start(self) -> bool:
        gateway, control = map(str, self.ports)
        command = [
            *(sys.executable, "-m", "modelyard.entry.cli.main", "up", "-o", "json"),
            *("--data", str(self.data), "--port", gateway, "--control-port", control),
            *("--workers", "2"),
        ]
        with (self.data.parent / "platform.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        assert self.process.stdout is not None
        return bool(self.process.stdout.readline())

    def processes(self) -> list[Process]:
        """All that run now."""
        assert self.process is not None
        found = tree(self.process.pid)
        self.seen.update({one.pid: one for one in found})
        return found

    def stop(self) -> int:
        """End it as a user would; its exit code."""
        self.processes()
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(HEAL_S)

    def client(self) -> Client:
        """A client with the admin key."""
        key = (self.data / "admin.key").read_text().strip()
        return Client(f"http://127.0.0.1:{self.ports[1]}", key)


class Callers:
    """Threads that ask all the time and remember what was answered."""

    def __init__(self, url: str, key: str, count: int) -> None:
        self._url = url
        self._key = key
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answered: set[str] = set()
        self.failures: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        headers = {"authorization": f"Bearer {self._key}"}
        with httpx.Client(base_url=self._url, headers=headers, timeout=HEAL_S) as http:
            for turn in range(MOST_CALLS):
                if self._stop.is_set():
                    return
                self._call(http, QUESTIONS[turn % len(QUESTIONS)], stream=number % 2 == 0)

    def _call(self, http: httpx.Client, question: str, *, stream: bool) -> None:
        body = {"model": "support", "stream": stream,
                "messages": [{"role": "user", "content": question}]}  # fmt: skip
        try:
            answer = http.post("/v1/chat/completions", json=body)
        except httpx.HTTPError as error:
            self._failed(type(error).__name__)
            return
        if answer.status_code != 200:
            self._failed(f"{answer.status_code} {answer.json()['error']['code']}")
        elif stream and not answer.text.rstrip().endswith("data: [DONE]"):
            self._failed("error in the stream")
        else:
            with self._lock:
                self.answered.add(answer.headers["x-request-id"])

    def _failed(self, reason: str) -> None:
        with self._lock:
            self.failures[reason] += 1
        time.sleep(0.02)


def main() -> None:
    """Run all strikes, print a table, exit 0 or 1."""
    parser = argparse.ArgumentParser(description="Kill every process under load.")
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--calm", type=float, default=2.0, metavar="SECONDS",
                        help="load before a strike and after the healing")  # fmt: skip
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelyard-chaos-") as folder:
        result = run(Installation(Path(folder) / "data"), options.callers, options.calm)
    report.publish(result, options.json)
    raise SystemExit(0 if not result["missing"] and not result["left_running"] else 1)


def run(installation: Installation, count: int, calm_s: float) -> dict[str, float]:
    """All strikes on one installation; the figures."""
    installation.start()
    try:
        _serve(installation)
        key = (installation.data / "admin.key").read_text().strip()
        url = f"http://127.0.0.1:{installation.ports[0]}"
        print(f"{'struck':<18}{'processes':>9}{'healed':>9}{'answered':>10}{'failed':>8}")
        with Callers(url, key, count) as callers:
            struck = [_strike(what, installation, callers, calm_s) for what in STRIKES]
        missing = _missing(installation, callers.answered)
    finally:
        code = installation.stop()
    left = [one for one in installation.seen.values() if alive(one.pid)]
    print(f"\n{len(callers.answered)} requests answered, {len(missing)} without a record")
    print(f"stopped with {code}, {len(left)} processes left running")
    for process in left:
        print(f"  left: {process.kind} {process.pid}")
    figures: dict[str, float] = {
        "answered": len(callers.answered),
        "missing": len(missing),
        "left_running": len(left),
    }
    for one in struck:
        figures[f"healed_s_{one.what}"] = one.healed_s
        figures[f"failed_{one.what}"] = one.failed
    return figures


def _serve(installation: Installation) -> None:
    with installation.client() as client:
        client.push(MODEL, "support-bot", alias="production")
        spec = {"model": "support-bot@production", "replicas": 2}
        client.apply({"apiVersion": "modelyard/v1", "kind": "Service",
                      "name": "support", "spec": spec})  # fmt: skip
        client.wait_ready("support", HEAL_S)


def _strike(what: str, installation: Installation, callers: Callers, calm_s: float) -> Struck:
    time.sleep(calm_s)
    answered, failures = len(callers.answered), callers.failures.copy()
    victims = _victims(what, installation.processes())
    for one in victims:
        (freeze if what == "frozen" else kill)(one.pid)
    started = time.monotonic()
    if what in RESTARTS:
        assert installation.process is not None
        installation.process.wait()
        _await(lambda: not any(alive(pid) for pid in installation.seen), "the dead end")
        installation.start()
    gone = {one.pid for one in victims}
    _await(lambda: _healed(installation, gone, callers), f"healing after the death of {what}")
    healed_s = time.monotonic() - started
    time.sleep(calm_s)
    failed = callers.failures - failures
    reasons = ", ".join(f"{reason} {count}" for reason, count in failed.most_common())
    now = Struck(what, len(victims), round(healed_s, 2), len(callers.answered) - answered,
                 failed.total(), reasons)  # fmt: skip
    print(f"{what:<18}{now.killed:>9}{now.healed_s:>8.1f}s{now.answered:>10}{now.failed:>8}"
          f"  {reasons}", flush=True)  # fmt: skip
    return now


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


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + HEAL_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} took longer than {HEAL_S:g} s")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
