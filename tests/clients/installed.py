"""What `make test-clients` has installed, and of which version."""

import json
import os
import re
from pathlib import Path

HERE = Path(__file__).parent
INSTALLED = Path(os.environ.get("MODELYARD_CLIENTS", HERE.parents[1] / ".venv/clients")).absolute()
_NAMED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def binaries(environment: str) -> Path:
    """The folder of a Python environment's commands, or of those from npm."""
    return INSTALLED / ("node_modules/.bin" if environment == "npm" else f"{environment}/bin")


def versions() -> list[str]:
    """`name version` of each client that is there, by where it comes from."""
    packages = json.loads((HERE / "package.json").read_text())["dependencies"]
    found = [_npm(name) for name in packages]
    for file in sorted((HERE / "environments").glob("*.txt")):
        found += [_pypi(file.stem, name) for name in _NAMED.findall(file.read_text())]
    return [line for line in found if line]


def _npm(name: str) -> str:
    about = INSTALLED / "node_modules" / name / "package.json"
    return f"{name} {json.loads(about.read_text())['version']}" if about.is_file() else ""


def _pypi(environment: str, name: str) -> str:
    pattern = f"lib/python*/site-packages/{name.replace('-', '_')}-*.dist-info"
    found = next((INSTALLED / environment).glob(pattern), None)
    return f"{name} {found.name.split('-')[1].removesuffix('.dist')}" if found else ""
