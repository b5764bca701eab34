"""What the first bytes of a file say it is, whatever its name says."""

import re
import struct
from typing import NamedTuple

from modelyard.domain.models.safetensors import MAX_HEADER_BYTES

HEAD_BYTES = 4096


class Kind(NamedTuple):
    """`name` completes “it seems to be …”; `danger` is `pickle`, `archive`, `pointer` or empty."""

    name: str
    danger: str = ""


EMPTY = Kind("an empty file")
GGUF = Kind("a GGUF model")
SAFETENSORS = Kind("a safetensors file")
TEXT = Kind("a text")
OTHER = Kind("data of a kind that modelyard does not know")
PICKLE = Kind("a Python pickle", "pickle")
POINTER = Kind("a Git LFS pointer, not the file itself", "pointer")

_MAGICS = (
    (b"GGUF", GGUF),
    (b"PK\x03\x04", Kind("a zip archive or a PyTorch checkpoint", "pickle")),
    (b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file (Keras)", "pickle")),
    (b"\x93NUMPY", Kind("a NumPy array, which can hold a pickle", "pickle")),
    (b"\x1f\x8b", Kind("a gzip archive", "archive")),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", "archive")),
    (b"BZh", Kind("a bzip2 archive", "archive")),
    (b"\xfd7zXZ\x00", Kind("an xz archive", "archive")),
    (b"\x28\xb5\x2f\xfd", Kind("a zstd archive", "archive")),
    (b"Rar!\x1a\x07", Kind("a RAR archive", "archive")),
    (b"version https://git-lfs", POINTER),
    (b"%PDF-", Kind("a PDF")),
    (b"\x89PNG\r\n", Kind("a PNG picture")),
    (b"\xff\xd8\xff", Kind("a JPEG picture")),
    (b"\x7fELF", Kind("a program")),
    (b"MZ", Kind("a program")),
    (b"SQLite format 3\x00", Kind("an SQLite database")),
    (b"lmgg", Kind("a GGML model older than GGUF")),
    (b"fmgg", Kind("a GGML model older than GGUF")),
    (b"tjgg", Kind("a GGML model older than GGUF")),
)
_TAR_AT = 257
_PROTOCOLS = range(2, 6)
_TEXT_PICKLE = re.compile(rb"\(*c[\w.]+\n[\w.]+\n\(")
_HTML = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


def kind_of(head: bytes) -> Kind:
    """Judge by the first HEAD_BYTES of a file."""
    if not head:
        return EMPTY
    if _is_safetensors(head):
        return SAFETENSORS
    if _is_pickle(head):
        return PICKLE
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return Kind("a tar archive", "archive")
    return _text_kind(head)


def _is_safetensors(head: bytes) -> bool:
    """Asked first: a header of 640 bytes starts with the two bytes of a pickle."""
    if len(head) < 10 or head[8:9] != b"{":
        return False
    length: int = struct.unpack_from("<Q", head)[0]
    return length <= MAX_HEADER_BYTES


def _is_pickle(head: bytes) -> bool:
    if head[0] == 0x80 and len(head) > 2 and head[1] in _PROTOCOLS and head[2]:
        return True
    return _TEXT_PICKLE.match(head) is not None


def _text_kind(head: bytes) -> Kind:
    if _HTML.match(head):
        return Kind("a web page")
    if _CONTROL.search(head):
        return OTHER
    try:
        head[:-4].decode()  # the cut may fall inside a character
    except UnicodeDecodeError:
        return OTHER
    return Kind("JSON") if head.lstrip().startswith(b"{") else TEXT
