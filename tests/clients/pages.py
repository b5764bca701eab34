"""The how-to pages of clients, read so that a test can do exactly what they say.

Fenced blocks of a page are followed in order: one whose first line says behind its language where
it belongs (```` ```toml ~/.codex/config.toml ````) is a file; those of `sh` are one script, those
of `python` one program. Only the gateway's address and the key are put in.
"""

import re
from pathlib import Path
from typing import NamedTuple

HOWTO = Path(__file__).parents[2] / "docs/howto/clients"
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GATEWAY, KEY = "http://127.0.0.1:8080", "my_…"


class Page(NamedTuple):
    """What one page says to do: files by where they belong, and the text to run by language."""

    files: dict[str, str]
    runs: dict[str, str]

    def write(self, home: Path, folder: Path) -> None:
        """Put the files where they belong."""
        for place, text in self.files.items():
            file = home / place[2:] if place.startswith("~/") else folder / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


def page(name: str, gateway_url: str, key: str) -> Page:
    """A page for this gateway and this key. Raises AssertionError where it names neither."""
    text = (HOWTO / f"{name}.md").read_text()
    assert GATEWAY in text, f"{name}.md does not say where the gateway is"
    assert KEY in text or "MODELYARD_API_KEY" in text, f"{name}.md does not say where the key goes"
    read = Page({}, {})
    for language, place, body in _BLOCK.findall(text):
        said = body.replace(GATEWAY, gateway_url).replace(KEY, key)
        kept, name_of = (read.files, place) if place else (read.runs, language)
        kept[name_of] = kept.get(name_of, "") + said
    return read
