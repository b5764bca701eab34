"""Environments of Python peers, made on first use from pinned lists: `bench/.venvs/NAME`."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers import Unusable

_VENVS = Path(__file__).parents[1] / ".venvs"
MOST_S = 900


def program(pinned: Path, name: str) -> str:
    """A command of the environment of this list."""
    return str(_VENVS / pinned.stem / "bin" / name)


def version(pinned: Path, package: str) -> str:
    """The pinned release of a package."""
    lines = pinned.read_text().splitlines()
    found = next(line for line in lines if line.startswith(f"{package}=="))
    return found.partition("==")[2].split()[0]


def prepare(pinned: Path) -> None:
    """Make the environment if it is not there as pinned. Raises Unusable."""
    venv = _VENVS / pinned.stem
    ready = venv / ".ready"
    wanted = hashlib.sha256(pinned.read_bytes()).hexdigest()
    if ready.exists() and ready.read_text() == wanted:
        return
    print(f"making {venv.name} of the peers (once, up to two minutes)", file=sys.stderr, flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    pip = [str(venv / "bin" / "pip"), "--disable-pip-version-check", "--retries", "1"]
    _run([sys.executable, "-m", "venv", str(venv)])
    _run([*pip, "install", "--quiet", "--no-deps", "--requirement", str(pinned)])
    ready.write_text(wanted)


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=MOST_S)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines()[-1:]
        reason = last[0] if last else f"exit code {error.returncode}"
        raise Unusable(f"its environment cannot be made (no network?): {reason}") from error
    except subprocess.TimeoutExpired as error:
        raise Unusable(f"its environment was not made within {MOST_S // 60} minutes") from error
