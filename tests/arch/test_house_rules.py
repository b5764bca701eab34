"""Rules of the house that neither ruff nor import-linter know."""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "modelyard"
MOST_LINES = 450
"""Of one file; beyond that a noun is missing."""
MOST_FUNCTION_LINES = 60
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError|in a real deployment)\b")
ROOMS = re.compile(r"(^|_)(utils?|helpers?|common|manager)(_|$)", re.IGNORECASE)


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_is_small_finished_and_named_for_what_it_holds(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= MOST_LINES
    assert not UNFINISHED.search(text)
    assert not ROOMS.search(path.stem)
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))
    if path.name != "__init__.py" or text.strip():
        assert ast.get_docstring(tree), "a module says what it is for"
    for function in functions(tree):
        length = (function.end_lineno or 0) - function.lineno
        assert length <= MOST_FUNCTION_LINES, function.name


def test_functions_are_short() -> None:
    lengths = sorted(
        (function.end_lineno or 0) - function.lineno + 1
        for path in files()
        for function in functions(ast.parse(path.read_text(encoding="utf-8")))
    )
    assert lengths[len(lengths) // 2] < 12, "the median function"


def test_every_plugin_that_is_registered_can_be_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = project["entry-points"]
    assert {"modelyard.engines", "modelyard.metas", "modelyard.blobs"} <= set(groups)
    for names in groups.values():
        for target in names.values():
            module, _, attribute = target.partition(":")
            assert hasattr(importlib.import_module(module), attribute), target


def test_locked_dependencies_have_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^([a-z0-9._-]+)==\S+", lock, re.MULTILINE | re.IGNORECASE)
    assert len(pinned) > 20
    assert lock.count("--hash=sha256:") >= len(pinned)
    assert "://" not in lock.replace("https://pypi.org", ""), "no registry is named"


def test_every_setting_says_what_it_is_for() -> None:
    tree = ast.parse((SOURCE / "settings.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(classes) > 4
    for node in classes:
        for field, behind in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(field, ast.AnnAssign) or ast.unparse(field.annotation).endswith(
                "Settings"
            ):
                continue
            said = isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant)
            assert said, f"{node.name}.{ast.unparse(field.target)}"


def test_links_between_documents_lead_somewhere() -> None:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"
