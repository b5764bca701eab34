"""A Hugging Face folder: config.json, a tokenizer, safetensors and the index over them."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from modelyard.domain.models.paths import printable
from modelyard.domain.models.safetensors import SafetensorsHeader
from modelyard.errors import Invalid

INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")
MAX_JSON_BYTES = 32 * 1024 * 1024

_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("tekken.json",),
    ("spiece.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
)
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")


def parse_json(data: bytes) -> dict[str, Any]:
    """A JSON object out of a file. Raises Invalid."""
    if len(data) > MAX_JSON_BYTES:
        raise Invalid(f"is longer than {MAX_JSON_BYTES} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"is no JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise Invalid("is no JSON object")
    return value


def tokenizer_file(names: Collection[str]) -> str:
    """The file that holds the tokenizer; empty when there is none."""
    found = (group[0] for group in _TOKENIZERS if all(name in names for name in group))
    return next(found, "")


def check_complete(names: Collection[str], weights: Collection[str]) -> None:
    """Raises Invalid naming what a folder with these files lacks."""
    if "adapter_config.json" in names and CONFIG not in names:
        raise Invalid(
            "the folder holds a LoRA adapter, not a whole model",
            hint="merge it into its base model (PEFT: merge_and_unload), save that and push it",
        )
    missing = [] if CONFIG in names else [CONFIG]
    if not tokenizer_file(names):
        missing.append("tokenizer (tokenizer.json or tokenizer.model)")
    if missing:
        raise Invalid(
            f"beside {min(weights)} there is no {' and no '.join(missing)}",
            hint="copy them from where the model comes from, or write them with "
            "model.save_pretrained(FOLDER) and tokenizer.save_pretrained(FOLDER); "
            "then push the folder",
        )


def shards(
    names: Collection[str], weights: Collection[str], index: Mapping[str, Any] | None
) -> dict[str, frozenset[str]]:
    """Weight files that make the model, each with the tensors that the index expects in it.

    Raises Invalid when a file is missing or when it is not clear which files belong together.
    """
    if index is not None:
        return _indexed(weights, index)
    if len(weights) == 1:
        only = next(iter(weights))
        _check_not_a_part(only)
        return {only: frozenset()}
    if "model.safetensors" in weights:
        return {"model.safetensors": frozenset()}
    raise Invalid(
        f"the folder holds {len(weights)} .safetensors files and no {INDEX}",
        hint=f"copy {INDEX} from where the model comes from",
    )


def _check_not_a_part(name: str) -> None:
    match = _SHARD.fullmatch(name)
    if match and int(match[3]) != 1:
        raise Invalid(
            f"{name} is one of {int(match[3])} parts; the others and {INDEX} are missing",
            hint="copy all parts into the folder",
        )


def _indexed(weights: Collection[str], index: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise Invalid(f"{INDEX} has no weight_map")
    expected: dict[str, set[str]] = {}
    for tensor, name in weight_map.items():
        if not isinstance(name, str):
            raise Invalid(f"{INDEX}: tensor {printable(tensor)!r} names no file")
        expected.setdefault(name, set()).add(tensor)
    missing = sorted(printable(name) for name in expected if name not in weights)
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise Invalid(
            f"{INDEX} names files that are not there: {', '.join(missing[:5])}{more}",
            hint="copy the missing parts into the folder",
        )
    return {name: frozenset(tensors) for name, tensors in expected.items()}


def check_tensors(name: str, header: SafetensorsHeader, expected: frozenset[str]) -> None:
    """Raises Invalid when a part lacks a tensor that the index promises."""
    missing = sorted(expected - header.names)
    if missing:
        raise Invalid(
            f"{name} lacks {len(missing)} tensors that {INDEX} promises, "
            f"{printable(missing[0])!r} first",
            hint="the parts are not of the same model; copy all of them again",
        )


def metadata(
    config: Mapping[str, Any],
    tokenizer_config: Mapping[str, Any],
    names: Collection[str],
    headers: Collection[SafetensorsHeader],
) -> dict[str, Any]:
    """What the registry tells about the model; what the files do not say is absent."""
    text = _text_part(config)
    embedding = _whole(text, "hidden_size", "n_embd", "d_model")
    heads = _whole(text, "num_attention_heads", "n_head", "num_heads")
    found = {
        "architecture": _architecture(config),
        "name": _text(config, "_name_or_path").rpartition("/")[2],
        "parameters": sum(header.parameters for header in headers),
        "quantization": _quantization(config, headers),
        "context_tokens": _whole(
            text, "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx"
        ),
        "layers": _whole(text, "num_hidden_layers", "n_layer", "num_layers"),
        "embedding": embedding,
        "heads": heads,
        "kv_heads": _whole(text, "num_key_value_heads", "num_kv_heads", "n_head_kv") or heads,
        "head_dim": _whole(text, "head_dim")
        or (embedding // heads if embedding and heads else None),
        "sliding_window_tokens": _whole(text, "sliding_window"),
        "vocabulary": _whole(text, "vocab_size"),
        "tokenizer": _text(tokenizer_config, "tokenizer_class") or tokenizer_file(names),
        "needs_code": "auto_map" in config or None,
    }
    chat = bool(tokenizer_config.get("chat_template")) or any(
        name in names for name in CHAT_TEMPLATES
    )
    return {key: value for key, value in found.items() if value} | {"has_chat_template": chat}


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Models for pictures and text keep the numbers of their language part one level down."""
    for name in ("text_config", "llm_config", "language_config"):
        part = config.get(name)
        if isinstance(part, dict):
            return {**config, **part}
    return config


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else None
    return printable(first) if isinstance(first, str) else _text(config, "model_type")


def _quantization(config: Mapping[str, Any], headers: Collection[SafetensorsHeader]) -> str:
    """The method that config.json names, else the type that most elements have."""
    method = config.get("quantization_config")
    if isinstance(method, dict) and _text(method, "quant_method"):
        bits = _whole(method, "bits")
        return _text(method, "quant_method") + (f"-{bits}bit" if bits else "")
    elements: dict[str, int] = {}
    for header in headers:
        for dtype, count in header.elements.items():
            elements[dtype] = elements.get(dtype, 0) + count
    return max(elements, key=elements.__getitem__, default="")


def _text(source: Mapping[str, Any], key: str) -> str:
    value = source.get(key)
    return printable(value) if isinstance(value, str) else ""


def _whole(source: Mapping[str, Any], *keys: str) -> int | None:
    """The first of the keys that holds a number from 1 on."""
    for key in keys:
        value = source.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53:
            return value
    return None
