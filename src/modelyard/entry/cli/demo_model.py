"""The model that the package ships, as the demo finds it."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import modelyard
from modelyard.errors import NotFound

_PROFILE = ("description", "purpose", "suggested_questions", "license")


class ShippedModel(NamedTuple):
    """`versions` oldest first; `facts` is its model.json."""

    versions: list[Path]
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the model in the registry."""
        return str(self.facts["name"])

    @property
    def profile(self) -> dict[str, Any]:
        """What the registry keeps about the model itself."""
        return {key: self.facts[key] for key in _PROFILE}

    @property
    def questions(self) -> list[str]:
        """What to ask it."""
        return list(self.facts["suggested_questions"])

    def aliases(self, version: Path) -> tuple[str, ...]:
        """`production` for the version that model.json names."""
        return ("production",) if version.name == self.facts["production"] else ()

    def card(self, version: Path) -> Path | None:
        """The model card `v2.md` of `support-bot-v2.gguf`."""
        card = version.with_name(version.stem.rpartition("-")[2] + ".md")
        return card if card.is_file() else None


def find() -> ShippedModel:
    """In the installed package, else in the source tree. Raises NotFound."""
    package = Path(modelyard.__file__).parent
    places = [root / "examples" / "support-model" for root in (package, package.parents[1])]
    for folder in places:
        versions = sorted(folder.glob("*.gguf"), key=_number)
        if versions:
            return ShippedModel(versions, json.loads((folder / "model.json").read_text()))
    raise NotFound(
        "the shipped model is not there: no .gguf under " + " or ".join(map(str, places)),
        hint="install the package again, or make the model with examples/support-model/train.py",
    )


def _number(path: Path) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", path.stem)
    return (int(digits[1]) if digits else 0, path.name)
