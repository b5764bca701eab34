"""Real clients, unmodified, against a real gateway. `make test-clients` installs them; one that is
absent is skipped."""

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.clients.installed import binaries, versions
from tests.clients.pages import Page, page
from tests.clients.scripted import LAST_WORDS, ScriptedModel
from tests.platform import Platform, platform

WRITTEN = "written by the agent"
LIMIT_S = 110
NOWHERE = "http://127.0.0.1:9"
"""A proxy that nobody serves: what a client asks of any machine but this one fails at once."""


def pytest_report_header() -> list[str]:
    """The versions that were tested."""
    return [f"clients: {', '.join(versions()) or 'none; make test-clients installs them'}"]


class Desk(NamedTuple):
    """Where a client works: a gateway that serves `support`, an empty folder, and the file that
    the scripted model has written into it once the client has run its tool."""

    running: Platform
    model: ScriptedModel
    folder: Path
    file: Path

    @property
    def home(self) -> Path:
        """The client's home folder, with nothing in it but what a page says."""
        return self.folder / "home"

    def page(self, name: str) -> Page:
        """A how-to page for this gateway; its files are where they belong."""
        read = page(name, self.running.gateway_url, self.running.key)
        self.home.mkdir(exist_ok=True)
        read.write(self.home, self.folder)
        return read

    def follow(self, name: str, environment: str, **more: str) -> str:
        """Do what the how-to page of a client says; all that was printed."""
        runs = self.page(name).runs
        program = (
            ["python", "-c", runs["python"]] if "python" in runs else ["bash", "-euc", runs["sh"]]
        )
        return self.run(program, environment, **more)

    def environment(self, environment: str, **more: str) -> dict[str, str]:
        """The variables a client gets: none of ours, and no way to the network."""
        paths = f"{binaries(environment)}:{os.environ['PATH']}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE)
        proxies |= {name.lower(): url for name, url in proxies.items()}
        local = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        return {"PATH": paths, "HOME": str(self.home), "TERM": "dumb", "LC_ALL": "C.UTF-8",
                "MODELYARD_API_KEY": self.running.key, **proxies, **local, **more}  # fmt: skip

    def start(self, command: list[str], environment: str, **more: str) -> subprocess.Popen[str]:
        """Start a client here; `leave` ends it and all that it has started."""
        self.home.mkdir(exist_ok=True)
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(environment, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: list[str], environment: str, **more: str) -> str:
        """Run a client here to its end; all that it printed."""
        process = self.start(command, environment, **more)
        try:
            printed, _ = process.communicate(timeout=LIMIT_S)
        finally:
            leave(process)
        return printed

    def records(self, route: str, client: str = "") -> list[dict[str, Any]]:
        """Records of this client's calls of that route; they come a moment after the answers."""
        deadline_s = time.monotonic() + 15
        while True:
            rows = [row for row in self.running.client.requests(100, service="support")
                    if row["route"] == route and row["client"].startswith(client)]  # fmt: skip
            if rows:
                return rows
            assert time.monotonic() < deadline_s, f"{client} has not called {route}"
            time.sleep(0.1)

    def finished(self, printed: str, last_words: str = LAST_WORDS) -> None:
        """The file is there and the client has shown how it ended."""
        assert self.file.is_file(), printed[-3000:]
        assert self.file.read_text().strip() == WRITTEN
        assert last_words in " ".join(printed.split()), printed[-3000:]


def leave(process: subprocess.Popen[str]) -> None:
    """End a client and its children, by the id of the group that they have for themselves."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # all of them have ended
    finally:
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def needs(environment: str, command: str) -> pytest.MarkDecorator:
    """Skip where a client's command is not installed."""
    return pytest.mark.skipif(
        not (binaries(environment) / command).exists(),
        reason=f"{environment}/{command} is not installed: make test-clients",
    )


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
    running.apply("support", engine={"name": "openai", "urls": [url]})
    try:
        yield Desk(running, model, tmp_path, file)
    finally:
        asyncio.run_coroutine_threadsafe(model.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
