"""GGUF: the header of llama.cpp's model files, read without trusting a single number in it.

Layout: magic, version, counts, key-values, tensor infos, padding, tensor data. Only the header is
read; the data is checked to lie inside the file. Keys: ggml's docs/gguf.md.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from modelyard.domain.models.cursor import TRY_AGAIN, Cursor, Read
from modelyard.domain.models.ggml import TENSOR_TYPES
from modelyard.domain.models.paths import printable
from modelyard.errors import Invalid

MAGIC = b"GGUF"
MAX_VALUES = 2048
MAX_TENSORS = 65_536
MAX_NAME_BYTES = 1024
MAX_DIMENSIONS = 4
MAX_STRINGS = 4 * 1024 * 1024
"""Strings in all arrays together: walking over them is the only work that a header can ask for."""
KEPT_TEXT_BYTES = 4096
KEPT_ITEMS = 512
"""Longer texts are cut and longer arrays are only counted."""

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_SCALARS = {
    number: struct.Struct("<" + form)
    for number, form in zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True)
}


class GgufArray(NamedTuple):
    """`items` holds the numbers of a short array; of strings and long arrays only the length."""

    length: int
    items: tuple[Any, ...] = ()


class GgufTensor(NamedTuple):
    """`offset` counts from the start of the file; `shape` is ggml's order, rows first."""

    name: str
    type: str
    shape: tuple[int, ...]
    elements: int
    offset: int
    size_bytes: int


class GgufHeader(NamedTuple):
    """What stands before the tensor data."""

    version: int
    values: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]
    alignment: int

    def text(self, key: str) -> str:
        """A string without control characters; empty when it is missing or something else."""
        value = self.values.get(key)
        return printable(value) if isinstance(value, str) else ""

    def whole(self, key: str) -> int | None:
        """A number from 1 on; of an array with one per layer, the greatest."""
        value = self.values.get(key)
        if isinstance(value, GgufArray):
            value = max((item for item in value.items if is_whole(item)), default=None)
        return value if is_whole(value) and 0 < value < 2**53 else None


def is_whole(value: Any) -> TypeGuard[int]:
    """A number, and not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def read_header(read: Read, size_bytes: int) -> GgufHeader:
    """Parse and check the header. Raises Invalid, whatever the bytes are."""
    cursor = Cursor(read, size_bytes)
    version = _read_version(cursor)
    tensor_count = _read_count(cursor, "tensors", MAX_TENSORS)
    value_count = _read_count(cursor, "key-values", MAX_VALUES)
    values = _read_values(cursor, value_count)
    alignment = _alignment(values)
    infos = [_read_tensor(cursor) for _ in range(tensor_count)]
    start = cursor.position + -cursor.position % alignment
    tensors = tuple(_placed(infos, start, alignment))
    _check_inside(tensors, size_bytes)
    return GgufHeader(version, values, tensors, alignment)


def _read_version(cursor: Cursor) -> int:
    if cursor.take(4, "the magic") != MAGIC:
        raise Invalid("this is no GGUF file: it does not start with the letters GGUF")
    version: int = cursor.unpack(_U32, "the version")
    if version in (2, 3):
        return version
    if not version & 0xFFFF:
        raise Invalid(
            "this GGUF file is written for big-endian machines",
            hint="convert the model again with --outfile on a little-endian one, or run "
            "gguf_convert_endian.py FILE little",
        )
    raise Invalid(
        f"GGUF version {version} is not supported; versions 2 and 3 are",
        hint="convert the model again with a current convert_hf_to_gguf.py"
        if version < 2
        else "update modelyard",
    )


def _read_count(cursor: Cursor, what: str, most: int) -> int:
    count: int = cursor.unpack(_U64, f"the number of {what}")
    if count > most:
        raise Invalid(f"the header claims {count} {what}; at most {most} are accepted")
    return count


def _read_values(cursor: Cursor, count: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    strings_left = MAX_STRINGS
    for _ in range(count):
        key = _read_name(cursor, "a key")
        if key in values:
            raise Invalid(f"key {key!r} stands twice in the header")
        kind: int = cursor.unpack(_U32, f"the type of {key!r}")
        if kind == _ARRAY:
            item_kind: int = cursor.unpack(_U32, f"the type of {key!r}")
            values[key] = _read_array(cursor, key, item_kind, strings_left)
            strings_left -= values[key].length if item_kind == _STRING else 0
        elif kind == _STRING:
            values[key] = _read_text(cursor, key)
        else:
            values[key] = cursor.unpack(_scalar(kind, key), f"the value of {key!r}")
    return values


def _read_name(cursor: Cursor, what: str) -> str:
    length: int = cursor.unpack(_U64, f"the length of {what}")
    if length > MAX_NAME_BYTES:
        raise Invalid(
            f"{what} at byte {cursor.position} claims {length} bytes; the file is damaged",
            hint=TRY_AGAIN,
        )
    return _decoded(cursor.take(length, what), what)


def _decoded(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Invalid(f"{what} is not UTF-8; the file is damaged", hint=TRY_AGAIN) from None


def _read_text(cursor: Cursor, key: str) -> str:
    what = f"the text of {key!r}"
    length: int = cursor.unpack(_U64, what)
    kept = cursor.take(min(length, KEPT_TEXT_BYTES), what)
    cursor.skip(length - len(kept), what)
    return kept.decode(errors="replace")


def _scalar(kind: int, key: str) -> struct.Struct:
    if kind not in _SCALARS:
        raise Invalid(f"key {key!r} has the unknown type {kind}; the file is damaged")
    return _SCALARS[kind]


def _read_array(cursor: Cursor, key: str, kind: int, strings_left: int) -> GgufArray:
    what = f"the array {key!r}"
    length: int = cursor.unpack(_U64, what)
    if kind == _ARRAY:
        raise Invalid(f"{what} holds arrays; no model needs that")
    if kind == _STRING:
        if length > strings_left:
            raise Invalid(f"{what} claims {length} texts; at most {MAX_STRINGS} are accepted")
        cursor.skip_strings(length, what)
        return GgufArray(length)
    form = _scalar(kind, key)
    if length > KEPT_ITEMS:
        cursor.skip(length * form.size, what)
        return GgufArray(length)
    data = cursor.take(length * form.size, what)
    return GgufArray(length, tuple(item[0] for item in form.iter_unpack(data)))


def _alignment(values: Mapping[str, Any]) -> int:
    value = values.get("general.alignment", 32)
    if not is_whole(value) or not 1 <= value <= 2**20 or value & (value - 1):
        raise Invalid(f"general.alignment is {value!r}; it must be a power of two up to 1048576")
    return int(value)


def _read_tensor(cursor: Cursor) -> GgufTensor:
    """`offset` still counts from the start of the data."""
    name = _read_name(cursor, "a tensor's name")
    what = f"tensor {name!r}"
    dimensions: int = cursor.unpack(_U32, what)
    if dimensions > MAX_DIMENSIONS:
        raise Invalid(f"{what} claims {dimensions} dimensions; at most {MAX_DIMENSIONS} exist")
    shape = tuple(cursor.unpack(_U64, what) for _ in range(dimensions))
    number: int = cursor.unpack(_U32, what)
    offset: int = cursor.unpack(_U64, what)
    kind = TENSOR_TYPES.get(number)
    if kind is None:
        raise Invalid(
            f"{what} has element type {number}, which is unknown or was removed from GGUF",
            hint="quantize the model again with a current llama.cpp, or update modelyard",
        )
    elements = 1
    for dimension in shape:
        elements *= dimension
    if (shape[0] if shape else 1) % kind.block:
        raise Invalid(f"{what}: a row of {shape[:1]} does not fill blocks of {kind.block}")
    return GgufTensor(
        name, kind.name, shape, elements, offset, elements // kind.block * kind.size_bytes
    )


def _placed(infos: Sequence[GgufTensor], start: int, alignment: int) -> Iterable[GgufTensor]:
    """Tensors lie one after another, as llama.cpp demands."""
    seen: set[str] = set()
    expected = 0
    for tensor in infos:
        if tensor.name in seen:
            raise Invalid(f"tensor {tensor.name!r} stands twice in the header")
        seen.add(tensor.name)
        if tensor.offset != expected:
            raise Invalid(
                f"tensor {tensor.name!r} begins at byte {tensor.offset} of the data, not at "
                f"{expected}; the file is damaged or was written wrongly",
                hint="download it again, or convert the model again",
            )
        expected += tensor.size_bytes + -tensor.size_bytes % alignment
        yield tensor._replace(offset=start + tensor.offset)


def _check_inside(tensors: Iterable[GgufTensor], size_bytes: int) -> None:
    for tensor in tensors:
        end = tensor.offset + tensor.size_bytes
        if end > size_bytes:
            raise Invalid(
                f"the file is truncated: tensor {tensor.name!r} ends at byte {end}, "
                f"the file has {size_bytes}",
                hint=TRY_AGAIN,
            )
