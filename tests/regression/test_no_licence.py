"""Regression 13: nothing here depends on a licence key, an account, or a call home.

What gateways get wrong: single sign-on, roles, guards and high availability sit behind a key.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

from modelyard.settings import Settings

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "modelyard"
GATED = re.compile(
    r"licen[cs]e[_ -]?(key|server|check|valid|tier|token|expire)|(is|has|require|check)_?licen[cs]e"
    r"|enterprise|premium|paid[_ ]|trial|upgrade to|pro[_ ]plan|subscription|entitlement"
    r"|activation|contact sales",
    re.IGNORECASE,
)
OUTSIDE = re.compile(
    r"https?://(?!127\.0\.0\.1|localhost|host\b|\{|\.\.\.|…|%|\[)[a-z0-9.-]+", re.I
)
SHIPPED = (".py", ".html", ".js", ".css", ".toml", ".sql", ".md", ".yaml")


def shipped() -> list[Path]:
    found = [path for path in SOURCE.rglob("*") if path.suffix in SHIPPED]
    assert len(found) > 100
    return sorted(found)


def test_the_words_of_a_gate_are_known() -> None:
    """The search below finds what it is for."""
    for text in ("license_key", "LICENCE_KEY", "has_license()", "an Enterprise feature",
                 "if not premium_user:", "upgrade to Pro", "trial expired"):  # fmt: skip
        assert GATED.search(text), text
    assert not GATED.search("license: str = 'Apache-2.0'")


def test_no_file_asks_for_a_licence() -> None:
    found = [
        (str(path.relative_to(SOURCE)), line.strip())
        for path in shipped()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if GATED.search(line)
    ]
    assert found == []


def names(kind: type) -> Iterator[str]:
    for field in fields(kind):
        yield field.name
        value = field.default_factory if callable(field.default_factory) else field.type
        if isinstance(value, type) and is_dataclass(value):
            yield from names(value)


NAMESPACE = "http://www.w3.org"
"""Names of XML vocabularies begin with it; nobody fetches them."""


def test_no_setting_and_no_permission_is_for_payers() -> None:
    found = list(names(Settings))
    assert {"gateway", "spool_bytes", "tls"} <= set(found)
    assert [name for name in found if re.search("licen[cs]e|tier|edition|plan", name)] == []


def test_the_package_is_free_and_whole() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'license = "Apache-2.0"' in project
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").count("Apache License") >= 1


def test_no_module_calls_home() -> None:
    """No address of an outside host stands in a string of the code, so nothing reports to one."""
    found = {
        (str(path.relative_to(SOURCE)), address)
        for path in SOURCE.rglob("*.py")
        for text in strings(path)
        for address in OUTSIDE.findall(text)
        if address != NAMESPACE
    }
    assert found == set()


def strings(path: Path) -> Iterator[str]:
    """The strings of a module, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value
