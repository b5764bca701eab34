"""Real clients, unmodified, against a real gateway. `make test-clients` installs them; one that is
absent is skipped."""

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.clients.scripted import ScriptedModel
from tests.platform import Platform, platform

INSTALLED = Path(os.environ.get("MODELYARD_CLIENTS", Path(__file__).parents[2] / ".venv/clients"))
WRITTEN = "written by the agent"
LIMIT_S = 110

needs_clients = pytest.mark.skipif(
    not INSTALLED.exists(), reason="no clients are installed: make test-clients"
)


class Desk(NamedTuple):
    """Where a client works: a gateway that serves `scripted`, an empty folder, and the file that
    the scripted model has written into it once the client has run its tool."""

    running: Platform
    model: ScriptedModel
    folder: Path
    file: Path

    def run(self, command: list[str], **environment: str) -> str:
        """Run a client here, with no home but this one; all that it printed."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return done.stdout

    def records(self, route: str) -> list[dict[str, Any]]:
        """Records of the calls of that route; they come a moment after the answers."""
        deadline_s = time.monotonic() + 15
        while True:
            rows = [row for row in self.running.client.requests(30) if row["route"] == route]
            if rows or time.monotonic() > deadline_s:
                return rows
            time.sleep(0.1)

    def finished(self, printed: str, last_words: str) -> None:
        """The file is there and the client has shown how it ended."""
        assert self.file.is_file(), printed[-3000:]
        assert self.file.read_text().strip() == WRITTEN
        assert last_words in " ".join(printed.split()), printed[-3000:]


@pytest.fixture
def client() -> Callable[[str], str]:
    """The path of an installed client; skips the test where there is none."""

    def find(name: str) -> str:
        for folder in ("node_modules/.bin", "python/bin"):
            found = INSTALLED / folder / name
            if found.exists():
                return str(found)
        pytest.skip(f"{name} is not installed: make test-clients")

    return find


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("clients") / "data") as one:
        yield one


@pytest.fixture
def desk(running: Platform, tmp_path: Path) -> Iterator[Desk]:
    file = tmp_path / "proof.txt"
    model = ScriptedModel(f"echo {WRITTEN} > {file}")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    url = asyncio.run_coroutine_threadsafe(model.start(), loop).result()
    running.apply("scripted", engine={"name": "openai", "urls": [url]})
    try:
        yield Desk(running, model, tmp_path, file)
    finally:
        asyncio.run_coroutine_threadsafe(model.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
