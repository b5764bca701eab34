"""Equal requests have equal keys however they are written; others never have."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.caching.question import Directives, Question, directives

VERSIONS = ("/v1/chat/completions", "rev-1", "sha256:aa", "prompt@3")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)  # fmt: skip
BODIES = st.dictionaries(TEXTS, VALUES, max_size=5)


def key(body: Any, tenant: str = "acme", versions: tuple[str, ...] = VERSIONS) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Question(raw).exact_key(versions, tenant)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [reordered(one) for one in value] if isinstance(value, list) else value


def typed(value: Any) -> Any:
    """Python takes true for 1; JSON does not."""
    if isinstance(value, dict):
        return {name: typed(one) for name, one in value.items()}
    if isinstance(value, list):
        return [typed(one) for one in value]
    return (isinstance(value, bool), value)


@given(BODIES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_order_white_space_and_escapes_do_not_matter(
    body: dict[str, Any], indent: Any, escaped: bool
) -> None:
    other = json.dumps(reordered(body), indent=indent, ensure_ascii=escaped).encode()
    assert key(other) == key(body)


@given(BODIES, BODIES)
def test_different_requests_have_different_keys(a: dict[str, Any], b: dict[str, Any]) -> None:
    ignored = ("stream", "stream_options", "user", "metadata", "store")
    a, b = (
        {name: value for name, value in one.items() if value is not None and name not in ignored}
        for one in (a, b)
    )
    assert (key(a) == key(b)) is (typed(a) == typed(b))


@given(BODIES, TEXTS, TEXTS)
def test_never_the_key_of_another_tenant_or_version(
    body: dict[str, Any], one: str, other: str
) -> None:
    if one != other:
        assert key(body, tenant=one) != key(body, tenant=other)
        assert key(body, versions=(one,)) != key(body, versions=(other,))
    assert key(body, versions=(one + other,)) != key(body, versions=(one, other))
    assert key(body, "a", ("b", "c")) != key(body, "b", ("a", "c"))


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (b'{"t":1}', b'{"t":1.0}', True),
        (b'{"t":100}', b'{"t":1e2}', True),
        (b'{"t":0.7}', b'{"t":7.0E-1}', True),
        (b'{"t":0}', b'{"t":-0.0}', True),
        (b'{"t":1.5e300}', b'{"t":15e299}', True),
        (b'{"t":0.1}', b'{"t":0.10000000000000001}', False),
        (b'{"t":9007199254740993}', b'{"t":9007199254740992}', False),
        (b'{"t":1e400}', b'{"t":1e401}', False),
        (b'{"t":1e-400}', b'{"t":0}', False),
        (b'{"t":"1"}', b'{"t":1}', False),
        (b'{"t":"0.7"}', b'{"t":0.7}', False),
        (b'{"t":true}', b'{"t":1}', False),
        (b'{"t":1e99999999999999999999}', b'{"t":1e99999999999999999998}', False),
        (b'{"seed":null}', b"{}", True),
        (b'{"m":[{"x":null}]}', b'{"m":[{}]}', False),
        (b'{"a":1,"a":2}', b'{"a":2}', True),
        (b'{"m":["a","b"]}', b'{"m":["b","a"]}', False),
    ],
)
def test_numbers_are_compared_by_value_and_never_rounded(a: bytes, b: bytes, equal: bool) -> None:
    assert (key(a) == key(b)) is equal


def test_how_an_answer_travels_is_not_part_of_the_question() -> None:
    bare = {"model": "support", "messages": []}
    more = {"stream": True, "stream_options": {"include_usage": True}, "user": "u", "store": False}
    assert key({**bare, **more, "metadata": {"a": "b"}}) == key(bare)
    assert key({**bare, "seed": 1}) != key(bare)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":"\xff"}', b"[" * 100_000])
def test_what_is_no_object_cannot_be_normalised(body: bytes) -> None:
    with pytest.raises(ValueError, match="normalised"):
        Question(body)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, ""),
        ({"n": 1, "temperature": 1}, ""),
        ({"temperature": 0.5}, ""),
        ({"temperature": None}, ""),
        ({"n": 2}, "several_choices"),
        ({"temperature": 1.01}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"tools": [{}]}, ""),
    ],
)
def test_what_may_be_cached(more: dict[str, Any], reason: str) -> None:
    assert Question(json.dumps({"model": "m", **more}).encode()).refusal(1.0) == reason


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": [user("hi there")]}, "hi there"),
        ({"messages": [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]},
         "a\nb"),
        ({"messages": [user([{"type": "text", "text": "a"}, {"type": "image_url"}])]}, None),
        ({"messages": [user(" ")]}, None),
        ({"messages": []}, None),
        ({"messages": ["hi"]}, None),
        ({"messages": "hi"}, None),
        ({"messages": [user("a"), {"role": "assistant", "content": "b"}]}, None),
        ({"messages": [{"role": "tool", "content": "x"}, user("a")]}, None),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}, user("a")]}, None),
        ({"messages": [user("a")], "tools": [{}]}, None),
        ({"messages": [user("a")], "tools": []}, "a"),
        ({"messages": [user("a")], "temperature": 0.31}, None),
        ({"messages": [user("a")], "temperature": None}, None),
        ({"messages": [user("a")], "n": 2}, None),
        ({"prompt": "a"}, None),
    ],
)  # fmt: skip
def test_what_is_compared_by_meaning(body: dict[str, Any], text: str | None) -> None:
    meaning = Question(json.dumps({"temperature": 0, **body}).encode()).meaning(0.3)
    assert (meaning.text if meaning is not None else None) == text


def partition(body: dict[str, Any], tenant: str = "acme") -> bytes:
    meaning = Question(json.dumps({"temperature": 0, **body}).encode()).meaning(0.3)
    assert meaning is not None
    return meaning.partition(VERSIONS, tenant)


def test_all_but_the_last_text_must_be_equal() -> None:
    system = {"role": "system", "content": "be brief"}
    base = partition({"messages": [system, user("open on sunday?")]})
    assert partition({"messages": [system, user("are you open on sundays")]}) == base
    assert partition({"messages": [system, user("open on sunday?")]}, "other") != base
    assert partition({"messages": [user("open on sunday?")]}) != base
    assert partition({"messages": [system, user("open on sunday?")], "max_tokens": 5}) != base
    assert partition({"messages": [system, user("open at 9:30?")]}) != base
    assert partition({"messages": [system, user("open at 9:30?")]}) == partition(
        {"messages": [system, user("is it open at 9:30")]}
    )


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", Directives(answer=True, keep=True)),
        (b"max-age=0", Directives(answer=True, keep=True)),
        (b"no-cache", Directives(answer=False, keep=True)),
        (b"No-Store", Directives(answer=False, keep=False)),
        (b"max-age=3, no-cache ,x", Directives(answer=False, keep=True)),
    ],
)
def test_cache_control(header: bytes, expected: Directives) -> None:
    assert directives(header) == expected
