"""The model that the package ships, as the demo finds it."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import modelyard
from modelyard.errors import NotFound

FALLBACK_QUESTIONS = (
    "How do I reset my password?",
    "Where is my order?",
    "I want to send something back.",
    "How can I pay?",
    "Please cancel my order.",
    "How do I reach a person?",
)


class ShippedModel(NamedTuple):
    """Versions oldest first; `profile` goes into the registry."""

    versions: list[Path]
    profile: dict[str, Any]
    questions: list[str]

    def card(self, version: Path) -> Path | None:
        """The model card of one version, else the one of all."""
        folder = version.parent
        names = (f"{version.stem}.md", "CARD.md", "README.md")
        return next((folder / name for name in names if (folder / name).is_file()), None)


def find() -> ShippedModel:
    """In the installed package, else in the source tree. Raises NotFound."""
    package = Path(modelyard.__file__).parent
    places = (package / "examples" / "support-model", package.parents[1] / "examples/support-model")
    for folder in places:
        versions = sorted(folder.rglob("*.gguf"), key=_by_number)
        if versions:
            profile = _profile(folder)
            return ShippedModel(versions, profile, _questions(folder, profile))
    raise NotFound(
        "the shipped model is not there: no .gguf under " + " or ".join(map(str, places)),
        hint="install the package again, or make the model with examples/support-model/train.py",
    )


def _by_number(path: Path) -> list[tuple[int, str]]:
    return [(int(digits or 0), word) for digits, word in re.findall(r"(\d+)|(\D+)", str(path))]


def _profile(folder: Path) -> dict[str, Any]:
    try:
        profile = json.loads((folder / "profile.json").read_text())
    except FileNotFoundError:
        return {
            "description": "Answers customers of a web shop; trained for this package",
            "suggested_questions": _heldout(folder)[:6] or list(FALLBACK_QUESTIONS),
            "license": "Apache-2.0",
        }
    return dict(profile)


def _questions(folder: Path, profile: dict[str, Any]) -> list[str]:
    given = profile.get("suggested_questions") or _heldout(folder)[:6] or FALLBACK_QUESTIONS
    return [str(question) for question in given]


def _heldout(folder: Path) -> list[str]:
    """First questions of every intent of the held-out set, in its order."""
    file = folder / "heldout.jsonl"
    if not file.is_file():
        return []
    first: dict[str, str] = {}
    for line in file.read_text().splitlines():
        case = json.loads(line)
        first.setdefault(case["intent"], case["messages"][-1]["content"])
    return list(first.values())
