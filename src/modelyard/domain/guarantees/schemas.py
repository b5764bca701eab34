"""JSON schemas of clients: compiled once, bounded in every direction, never fetched from anywhere.

Source: json-schema.org, drafts 4 to 2020-12, as the `jsonschema-rs` package implements them.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import jsonschema_rs
import msgspec

from modelyard.domain.guarantees.growth import DEEPEST_ANSWER, depth_of, trouble
from modelyard.errors import Invalid

MOST_BYTES = 128 * 1024
MOST_LEVELS = 64
MOST_KEPT = 512
"""Compiled schemas of one gateway process."""
_BACKTRACKS = 100_000
"""Steps that a pattern may go back for one text."""
_MOST_SAID = 300


class Schema:
    """One of them, compiled."""

    __slots__ = ("_refers", "_validator")

    def __init__(self, validator: "jsonschema_rs.Validator", *, refers: bool) -> None:
        self._validator = validator
        self._refers = refers

    def problem(self, value: Any) -> tuple[str, str]:
        """The path of what is wrong with a value, such as `$.items[1].price`, and what it is; two
        empty texts when it is valid."""
        if self._refers and depth_of(value) > DEEPEST_ANSWER:
            return "$", f"is nested more than {DEEPEST_ANSWER} levels deep"
        try:
            if self._validator.is_valid(value):
                return "", ""
            error = next(iter(self._validator.iter_errors(value)), None)
        except ValueError as failed:  # a pattern went back too often, or the value is too deep
            return "$", str(failed)[:_MOST_SAID]
        if error is None:
            return "$", "is not valid"
        return path_of(error.instance_path), _said(error)


class Schemas:
    """Compiles, and keeps what was used last; its state belongs to whoever holds it."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, Schema] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def compiled(self, raw: bytes, path: str) -> Schema:
        """The schema of these bytes, which stand at `path` of a request.

        Raises Invalid (`invalid_json_schema`) with the path of what is wrong with it.
        """
        digest = hashlib.sha256(raw).digest()
        known = self._kept.get(digest)
        if known is not None:
            self._kept.move_to_end(digest)
            return known
        schema = self._kept[digest] = _compile(raw, path)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return schema


def path_of(steps: Sequence[str | int], root: str = "$") -> str:
    """`$.items[1].price`."""
    return root + "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in steps)


def _compile(raw: bytes, path: str) -> Schema:
    if len(raw) > MOST_BYTES:
        raise _wrong(path, f"is {len(raw)} bytes long, and may be {MOST_BYTES}")
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(path, f"cannot be read: {error}") from None
    if not isinstance(value, dict | bool):
        raise _wrong(path, "must be an object, or true or false")
    if depth_of(value) > MOST_LEVELS:
        raise _wrong(path, f"is nested more than {MOST_LEVELS} levels deep")
    validator = _validator(value, path)
    refers = b'ef"' in raw or b"\\u" in raw  # `$ref` and its kin; an escape may hide one
    problem = trouble(value) if refers else ""
    if problem:
        raise _wrong(path, problem)
    return Schema(validator, refers=refers)


def _validator(value: dict[str, Any] | bool, path: str) -> "jsonschema_rs.Validator":
    try:
        return jsonschema_rs.validator_for(
            value,
            retriever=_refuse,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS),
        )
    except jsonschema_rs.ValidationError as error:
        raise _wrong(path_of(error.instance_path, path), _said(error)) from None
    except ValueError as error:
        raise _wrong(path, str(error)[:_MOST_SAID]) from None


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is outside of the schema, and nothing is fetched")


def _said(error: jsonschema_rs.ValidationError) -> str:
    text = error.message
    return text if len(text) <= _MOST_SAID else f"{text[: _MOST_SAID - 1]}…"


def _wrong(path: str, what: str) -> Invalid:
    return Invalid(
        f"{path}: {what}",
        hint="send a JSON schema that refers to its own parts only",
        code="invalid_json_schema",
    )
