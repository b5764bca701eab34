"""Names of files inside a version: relative, safe on every system, no two alike."""

import unicodedata
from collections.abc import Iterable

from modelyard.errors import Invalid

MAX_FILES = 1000
MAX_PATH_BYTES = 255


def printable(text: str, limit: int = 200) -> str:
    """What people and terminals may see of a text out of a file."""
    return "".join(char for char in text[:limit] if char.isprintable()).strip()


def hidden(path: str) -> bool:
    """Whether a part of it is for tools (.git, .cache, .DS_Store): such files are left out."""
    return any(part.startswith(".") or part == "__pycache__" for part in _real_parts(path))


def _real_parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in (".", "..")]


def check_paths(paths: Iterable[str]) -> None:
    """Raises Invalid naming the first bad path, or two that some systems take for one."""
    seen: dict[str, str] = {}
    for path in paths:
        check_path(path)
        same = unicodedata.normalize("NFC", path).casefold()
        if same in seen:
            raise Invalid(
                f"{seen[same]!r} and {path!r} are the same file on some systems",
                hint="rename one of them",
            )
        seen[same] = path
        if len(seen) > MAX_FILES:
            raise Invalid(f"more than {MAX_FILES} files; a model has fewer")
    for same, path in seen.items():
        folders = same.split("/")[:-1]
        for depth in range(1, len(folders) + 1):
            if (folder := "/".join(folders[:depth])) in seen:
                raise Invalid(f"{seen[folder]!r} is a file and also the folder of {path!r}")


def check_path(path: str) -> None:
    """Raises Invalid unless it is a plain relative path with forward slashes."""
    problem = _problem(path)
    if problem:
        raise Invalid(
            f"the path {printable(path)!r} {problem}",
            hint="use relative paths such as model.gguf or tokenizer/tokenizer.json",
        )


def _problem(path: str) -> str:
    if not path:
        return "is empty"
    if any(not char.isprintable() for char in path):
        return "holds a character that cannot be printed"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    if "\\" in path or path.startswith("/") or path[1:2] == ":":
        return "is not relative, or holds a backslash"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "has an empty part, '.' or '..'"
    return ""
