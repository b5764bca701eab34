"""The benchmark's upstream and load generator: C, made by the system's compiler when they are used.

C, because both must be far faster than what they measure: together they take some 10 µs a request.
They need Linux (epoll).
"""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.peers import Unusable

_FOLDER = Path(__file__).parent
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")


class Tools(NamedTuple):
    """The two programs."""

    upstream: Path
    load: Path


def build(folder: Path) -> Tools:
    """Compile both into a folder. Raises Unusable with the reason."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unusable("no C compiler (cc) is here: install one, such as Debian's gcc")
    return Tools(*(_compile(compiler, name, folder) for name in Tools._fields))


def _compile(compiler: str, name: str, folder: Path) -> Path:
    made = folder / name
    source = _FOLDER / f"{name}.c"
    done = subprocess.run(
        [compiler, *_FLAGS, "-o", str(made), str(source)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), "no reason")
        raise Unusable(f"{source.name} cannot be compiled: {first}")
    return made
