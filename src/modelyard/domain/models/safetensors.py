"""safetensors: the header of a weights file, checked in full before anything trusts it.

Layout: 8 bytes length, a JSON object, tensor data without holes.
https://github.com/huggingface/safetensors#format
"""

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from modelyard.domain.models.cursor import TRY_AGAIN, Cursor, Read
from modelyard.errors import Invalid

MAX_HEADER_BYTES = 100_000_000
MAX_TENSORS = 200_000
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of one element."""

_LENGTH = struct.Struct("<Q")


class _Info(msgspec.Struct, frozen=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class SafetensorsHeader(NamedTuple):
    """Tensor names and how many elements each type has."""

    names: frozenset[str]
    elements: Mapping[str, int]

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(self.elements.values())


_Objects = dict[str, msgspec.Raw]
_objects = msgspec.json.Decoder(_Objects)
_info = msgspec.json.Decoder(_Info)


def read_header(read: Read, size_bytes: int) -> SafetensorsHeader:
    """Parse and check the header. Raises Invalid, whatever the bytes are."""
    cursor = Cursor(read, size_bytes)
    length: int = cursor.unpack(_LENGTH, "the header's length")
    if length > MAX_HEADER_BYTES:
        raise Invalid(
            f"this is no safetensors file: its header would be {length} bytes long, "
            f"at most {MAX_HEADER_BYTES} are accepted"
        )
    tensors = _parse(cursor.take(length, "the header"))
    _check_data(tensors, size_bytes - cursor.position)
    elements: Counter[str] = Counter()
    for name, info in tensors.items():
        elements[info.dtype] += _elements(name, info)
    return SafetensorsHeader(frozenset(tensors), dict(elements))


def _parse(header: bytes) -> dict[str, _Info]:
    name = ""
    try:
        found = _objects.decode(header)
        found.pop("__metadata__", None)
        tensors: dict[str, _Info] = {}
        for name, raw in found.items():
            tensors[name] = _info.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        about = f"tensor {name!r} in the header" if name else "the header"
        raise Invalid(
            f"{about} is not what safetensors prescribes ({error}); the file is damaged",
            hint=TRY_AGAIN,
        ) from None
    if not tensors:
        raise Invalid("the file holds no tensors")
    if len(tensors) > MAX_TENSORS:
        raise Invalid(f"the header claims {len(tensors)} tensors; at most {MAX_TENSORS} do")
    return tensors


def _elements(name: str, info: _Info) -> int:
    count = 1
    for dimension in info.shape:
        count *= dimension
        if not 0 <= count < 2**63:
            raise Invalid(f"tensor {name!r} has an impossible shape; the file is damaged")
    return count


def _check_data(tensors: Mapping[str, _Info], size_bytes: int) -> None:
    """Tensors fill the data from its first byte to its last, each as long as its shape says."""
    expected = 0
    for name, info in _in_order(tensors):
        start, end = info.data_offsets
        if start != expected or end < start:
            raise Invalid(
                f"tensor {name!r} begins at byte {start} of the data, not at {expected}; "
                "the file is damaged",
                hint=TRY_AGAIN,
            )
        if info.dtype not in BITS:
            raise Invalid(f"tensor {name!r} has the unknown type {info.dtype!r}")
        if _elements(name, info) * BITS[info.dtype] != (end - start) * 8:
            raise Invalid(f"tensor {name!r} is not as long as its shape and type say")
        if end > size_bytes:
            raise Invalid(
                f"the file is truncated: tensor {name!r} ends at byte {end} of the data, "
                f"the file has {size_bytes} bytes of it",
                hint=TRY_AGAIN,
            )
        expected = end
    if expected < size_bytes:
        raise Invalid(f"{size_bytes - expected} bytes follow the last tensor; the file is damaged")


def _in_order(tensors: Mapping[str, _Info]) -> Iterable[tuple[str, _Info]]:
    return sorted(tensors.items(), key=lambda item: item[1].data_offsets)
