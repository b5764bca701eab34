"""Schemas of clients: what they say of values, and that none of them is endless or reaches out."""

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.guarantees.growth import depth_of, trouble
from modelyard.domain.guarantees.schemas import MOST_BYTES, Schemas, path_of
from modelyard.errors import Invalid

NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=3)


def compiled(schema: Any, path: str = "schema") -> Any:
    return Schemas().compiled(json.dumps(schema).encode(), path)


def told(schema: Any) -> str:
    with pytest.raises(Invalid) as refused:
        compiled(schema)
    assert refused.value.code == "invalid_json_schema"
    return refused.value.message


Case = tuple[dict[str, Any], Any, Any]
"""A schema, a value that is valid, and one that is not."""


def leaves() -> st.SearchStrategy[Case]:
    return st.one_of(
        st.integers(0, 99).map(lambda n: ({"type": "integer", "minimum": n}, n, n - 1)),
        st.text(max_size=5).map(lambda s: ({"const": s}, s, s + "x")),
        st.booleans().map(lambda b: ({"type": "boolean"}, b, "no")),
        st.integers(0, 4).map(lambda n: ({"type": "string", "maxLength": n}, "a" * n, "a" * 9)),
        st.lists(NAMES, min_size=1, max_size=3).map(lambda many: ({"enum": many}, many[0], 5)),
    )


def inside(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    def listed(case: Case) -> Case:
        schema, good, bad = case
        return {"type": "array", "items": schema}, [good, good], [good, bad]

    def members(cases: dict[str, Case]) -> Case:
        schema = {
            "type": "object",
            "properties": {name: one for name, (one, _, _) in cases.items()},
            "required": list(cases),
            "additionalProperties": False,
        }
        good = {name: value for name, (_, value, _) in cases.items()}
        last = list(cases)[-1]
        return schema, good, {**good, last: cases[last][2]}

    def named(case: Case) -> Case:
        schema, good, bad = case
        outer = {"type": "object", "properties": {"in": {"$ref": "#/$defs/one"}}}
        return {**outer, "required": ["in"], "$defs": {"one": schema}}, {"in": good}, {"in": bad}

    return st.one_of(
        inner.map(listed),
        st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(members),
        inner.filter(lambda case: "$defs" not in json.dumps(case[0])).map(named),
    )


CASES = st.recursive(leaves(), inside, max_leaves=6).filter(
    lambda case: json.dumps(case[0]).count("$defs") <= 2  # a reference is from the top
)


@given(CASES.filter(lambda case: "$defs" not in json.dumps(case[0]) or "$defs" in case[0]))
@settings(max_examples=150, deadline=None)
def test_valid_values_are_valid_and_others_are_not(case: Case) -> None:
    schema, good, bad = case
    one = compiled(schema)
    assert one.problem(good) == ("", "")
    path, what = one.problem(bad)
    assert path.startswith("$")
    assert what


def test_the_path_of_what_is_wrong() -> None:
    item = {"type": "object", "properties": {"price": {"type": "number"}}}
    one = compiled({"properties": {"items": {"type": "array", "items": item}}})
    path, what = one.problem({"items": [{"price": 1}, {"price": "much"}]})
    assert path == "$.items[1].price"
    assert "number" in what
    assert path_of(["a", 0, 1], "top") == "top.a[0][1]"


def test_what_cannot_be_a_schema() -> None:
    assert told([1]) == "schema: must be an object, or true or false"
    assert "schema.type" in told({"type": "nope"})
    assert "bytes" in told({"description": "x" * MOST_BYTES})
    deep: Any = {}
    for _ in range(70):
        deep = {"properties": {"a": deep}}
    assert "nested" in told(deep)
    with pytest.raises(Invalid):
        Schemas().compiled(b"{", "schema")


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1/s", "file:///etc/passwd", "other.json"])
def test_nothing_is_fetched(uri: str) -> None:
    assert uri.rsplit("/", 1)[-1] in told({"properties": {"a": {"$ref": uri}}})


def test_what_was_used_last_is_kept() -> None:
    kept = Schemas(most=2)
    first = kept.compiled(b'{"const":1}', "a")
    kept.compiled(b'{"const":2}', "a")
    assert kept.compiled(b'{"const":1}', "b") is first
    kept.compiled(b'{"const":3}', "a")
    assert len(kept) == 2
    assert kept.compiled(b'{"const":1}', "a") is first


def test_a_pattern_goes_back_only_so_far() -> None:
    one = compiled({"type": "string", "pattern": r"^(?=a)((a|a)+)+\1$"})
    path, what = one.problem("a" * 60 + "b")
    assert path == "$"
    assert what


# --- endless ones --------------------------------------------------------------------------

REF = {"$ref": "#"}
NODE = {"anyOf": [{"$ref": "#"}, {"type": "null"}]}
ANY_JSON = {
    "anyOf": [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "array", "items": REF},
        {"type": "object", "additionalProperties": REF},
    ]
}


def doubling(levels: int) -> dict[str, Any]:
    twice = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**twice, f"d{levels}": {"type": "integer"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"left": NODE, "right": NODE}},
        ANY_JSON,
        doubling(6),
        {"type": "array", "items": {"oneOf": [{"const": n} for n in range(300)]}},
        {"$defs": {"a~b/c d": {"type": "integer"}}, "$ref": "#/$defs/a~0b~1c%20d"},
        {"prefixItems": [{"const": 1}, REF], "items": REF},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "items": [{"const": 1}, REF],
            "additionalItems": REF,
        },
    ],
)
def test_schemas_that_people_write_are_not_endless(schema: Any) -> None:
    assert trouble(schema) == ""
    compiled(schema)


@pytest.mark.parametrize(
    "schema",
    [
        doubling(16),
        doubling(500),
        {"properties": {"x": {"allOf": [REF, REF]}}},
        {"items": {"anyOf": [REF, REF]}},
        {"patternProperties": {"a": REF, "b": REF}, "additionalProperties": REF},
        {"properties": {"a": REF}, "patternProperties": {"a": REF}},
        {"properties": {"far": {"properties": {"away": {"$ref": "#/$defs/d0"}}}},
         "$defs": doubling(20)["$defs"]},
    ],
)  # fmt: skip
def test_endless_ones_are_refused(schema: Any) -> None:
    assert "would not come to an end" in told(schema)


@pytest.mark.parametrize(
    "schema",
    [
        REF,
        {"allOf": [{"not": REF}]},
        {"$anchor": "x", "items": {"$ref": "#x"}},
        {"$defs": {"a": {"$id": "https://x/a", "items": {"$ref": "#/b"}}}, "$ref": "#/$defs/a"},
    ],
)
def test_what_cannot_be_followed_is_refused(schema: Any) -> None:
    assert trouble(schema)


KEYWORDS = st.sampled_from(["allOf", "anyOf", "oneOf", "properties", "items", "not", "type"])


@st.composite
def tangles(draw: st.DrawFn) -> dict[str, Any]:
    """Definitions that name each other."""
    names = [f"d{n}" for n in range(draw(st.integers(1, 5)))]
    refs = st.sampled_from(names).map(lambda name: {"$ref": f"#/$defs/{name}"})
    defs: dict[str, Any] = {}
    for name in names:
        parts: dict[str, Any] = {}
        for word in draw(st.lists(KEYWORDS, max_size=3, unique=True)):
            if word in ("allOf", "anyOf", "oneOf"):
                parts[word] = draw(st.lists(refs, min_size=1, max_size=3))
            elif word == "properties":
                parts[word] = draw(st.dictionaries(st.sampled_from("xy"), refs, max_size=2))
            else:
                parts[word] = "object" if word == "type" else draw(refs)
        defs[name] = parts
    return {"$ref": "#/$defs/d0", "$defs": defs}


@given(tangles())
@settings(max_examples=150, deadline=None)
def test_what_is_accepted_comes_to_an_end(schema: dict[str, Any]) -> None:
    """The runner's time limit is the judge."""
    try:
        one = compiled(schema)
    except Invalid:
        return
    value: Any = 5
    for _ in range(14):
        value = {"x": value, "y": 1}
    one.problem(value)


def test_answers_for_a_schema_that_names_itself_are_not_too_deep() -> None:
    one = compiled(ANY_JSON)
    value: Any = 1
    for _ in range(30):
        value = [value]
    assert one.problem(value) == ("", "")
    assert "levels" in one.problem([[[value]]])[1]


@given(st.recursive(st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=9))
def test_depth(value: Any) -> None:
    def slowly(one: Any) -> int:
        return 1 + max(map(slowly, one)) if isinstance(one, list) and one else 0

    assert depth_of(value) == slowly(value)
    assert depth_of({"a": value}) == 1 + slowly(value)
