"""Bodies of routes that no dialect models: JSON, or a form with files (`multipart/form-data`).

Source: RFC 7578 (forms), RFC 2046 §5.1.1 (how parts are told apart).
"""

import re
from typing import Annotated, NamedTuple

import msgspec

from modelyard.errors import Invalid
from modelyard.gateway.body import MOST_CHOICES, Inspected, named

MULTIPART = b"multipart/form-data"
_NAME = re.compile(rb'content-disposition:[^\r\n]*?;\s*name="?([^";\r\n]*)"?', re.IGNORECASE)
_MOST_PARTS = 1000
_MOST_BOUNDARY = 72
"""Characters of the line between parts: its two dashes and at most 70."""


class _Json(msgspec.Struct):
    model: str
    stream: bool | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)] | None = None
    user: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Json)


class Part(NamedTuple):
    """One field of a form: where its value is."""

    name: bytes
    begin: int
    end: int


def inspect(body: bytes) -> Inspected:
    """What the gateway decides on, `model` above all. Raises Invalid with the place and cause."""
    if body.startswith(b"--"):
        return _of_form(body)
    try:
        seen = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _without_model(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(
            f"the body is neither valid JSON nor a form with a boundary: {error}",
            hint="send a JSON object, or multipart/form-data",
            code="invalid_json",
        ) from None
    return Inspected(model=seen.model, stream=seen.stream, n=seen.n, user=seen.user)


def with_model(body: bytes, seen: Inspected, model: str) -> bytes:
    """The body with another name of the model; everything else keeps its bytes."""
    if not body.startswith(b"--"):
        return named(body, seen, model)
    if not model or model == seen.model:
        return body
    part = _model_of(body)
    return body[: part.begin] + model.encode() + body[part.end :]


def _of_form(body: bytes) -> Inspected:
    part = _model_of(body)
    try:
        model = body[part.begin : part.end].decode()
    except UnicodeDecodeError:
        raise Invalid("`model` in the form is no UTF-8 text", code="invalid_form") from None
    return Inspected(model=model)


def _model_of(body: bytes) -> Part:
    """The one field `model`. Two are refused: the endpoint might take the one that was not
    checked."""
    found = [part for part in parts(body) if part.name == b"model"]
    if not found:
        raise _without_model("missing required field `model`")
    if len(found) > 1:
        raise Invalid("the form has the field `model` twice", code="invalid_form")
    return found[0]


def parts(body: bytes) -> list[Part]:
    """The fields of a form. Raises Invalid where it is malformed."""
    line_end = body.find(b"\r\n")
    between = b"\r\n" + body[:line_end]
    if not 2 < line_end <= _MOST_BOUNDARY:
        raise _malformed("it does not begin with a boundary")
    found: list[Part] = []
    at = line_end + 2
    while len(found) < _MOST_PARTS:
        begin = body.find(b"\r\n\r\n", at) + 4
        end = body.find(between, begin)
        name = _NAME.search(body, at, begin)
        if begin < 4 or end < 0 or name is None:
            raise _malformed(f"part {len(found) + 1} has no name, no value or no end")
        found.append(Part(name[1], begin, end))
        at = end + len(between)
        if body.startswith(b"--", at):
            return found
        at = body.find(b"\r\n", at) + 2
    raise _malformed(f"it has more than {_MOST_PARTS} parts")


def _malformed(what: str) -> Invalid:
    return Invalid(f"the form is malformed: {what}", hint="see RFC 7578", code="invalid_form")


def _without_model(text: str) -> Invalid:
    if "missing required field `model`" in text:
        text = "you must provide a `model`: the name of a service"
    return Invalid(text.replace("Expected `object`", "expected a JSON object"))
