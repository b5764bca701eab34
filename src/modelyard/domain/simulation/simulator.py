"""The one simulator: requests, gateway processes and replicas in virtual time.

Discrete events: nothing happens between two of them. The gateway processes are the gateway's own
`Router`, so a rule is judged here by the code that will run. Equal input gives equal output.
"""

import functools
import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from modelyard.domain.routing import Candidate, Router, Rule
from modelyard.domain.simulation.replicas import Fleet, Job, Replica
from modelyard.domain.simulation.traces import BLOCK_TOKENS, PROMPT_BLOCK_BYTES, Arrival

INDEX_BYTES = 64 * 2**20


class Incident(NamedTuple):
    """At a moment a replica goes on at another speed; 0: it fails, and what it had not begun to
    answer is tried elsewhere. A prefill under way ends as it began."""

    at_s: float
    replica: int
    speed: float


class Gateway(NamedTuple):
    """What the gateway processes are like."""

    processes: int = 1
    view_every_s: float = 0.2
    """How often a process reads what the others have under way."""
    beliefs: tuple[float, ...] = ()
    """By replica: the learnt rate is this many times what it should be; those beyond: right."""
    reports_cached: bool = True
    """Whether engines report how much of a prompt was cached."""


class _Process(Router):
    """One gateway process. Candidates, holders of prefixes and replicas have the same numbers."""

    def __init__(self, rule: Rule, fleet: Fleet, gateway: Gateway, number: int) -> None:
        super().__init__(
            rule, INDEX_BYTES, process=number, block_bytes=PROMPT_BLOCK_BYTES, short_bytes=0
        )
        self.tokens_per_byte = BLOCK_TOKENS / PROMPT_BLOCK_BYTES
        unbiased = (1.0,) * (fleet.replicas - len(gateway.beliefs))
        self._beliefs = gateway.beliefs + unbiased
        for at in range(fleet.replicas):
            self.add(f"replica-{at}", fleet.slots)

    def observed(self, candidate: Candidate, tokens: float, seconds: float) -> None:
        """See Router; a wrong belief is a clock that runs wrong."""
        super().observed(candidate, tokens, seconds / self._beliefs[candidate.number])


class Outcome(NamedTuple):
    """A finished run."""

    jobs: list[Job]
    replicas: list[Replica]
    span_s: float
    """From the first arrival to the last end."""


class Simulation:
    """One run of a trace. `rule` is called once for each gateway process."""

    def __init__(
        self,
        rule: Callable[[], Rule],
        fleet: Fleet,
        gateway: Gateway = Gateway(),
        incidents: Iterable[Incident] = (),
    ) -> None:
        self._fleet = fleet
        self._gateway = gateway
        self._replicas = [Replica(fleet, number) for number in range(fleet.replicas)]
        self._processes = [
            _Process(rule(), fleet, gateway, number) for number in range(gateway.processes)
        ]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._now_s = 0.0
        self._next_view_s = 0.0
        self._homeless: list[Job] = []
        for incident in incidents:
            self._at(incident.at_s, functools.partial(self._incident, incident))

    def run(
        self, trace: Sequence[Arrival], on_progress: Callable[[int], None] = lambda _done: None
    ) -> Outcome:
        """Play the trace to its end; `on_progress` hears how many requests have arrived."""
        jobs = []
        for number, arrival in enumerate(trace):
            self._advance(arrival.at_s)
            job = Job(arrival)
            jobs.append(job)
            self._send(job, self._processes[number % len(self._processes)])
            on_progress(number + 1)
        self._advance(float("inf"))
        return Outcome(jobs, self._replicas, self._now_s)

    # --- time ------------------------------------------------------------------------------

    def _at(self, at_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), event))

    def _advance(self, until_s: float) -> None:
        """Let everything happen that is due, and remember the time."""
        while self._events and self._events[0][0] <= until_s:
            at_s, _, event = heapq.heappop(self._events)
            self._pass(at_s)
            event()
        if until_s != float("inf"):
            self._pass(until_s)

    def _pass(self, to_s: float) -> None:
        """Nothing happens until then, so the views of one tick are those of every tick missed."""
        if to_s >= self._next_view_s and len(self._processes) > 1:
            self._view()
            self._next_view_s = to_s - to_s % self._gateway.view_every_s
            self._next_view_s += self._gateway.view_every_s
        self._now_s = to_s

    def _view(self) -> None:
        for at in range(self._fleet.replicas):
            seen = [process.candidates[at] for process in self._processes]
            in_flight = sum(one.own_in_flight for one in seen)
            queued = sum(one.own_queued for one in seen)
            for one in seen:
                one.see(in_flight - one.own_in_flight, queued - one.own_queued)

    # --- requests --------------------------------------------------------------------------

    def _send(self, job: Job, process: _Process) -> None:
        usable = [one for one in process.candidates if self._replicas[one.number].speed > 0]
        if not usable:
            self._homeless.append(job)
            return
        choice = process.choose(job.prompt, self._now_s, job.arrival.session.encode(), usable)
        chosen = usable[choice.index]
        job.tries += 1
        job.replica = chosen.number
        job.work = process.dispatch(chosen, job.prompt, self._now_s)
        self._replicas[job.replica].waiting.append(job)
        self._start(self._replicas[job.replica])

    def _start(self, replica: Replica) -> None:
        done_s = replica.start(self._now_s)
        job = replica.prefilling
        if done_s is not None and job is not None:
            tries = job.tries
            self._at(done_s, lambda: self._first_token(replica, job, tries))

    def _first_token(self, replica: Replica, job: Job, tries: int) -> None:
        if replica.prefilling is not job or job.tries != tries:
            return  # the replica failed meanwhile
        replica.prefilled(self._now_s)
        waited_s = self._now_s - job.arrival.at_s
        job.first_token_s = waited_s
        assert job.work is not None, "what is prefilled was sent"
        job.work.first_token(self._now_s)
        if self._fleet.decode_rate:
            done_s = self._now_s + job.arrival.tokens_output / self._fleet.decode_rate
            self._at(done_s, lambda: self._end(replica, job))
            self._start(replica)
        else:
            self._end(replica, job)

    def _end(self, replica: Replica, job: Job) -> None:
        if replica.decoding.pop(job, job) is job:
            return  # the replica failed meanwhile
        job.ended_s = self._now_s
        assert job.work is not None, "what ends was sent"
        cached = job.cached if self._gateway.reports_cached else None
        job.work.finished(self._now_s, job.arrival.tokens_input, cached)
        self._start(replica)

    # --- incidents -------------------------------------------------------------------------

    def _incident(self, incident: Incident) -> None:
        replica = self._replicas[incident.replica]
        if incident.speed <= 0:
            self._fail(replica)
        else:
            replica.speed = incident.speed
            self._start(replica)
            homeless, self._homeless = self._homeless, []
            for job in homeless:
                self._send(job, self._processes[0])

    def _fail(self, replica: Replica) -> None:
        for process in self._processes:
            process.restarted(process.candidates[replica.number])
        for job in replica.broken(self._now_s):
            assert job.work is not None, "what is decoded was sent"
            job.work.cancelled(self._now_s)
        for job in replica.fail(self._now_s):
            assert job.work is not None, "what waits was sent"
            job.work.cancelled(self._now_s)
            self._send(job, self._processes[0])
