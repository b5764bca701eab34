"""What a GGUF header tells about its model: the registry shows it and engines plan with it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from modelyard.domain.models.ggml import FILE_TYPES, GUESSED
from modelyard.domain.models.gguf import GgufArray, GgufHeader, GgufTensor, is_whole
from modelyard.errors import Invalid


def metadata(headers: Sequence[GgufHeader]) -> dict[str, Any]:
    """What the registry tells about a model; `headers` are its parts, first part first.

    Raises Invalid when the first part describes no language model.
    """
    first = headers[0]
    architecture = first.text("general.architecture")
    tensors = [tensor for header in headers for tensor in header.tensors]
    _check_is_model(first, architecture, tensors)

    def of(key: str) -> int | None:
        return first.whole(f"{architecture}.{key}")

    template = first.text("tokenizer.chat_template")
    embedding, heads = of("embedding_length"), of("attention.head_count")
    found = {
        "architecture": architecture,
        "name": first.text("general.name"),
        "license": first.text("general.license"),
        "parameters": sum(tensor.elements for tensor in tensors),
        "quantization": _quantization(first, tensors),
        "context_tokens": of("context_length"),
        "layers": of("block_count"),
        "embedding": embedding,
        "heads": heads,
        "kv_heads": of("attention.head_count_kv") or heads,
        "head_dim": of("attention.key_length")
        or (embedding // heads if embedding and heads else None),
        "sliding_window_tokens": of("attention.sliding_window"),
        "vocabulary": _vocabulary(first) or of("vocab_size"),
        "has_chat_template": bool(template),
        "has_tools_template": bool(template) and ("tools" in template or None),
        "tokenizer": first.text("tokenizer.ggml.model"),
    }
    return {
        key: value for key, value in found.items() if value not in (None, "", 0) or value is False
    }


def _check_is_model(first: GgufHeader, architecture: str, tensors: Sequence[GgufTensor]) -> None:
    if not architecture:
        raise Invalid("this GGUF file names no general.architecture; it holds no model")
    if not tensors:
        raise Invalid(
            "this GGUF file holds no tensors",
            hint="it may be a vocabulary only; push the file with the weights",
        )
    if not first.text("tokenizer.ggml.model"):
        raise Invalid(
            f"this GGUF file ({architecture}) holds no tokenizer: nothing can serve text from it",
            hint="convert the model with its tokenizer files beside it",
        )


def _vocabulary(header: GgufHeader) -> int:
    tokens = header.values.get("tokenizer.ggml.tokens")
    return tokens.length if isinstance(tokens, GgufArray) else 0


def _quantization(header: GgufHeader, tensors: Sequence[GgufTensor]) -> str:
    """The file's own word, else the type that most elements have."""
    number = header.values.get("general.file_type")
    if is_whole(number) and number & ~GUESSED in FILE_TYPES:
        return FILE_TYPES[number & ~GUESSED]
    elements: Counter[str] = Counter()
    for tensor in tensors:
        elements[tensor.type] += tensor.elements
    return max(elements, key=elements.__getitem__)
