"""Callers that never pause, for the time of a block."""

import json
import threading
import time
from collections import Counter

import httpx

QUESTIONS = ("How do I cancel my order?", "Where do I track my parcel?")
SERVICES = ("support", "outside")
MOST_CALLS = 20_000
TIMEOUT_S = 60.0
BROKEN_STREAM = "error in the stream"
CUT_STREAM = "stream cut"
"""Begun, and closed without an error that a client can read."""


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
        with httpx.Client(base_url=self._url, headers=headers, timeout=TIMEOUT_S) as http:
            for turn in range(MOST_CALLS):
                if self._stop.is_set():
                    return
                service = SERVICES[turn // 2 % len(SERVICES)]
                self._call(http, service, QUESTIONS[turn % len(QUESTIONS)], number % 2 == 0)

    def _call(self, http: httpx.Client, service: str, question: str, stream: bool) -> None:
        body = {"model": service, "stream": stream,
                "messages": [{"role": "user", "content": question}]}  # fmt: skip
        began = False
        try:
            with http.stream("POST", "/v1/chat/completions", json=body) as answer:
                began = stream and answer.status_code == 200
                answer.read()
        except httpx.HTTPError as error:
            self._failed(CUT_STREAM if began else type(error).__name__)
            return
        if answer.status_code != 200:
            self._failed(f"{answer.status_code} {answer.json()['error']['code']}")
        elif reason := _fault(answer.text, stream):
            self._failed(reason)
        else:
            with self._lock:
                self.answered.add(answer.headers["x-request-id"])

    def _failed(self, reason: str) -> None:
        with self._lock:
            self.failures[reason] += 1
        time.sleep(0.02)


def _fault(text: str, stream: bool) -> str:
    """What is wrong with an answer; empty when it is whole."""
    parts = text.rstrip().split("\n\n") if stream else [text]
    if stream and parts.pop() != "data: [DONE]":
        return BROKEN_STREAM
    try:
        answers = [json.loads(part.removeprefix("data: ")) for part in parts]
    except ValueError:
        return "no JSON"
    return "" if answers and all("choices" in one for one in answers) else "no answer"
