"""The steps of the demo, each timed and each able to fail by itself."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.entry.cli import background
from modelyard.entry.cli.demo_load import CALLERS, RECOVER_S, Load, demand
from modelyard.entry.cli.demo_model import ShippedModel, find
from modelyard.entry.cli.keys import curl_line
from modelyard.entry.cli.models import push_version
from modelyard.entry.cli.output import Output
from modelyard.entry.cli.services import wait_ready
from modelyard.entry.cli.session import Session
from modelyard.entry.cli.talk import Answer, Talk
from modelyard.errors import ModelyardError, TimedOut, Unavailable
from modelyard.lib.clock import monotonic_s

SERVICE = "support"
REPLICAS = 2
READY_US = 180 * 10**6
RECORDS_S = 20.0


class Wish(NamedTuple):
    """What the command line asked for."""

    leave: bool
    data: Path | None
    port: int | None
    control_port: int | None


@dataclass
class Step:
    """One line of the closing table."""

    name: str
    outcome: str
    seconds: float
    detail: str = ""


@dataclass
class Demo:
    """What the steps know of each other."""

    out: Output
    session: Session
    model: ShippedModel
    key: str = ""
    steps: list[Step] = field(default_factory=list)
    answered: list[Answer] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], str]) -> bool:
        """Do it, say how it went; whether it went well."""
        started_s = monotonic_s()
        self.out.line()
        self.out.line(f"{len(self.steps) + 1}. {name}", "bold")
        try:
            detail, outcome = work(), "ok"
        except ModelyardError as error:
            detail, outcome = error.message, "failed"
        step = Step(name, outcome, monotonic_s() - started_s, detail)
        self.steps.append(step)
        mark, style = ("✓", "green") if outcome == "ok" else ("✗", "bold red")
        self.out.line(f"   {mark} {detail} ({step.seconds:.1f} s)", style)
        return outcome == "ok"

    # --- the steps -------------------------------------------------------------------------

    def push(self) -> str:
        """Every shipped version; model.json says which is production."""
        for path in self.model.versions:
            version = self._push(path)
            reference = f"{self.model.name}:{version['version']}"
            notes = ", ".join(self.model.aliases(path))
            self.out.line(
                f"   {reference}  {version['digest'][:19]}  {path.name}  {notes}".rstrip()
            )
        return f"{len(self.model.versions)} versions; {self.model.name}@production is served"

    def _push(self, path: Path) -> dict[str, Any]:
        model = self.model
        aliases, card = model.aliases(path), model.card(path)
        return push_version(self.session, path, model.name, aliases, card, model.profile)

    def apply(self) -> str:
        """The service with its replicas, and a key that may call only it."""
        made = self.session.client.create_key(
            role="caller", services=[SERVICE], label="demo", client="modelyard-demo"
        )
        self.key = made["key"]
        self.session.client.apply(_document(self.model.name))
        wait_ready(self.session, SERVICE, READY_US)
        self._await_replicas()
        return f"{SERVICE} answers with {REPLICAS} replicas"

    def ask(self) -> str:
        """The suggested questions, one after another, streamed."""
        with self._talk() as talk:
            for question in self.model.questions:
                self.out.line(f"   › {question}")
                self.out.piece("     ")
                answer = talk.ask([{"role": "user", "content": question}], self.out.piece)
                self.out.line()
                self.out.line(f"     {answer.summary()}", "dim")
                demand(answer)
                self.answered.append(answer)
        return f"{len(self.model.questions)} questions answered"

    def kill(self) -> str:
        """SIGKILL for one replica while callers ask; nobody goes without an answer."""
        victim = self._replicas()[0]
        load = Load(self._talk, self.model.questions)
        with self.out.status(f"{CALLERS} callers ask") as update:
            load.run(lambda: self._strike(victim, update), self._recovered(victim))
        self.answered += load.answers
        if load.unanswered:
            raise Unavailable(f"{len(load.unanswered)} questions without answer: {load.unanswered}")
        again = f", {load.asked_again} asked again after their stream broke"
        return (
            f"{len(load.answers)} questions answered, 0 lost"
            + (again if load.asked_again else "")
            + f"; {victim['id']} is back"
        )

    def _strike(self, victim: dict[str, Any], update: Callable[[str], None]) -> None:
        os.kill(victim["pid"], signal.SIGKILL)
        update(f"replica {victim['id']} (process {victim['pid']}) killed; callers go on asking")

    def _recovered(self, victim: dict[str, Any]) -> Callable[[], bool]:
        def check() -> bool:
            replicas = self._replicas()
            pids = {one["pid"] for one in replicas if one["phase"] == "ready"}
            return len(pids) >= REPLICAS and victim["pid"] not in pids

        return check

    def records(self) -> str:
        """Exactly one record with tokens for every answered request."""
        expected = {answer.request_id: answer for answer in self.answered}
        deadline_s = monotonic_s() + RECORDS_S
        while missing := expected.keys() - self._recorded().keys():
            if monotonic_s() > deadline_s:
                raise TimedOut(f"{len(missing)} of {len(expected)} requests have no record")
            time.sleep(0.2)
        rows = self._recorded()
        for request_id, answer in expected.items():
            found = [row.get("tokens_output") for row in rows[request_id]]
            if found != [answer.tokens_output]:
                raise Unavailable(
                    f"{request_id}: the client counted {answer.tokens_output} tokens, "
                    f"its records say {found}"
                )
        tokens = sum(answer.tokens_output or 0 for answer in expected.values())
        return f"{len(expected)} requests, {len(expected)} records, {tokens:,} tokens, all equal"

    def _recorded(self) -> dict[str, list[dict[str, Any]]]:
        """Records of this service by request id, page by page."""
        found: dict[str, list[dict[str, Any]]] = {}
        before = ""
        while True:
            page = self.session.client.requests(limit=500, before_id=before, service=SERVICE)
            for row in page:
                found.setdefault(row["request_id"], []).append(row)
            if len(page) < 500:
                return found
            before = page[-1]["request_id"]

    # --- what they need --------------------------------------------------------------------

    def _talk(self) -> "contextlib.closing[Talk]":
        return contextlib.closing(Talk(self.session.gateway_url, self.key, SERVICE, retries=2))

    def _replicas(self) -> list[dict[str, Any]]:
        status = self.session.client.service(SERVICE)["status"] or {}
        return list(status.get("replicas") or [])

    def _await_replicas(self) -> None:
        deadline_s = monotonic_s() + RECOVER_S
        with self.out.status(f"waiting for all {REPLICAS} replicas"):
            while sum(one["phase"] == "ready" for one in self._replicas()) < REPLICAS:
                if monotonic_s() > deadline_s:
                    raise TimedOut(f"not all {REPLICAS} replicas are ready after {RECOVER_S:g} s")
                time.sleep(0.1)


def _document(model: str) -> dict[str, Any]:
    engine = {"name": "xllamacpp", "slots": 4}
    spec = {"model": f"{model}@production", "engine": engine, "replicas": {"min": REPLICAS}}
    return {"apiVersion": "modelyard/v1", "kind": "Service", "name": SERVICE, "spec": spec}


def run(wish: Wish, out: Output) -> bool:
    """All steps; whether every one went well."""
    model = find()
    with (
        _folder(wish.data) as data,
        _platform(wish, data, out) as (platform, start),
        Session(data, "", "", out) as session,
    ):
        demo = Demo(out, session, model, steps=[start])
        good = _steps(demo)
        _show_steps(demo, good)
        if good and not wish.leave:
            _stay(demo, platform)
    return good


def _steps(demo: Demo) -> bool:
    """In order; the first failure ends them, because each needs the one before."""
    return (
        demo.step(f"push {len(demo.model.versions)} versions of the shipped model", demo.push)
        and demo.step(f"apply service {SERVICE} with {REPLICAS} replicas", demo.apply)
        and demo.step("ask it through the gateway with the OpenAI client", demo.ask)
        and demo.step("kill a replica with SIGKILL while callers ask", demo.kill)
        and demo.step("compare what clients saw with the records", demo.records)
    )


@contextlib.contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted
        return
    folder = Path(tempfile.mkdtemp(prefix="modelyard-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _platform(wish: Wish, data: Path, out: Output) -> Iterator[tuple[background.Background, Step]]:
    started_s = monotonic_s()
    free = background.free_ports()
    port = free[0] if wish.port is None else wish.port
    control_port = free[1] if wish.control_port is None else wish.control_port
    out.line("1. start the platform", "bold")
    if (wish.port is None and not port) or (wish.control_port is None and not control_port):
        out.line("   a default port is taken; the system chooses another")
    with contextlib.ExitStack() as stack:
        with out.status("starting"):
            running = stack.enter_context(background.platform(data, port, control_port))
        detail = f"{running.known['gateway_url']}/v1 and {running.known['control_url']}"
        step = Step("start the platform", "ok", monotonic_s() - started_s, detail)
        out.line(f"   ✓ {detail} ({step.seconds:.1f} s)", "green")
        yield running, step


def _show_steps(demo: Demo, good: bool) -> None:
    steps = demo.steps
    facts = [vars(step) for step in steps]
    demo.out.answer({"ok": good, "steps": facts}, lambda: None)
    demo.out.line()
    rows = [(step.name, step.outcome, f"{step.seconds:.1f}", step.detail) for step in steps]
    demo.out.table(("step", "result", ">seconds", "what was seen"), rows)


def _stay(demo: Demo, platform: background.Background) -> None:
    """Say where everything is, and keep it until Ctrl-C."""
    out, session = demo.out, demo.session
    out.line()
    out.line("It stays up until Ctrl-C.", "bold")
    out.pairs(
        [
            ("pages", f"{session.client.login_link()}   (signs you in, once)"),
            ("gateway", f"{session.gateway_url}/v1"),
            ("key", f"{demo.key}   (may call {SERVICE})"),
            ("chat", f"modelyard chat {SERVICE} --data {session.data}"),
        ],
        indent=2,
    )
    out.line("  " + curl_line(session.gateway_url, demo.key, SERVICE, demo.model.questions[0]))
    with contextlib.suppress(KeyboardInterrupt):
        code = platform.wait()
        raise Unavailable(f"the platform ended by itself with status {code}")
    out.line()
    out.line("stopping")
