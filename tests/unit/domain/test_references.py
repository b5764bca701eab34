"""`name`, `name:3`, `name@alias`, `name@sha256:…`, and what looks like them."""

import pytest

from modelyard.domain.models.references import Reference, check_alias, check_name, parse
from modelyard.errors import Invalid

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bot", Reference("bot")),
        ("bot:3", Reference("bot", version=3)),
        ("bot@production", Reference("bot", alias="production")),
        (f"bot@{DIGEST}", Reference("bot", digest=DIGEST)),
        ("a.b_c-d", Reference("a.b_c-d")),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    assert parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", ""),
        ("Bot", ""),
        ("bot:", ""),
        ("bot:0", ""),
        ("bot:03", ""),
        ("bot:production", "bot@production"),
        ("bot@3", "bot:3"),
        ("bot@", ""),
        ("bot@sha256:abc", ""),
        ("bot@SHA256:" + "a" * 64, ""),
        ("a/b", ""),
        ("../x:1", ""),
        ("bot:1:2", ""),
        ("bot@a@b", ""),
        ("x" * 64, ""),
        ("bot:9999999999", ""),
    ],
)
def test_what_is_no_reference(text: str, hint: str) -> None:
    with pytest.raises(Invalid) as raised:
        parse(text)
    assert raised.value.hint
    assert hint in raised.value.hint


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a" * 64, "é"])
def test_names(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name)
    check_name("a" * 63)


@pytest.mark.parametrize("alias", ["", "1", "Prod", "a" * 32, "a_b"])
def test_aliases(alias: str) -> None:
    with pytest.raises(Invalid):
        check_alias(alias)
    check_alias("production")
