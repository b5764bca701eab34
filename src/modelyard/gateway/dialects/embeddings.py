"""OpenAI's embeddings, as far as the gateway asks for one itself."""

import base64
import binascii
from array import array

import msgspec

from modelyard.domain.caching.semantic import Vector, vector
from modelyard.errors import Upstream


class _Row(msgspec.Struct):
    embedding: list[float] | str


class _Answer(msgspec.Struct):
    data: list[_Row]


_decoder = msgspec.json.Decoder(_Answer)


def request_for(service: str, text: str) -> bytes:
    """The body that asks for the embedding of one text."""
    return msgspec.json.encode({"model": service, "input": text, "encoding_format": "float"})


def vector_of(answer: bytes) -> Vector:
    """The first vector of an answer, normalised; also of an engine that sends base64 unasked.

    Raises Upstream when there is none that can be used.
    """
    try:
        row = _decoder.decode(answer).data[0]
        return vector(_unpacked(row.embedding))
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError, ValueError) as error:
        raise Upstream(
            f"the embedding cannot be read: {error}", code="embedding_unreadable"
        ) from None


def _unpacked(embedding: list[float] | str) -> "list[float] | array[float]":
    """Numbers, from JSON or from base64 of little-endian 32-bit floats."""
    if isinstance(embedding, list):
        return embedding
    try:
        return array("f", base64.b64decode(embedding, validate=True))
    except binascii.Error as error:
        raise ValueError(str(error)) from None
