"""Callers that keep asking while a replica dies and comes back."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

from modelyard.entry.cli.talk import Answer, Talk
from modelyard.errors import ModelyardError, TimedOut, Unavailable
from modelyard.lib.clock import monotonic_s

CALLERS = 4
LEAST_ASKED = 24
MOST_ASKED = 4000
RECOVER_S = 90.0
TRIES = 5


class Load:
    """Callers that ask all the time, from before a replica dies until it is back."""

    def __init__(
        self, talk: Callable[[], "contextlib.closing[Talk]"], questions: list[str]
    ) -> None:
        self._talk = talk
        self._questions = islice(cycle(questions), MOST_ASKED)
        self._lock = threading.Lock()
        self._enough = threading.Event()
        self._some = threading.Event()
        self.answers: list[Answer] = []
        self.unanswered: list[str] = []
        self.asked_again = 0
        self.last_failure = ""

    def run(self, strike: Callable[[], None], recovered: Callable[[], bool]) -> None:
        """`strike` once answers come; go on until `recovered`. Raises TimedOut."""
        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(self._caller) for _ in range(CALLERS)]
            try:
                self._some.wait(RECOVER_S)
                strike()
                self._await(recovered)
            finally:
                self._enough.set()
        for caller in callers:
            caller.result()

    def _await(self, recovered: Callable[[], bool]) -> None:
        deadline_s = monotonic_s() + RECOVER_S
        while not recovered() or len(self.answers) < LEAST_ASKED:
            if monotonic_s() > deadline_s:
                raise TimedOut(
                    f"after {RECOVER_S:g} s the killed replica is "
                    f"{'back' if recovered() else 'not back'} and {len(self.answers)} questions "
                    f"are answered; the last failure: {self.last_failure or 'none'}"
                )
            time.sleep(0.1)

    def _caller(self) -> None:
        with self._talk() as talk:
            while not self._enough.is_set() and (question := self._next()) is not None:
                self._ask(talk, question)

    def _next(self) -> str | None:
        with self._lock:
            return next(self._questions, None)

    def _ask(self, talk: Talk, question: str) -> None:
        """What a careful program does: a stream that breaks off is asked for again."""
        for _ in range(TRIES):
            try:
                answer = demand(talk.ask([{"role": "user", "content": question}]))
            except ModelyardError as error:
                self.asked_again += 1
                self.last_failure = error.message
                continue
            self.answers.append(answer)
            if len(self.answers) >= CALLERS:
                self._some.set()
            return
        self.unanswered.append(question)


def demand(answer: Answer) -> Answer:
    """Raises Unavailable for an answer that is none."""
    if not answer.text or not answer.tokens_output or not answer.request_id:
        raise Unavailable(f"{answer.request_id or 'a request'} came back without text or tokens")
    return answer
