"""Reading a request body and splicing it: the client's own bytes travel on."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import Invalid
from modelyard.gateway.body import inspect, rewrite


def rewritten(body: bytes, **options: Any) -> bytes:
    return rewrite(body, inspect(body), **options)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"null", "expected a JSON object"),
        (b"[]", "expected a JSON object"),
        (b"{}", "you must provide a `model`"),
        (b'{"model":5}', "$.model"),
        (b'{"model":"a","stream":"yes"}', "$.stream"),
        (b'{"model":"a"}x', "not valid JSON"),
        (b'{"model":"\xff"}', "not valid JSON"),
        (b'{"model":"a","x":"\xff"}', "not valid JSON"),
        (b'{"model":"a","\xc3":1}', "not valid JSON"),
        (b'{"model":"a","x":"\\ud800"}', "not valid JSON"),
        (b'{"model":"a","\\ud800":1}', "not valid JSON"),
        (b'\xef\xbb\xbf{"model":"a"}', "not valid JSON"),
        (b'{"model":"a","x":01}', "not valid JSON"),
        (b'{"model":"a","x":NaN}', "not valid JSON"),
        (b'{"model":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not valid JSON"),
    ],
)
def test_bad_bodies_are_told_the_place(body: bytes, said: str) -> None:
    with pytest.raises(Invalid) as raised:
        inspect(body)
    assert said in raised.value.message
    assert len(raised.value.message) < 500


def test_nothing_changes_where_nothing_must() -> None:
    body = b'{ "model" : "a" , "x":1e400 }'
    assert rewritten(body, model="") is body
    assert rewritten(body, model="a") is body


def test_only_the_value_of_the_model_changes() -> None:
    body = b'{"x": 1e0, "model" :  "support", "big":12345678901234567890}'
    expected = b'{"x": 1e0, "model" :  "llama \\"x\\"", "big":12345678901234567890}'
    assert rewritten(body, model='llama "x"') == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":{"model":"in"},"model":"a"}',
        b'{"model":"a","x":["model",{"model":1}]}',
        b'{"messages":[{"content":"\\"model\\": \\"q\\""}],"model":"a"}',
        b'{"\\u006dodel":"a"}',
        b'{"model":"a","model":"b"}',
    ],
)
def test_it_is_the_top_level_model(body: bytes) -> None:
    changed = json.loads(rewritten(body, model="new"))
    assert changed == {**json.loads(body), "model": "new"}


def test_a_stream_always_asks_for_usage() -> None:
    body = b'{"model":"a","stream":true}'
    assert json.loads(rewritten(body, model=""))["stream_options"] == {"include_usage": True}
    asked = b'{"model":"a","stream":true,"stream_options":{"include_usage":true}}'
    assert rewritten(asked, model="") is asked
    other = b'{"model":"a","stream":true,"stream_options":{"chunk":5,"include_usage":false}}'
    assert json.loads(rewritten(other, model=""))["stream_options"] == {
        "chunk": 5, "include_usage": True,
    }  # fmt: skip


def test_an_unstreamed_request_can_become_a_stream() -> None:
    for body in (b'{"model":"a"}', b'{"model":"a","stream":false,"stream_options":null}'):
        changed = json.loads(rewritten(body, model="", force_stream=True))
        assert changed["stream"] is True
        assert changed["stream_options"] == {"include_usage": True}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(st.text() | st.sampled_from(["messages", "model", "tools"]), JSON, max_size=6),
    st.text(),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]),
)
def test_any_body_keeps_all_but_what_is_spliced(
    fields: dict[str, Any], model: str, escape: bool, separators: tuple[str, str]
) -> None:
    known = {key: value for key, value in fields.items()
             if key not in ("n", "user", "stream", "stream_options")}  # fmt: skip
    value = {**known, "model": "service"}
    try:
        body = json.dumps(value, ensure_ascii=escape, separators=separators).encode()
    except UnicodeEncodeError:
        return
    try:
        changed = rewritten(body, model=model, force_stream=True)
    except Invalid:
        return  # half characters, which no text may hold
    expected = {**value, "model": model or "service", "stream": True,
                "stream_options": {"include_usage": True}}  # fmt: skip
    assert json.loads(changed) == expected


NUMBERS = b"[12345678901234567890123, 1e400, -0.0, 0.1000000000000000055]"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","seed":%b,"stream":true}',
        b'{"model":"a","seed":%b,"stream":true,"stream_options":{"include_usage":false,"y":%b}}',
        b'{"mod\\u0065l":"a","seed":%b,"user":"\\u00e9"}',
    ],
)
def test_numbers_keep_their_digits(body: bytes) -> None:
    text = body.replace(b"%b", NUMBERS)
    changed = rewritten(text, model="b")
    assert changed.count(NUMBERS) == text.count(NUMBERS)
    assert json.loads(changed)["model"] == "b"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"mod\\u0065l":"a","model":"b"}',
        b'{"model":"a","\\u006d\\u006F\\u0064el":"b"}',
    ],
)
def test_the_engine_sees_only_the_model_that_was_checked(body: bytes) -> None:
    assert inspect(body).model == "b"
    for model in ("", "b", "new"):
        pairs = json.loads(rewritten(body, model=model), object_pairs_hook=list)
        assert pairs == [("model", model or "b")]


@pytest.mark.parametrize(
    "filling",
    [b'"' + b"x" * 10_000_000 + b'"', b"[" + b"1," * 2_000_000 + b"[],{}]",
     b'"' + b"\\n" * 2_000_000 + b'"', b"[" + b"[]," * 2_000_000 + b"1]"],
    ids=["text", "numbers", "escapes", "brackets"],
)  # fmt: skip
def test_a_large_body_costs_no_more_than_some_copies(filling: bytes) -> None:
    body = b'{"model":"a","stream":true,"user":"\\u00e9","messages":%b}' % filling
    seen = inspect(body)
    tracemalloc.start()
    try:
        changed = rewrite(body, seen, model="b")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert filling in changed
    assert peak < 6 * len(body)


LONG = b'[{"role":"user","content":"%b \\"model\\": \\u00e9 \\n"}]' % (b"model " * 2000)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","messages":%b,"seed":12345678901234567890}',
        b'{"messages":%b,"model" : "a","x":"messages"}',
        b'{"x":"\\"messages\\":","messages" :  %b ,"model":"a"}',
        b'{"messages":[],"messages":%b,"model":"a"}',
        b'{"messages":%b,"model":"b","model":"a"}',
        b'{"model":"a","mess\\u0061ges":%b}',
    ],
)
def test_a_long_body_is_changed_around_its_conversation(body: bytes) -> None:
    text = body.replace(b"%b", LONG)
    for options in ({"model": ""}, {"model": "new"}, {"model": "n", "force_stream": True}):
        changed = rewritten(text, **options)
        assert LONG in changed
        expected = {**json.loads(text), "model": options["model"] or "a"}
        if "force_stream" in options:
            expected |= {"stream": True, "stream_options": {"include_usage": True}}
        assert json.loads(changed) == expected
        assert [key for key, _ in json.loads(changed, object_pairs_hook=list)].count("model") == 1
