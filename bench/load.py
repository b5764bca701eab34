"""Load on one address by the program `native/load.c`: what is ordered and what came back."""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DRAIN_S = 40.0
"""How much longer than ordered the program may take: it waits for answers that are on their way."""
QUESTION_BYTES = 580


@dataclass(frozen=True)
class Order:
    """What to ask, where, how often at once and for how long."""

    url: str
    keys: Sequence[str]
    """Used in turn."""
    questions: Sequence[str]
    """Bodies, used in turn; see `question`."""
    connections: int
    seconds: float
    requests: int = 0
    """Stop after so many; 0: time alone decides."""
    rate: float = 0.0
    """Questions a second, sent or not; 0: each client asks again when it has its answer."""
    stagger_us: int = 0
    """Between the starts of two clients, so that paced streams do not march in step."""
    abort_every: int = 0
    """Give up every so-manieth question."""
    tokens: int = 0
    token_mark: str = ""
    """For servers that do not echo markers: what each token's event holds, and how many come."""

    def words(self, folder: Path) -> list[str]:
        """The command line's arguments; questions and keys go through files in the folder."""
        parts = urlsplit(self.url)
        keys = folder / "keys"
        keys.write_text("\n".join(self.keys))
        named: list[tuple[str, object]] = [
            ("port", parts.port), ("path", parts.path), ("keys", keys),
            ("connections", self.connections), ("seconds", self.seconds),
            ("requests", self.requests), ("rate", self.rate), ("stagger-us", self.stagger_us),
            ("abort-every", self.abort_every), ("tokens", self.tokens),
        ]  # fmt: skip
        for number, text in enumerate(self.questions):
            place = folder / f"question-{number}"
            place.write_text(text)
            named.append(("question", place))
        if self.token_mark:
            named.append(("token-mark", self.token_mark))
        return [word for name, value in named for word in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Measured:
    """What came back. Times in microseconds."""

    seconds: float
    asked: int
    requests: int
    """Whole good answers, each checked against its question."""
    errors: int
    aborted: int
    """Given up on purpose."""
    reconnects: int
    tokens: int
    p50_us: float
    p99_us: float
    first_p50_us: float
    """To the first token of a stream."""
    first_p99_us: float
    cpu_s: float
    """Processor time of the load generator."""
    first_error: str

    @property
    def rps(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second, over all streams."""
        return self.tokens / self.seconds


def measure(program: Path, order: Order) -> Measured:
    """Put load on one address and wait for the result."""
    with start(program, order) as process:
        out, _ = process.communicate(timeout=order.seconds + DRAIN_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, str(program))
    return read(out)


def read(printed: str) -> Measured:
    """What the program printed."""
    return Measured(**json.loads(printed))


@contextlib.contextmanager
def start(program: Path, order: Order) -> Iterator["subprocess.Popen[str]"]:
    """The running program, for those who look at something else meanwhile."""
    with tempfile.TemporaryDirectory(prefix="modelyard-load-") as folder:
        command = [str(program), *order.words(Path(folder))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def question(
    model: str, tokens: int = 0, pace_us: int = 0, size_bytes: int = QUESTION_BYTES
) -> str:
    """A chat request of exactly this size. `tokens` 0: not streamed. The text tells
    `native/upstream.c` what to answer, and holds the marker by which the answer is known."""
    plan = f"[bench marker={'0' * 16} tokens={tokens} pace_us={pace_us}] "
    frame = _body(model, tokens, plan)
    filler = "Where is my parcel, and how do I send it back? "
    room = size_bytes - len(frame)
    return _body(model, tokens, plan + (filler * (room // len(filler) + 1))[:room])


def _body(model: str, tokens: int, text: str) -> str:
    messages = [
        {"role": "system", "content": "You are a support assistant. Be brief and exact."},
        {"role": "user", "content": text},
    ]
    value = {"model": model, "messages": messages, "temperature": 0.2}
    if tokens:
        value |= {"stream": True}
    return json.dumps(value, separators=(",", ":"))
