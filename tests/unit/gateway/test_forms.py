"""Forms and JSON of routes that no dialect models."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import Invalid
from modelyard.gateway.forms import inspect, parts, with_model

NAMES = st.text(st.characters(codec="ascii", exclude_characters='"\\\r\n;'), min_size=1, max_size=9)
VALUES = st.binary(max_size=60).filter(lambda value: b"\r\n--cut" not in value)


def form(*fields: tuple[str, bytes], boundary: str = "cut", file: str = "") -> bytes:
    said = f'; filename="{file}"' if file else ""
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{said}\r\n\r\n'.encode()
        + value + b"\r\n"
        for name, value in fields
    ]  # fmt: skip
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.text(min_size=1, max_size=20))
def test_only_the_models_bytes_change(fields: list[tuple[str, bytes]], model: str) -> None:
    fields = [(name, value) for name, value in fields if name != "model"]
    body = form(*fields, ("model", b"bot"))
    seen = inspect(body)
    assert seen.model == "bot"
    assert with_model(body, seen, model) == form(*fields, ("model", model.encode()))
    assert with_model(body, seen, "") is body
    found = [(part.name.decode(), body[part.begin : part.end]) for part in parts(body)]
    assert found == [*fields, ("model", b"bot")]


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    for text in (body, b"--" + body, b"--cut\r\n" + body, form(("model", b"bot"))[: len(body)]):
        try:
            inspect(text)
        except Invalid as error:
            assert error.message


def test_a_file_of_that_name_is_no_model() -> None:
    body = form(("file", b"sound"), ("model", b"bot"), file="model")
    assert inspect(body).model == "bot"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (form(("model", b"a"), ("model", b"b")), "twice"),
        (form(("file", b"sound")), "you must provide a `model`"),
        (b"--\r\n", "does not begin with a boundary"),
        (form(("model", b"a"))[:-6], "no name, no value or no end"),
        (form(("model", b"\xff")), "no UTF-8"),
        (b"{", "neither valid JSON nor a form"),
        (b"[]", "expected a JSON object"),
        (b'{"n":1}', "you must provide a `model`"),
        (b'{"model":"a","n":0}', "n"),
    ],
)
def test_what_cannot_be_used_is_told(body: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        inspect(body)


def test_json_keeps_its_bytes_but_for_the_model() -> None:
    body = b'{ "prompt" : "a", "model":"bot", "seed": 12345678901234567890 }'
    seen = inspect(body)
    assert with_model(body, seen, "x") == body.replace(b'"bot"', b'"x"')
    twice = b'{"model":"other","model":"bot"}'
    assert json.loads(with_model(twice, inspect(twice), "x")) == {"model": "x"}
    assert with_model(twice, inspect(twice), "x").count(b"model") == 1
