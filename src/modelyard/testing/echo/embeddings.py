"""Embeddings without a model: texts with the same words have near vectors, in every process."""

import base64
import math
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

_WORD = re.compile(r"\w+")
DIMENSIONS = 64


def vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """A normalised bag of words: each word adds 1 or -1 in one dimension, by its checksum (feature
    hashing, Weinberger et al. 2009). A text without words points along the first axis."""
    values = [0.0] * dimensions
    for word in _WORD.findall(text.lower()):
        number = zlib.crc32(word.encode())
        values[number % dimensions] += 1.0 if number & 0x8000_0000 else -1.0
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values] if length else [1.0, *values[1:]]


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `/v1/embeddings`."""
    texts = _texts(question.get("input", ""))
    dimensions = int(question.get("dimensions") or DIMENSIONS)
    pack = _base64 if question.get("encoding_format") == "base64" else list
    data = [
        {"object": "embedding", "index": index, "embedding": pack(vector(text, dimensions))}
        for index, text in enumerate(texts)
    ]
    tokens = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {
        "object": "list",
        "data": data,
        "model": question.get("model", "echo"),
        "usage": usage,
    }


def _texts(given: Any) -> list[str]:
    """One text, several, one list of token numbers, or several of those."""
    if isinstance(given, str):
        return [given]
    if given and isinstance(given[0], int):
        return [" ".join(map(str, given))]
    return [one if isinstance(one, str) else " ".join(map(str, one)) for one in given]


def _base64(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
