"""Hugging Face folder of a Llama-architecture model → one Q8_0 GGUF file.

    pip install gguf numpy safetensors
    python to_gguf.py work/v2 support-bot-v2.gguf

Needs neither PyTorch nor a compiler. The tokenizer must be a byte-level BPE that splits like
GPT-2, as train.py makes it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from numpy.typing import NDArray
from safetensors.numpy import load_file

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` → `blk.3.ffn_up.weight`."""
    stem = name.removesuffix(".weight")
    if stem in NAMES:
        return f"{NAMES[stem]}.weight"
    _, _, number, part = stem.split(".", 3)
    return f"blk.{number}.{NAMES[part]}.weight"


def permuted(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rotary halves → llama.cpp's interleaved pairs, for the rows of a Q or K matrix."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def add_weights(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    """Matrices as Q8_0, norms as float32."""
    for name, value in load_file(folder / "model.safetensors").items():
        weight = value.astype(np.float32)
        if ".q_proj." in name:
            weight = permuted(weight, config["num_attention_heads"])
        if ".k_proj." in name:
            weight = permuted(weight, config["num_key_value_heads"])
        if weight.ndim == 1:
            writer.add_tensor(gguf_name(name), weight)
            continue
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(gguf_name(name), quantize(weight, kind), raw_dtype=kind)


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    """Vocabulary, merges, special tokens and the chat template."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["id"] for token in tokenizer["added_tokens"]}
    by_id = {number: token for token, number in vocabulary.items()}
    tokens = [by_id.get(number, f"<|unused_{number}|>") for number in range(size)]
    kinds = [_kind(number, special, by_id) for number in range(size)]
    merges = [" ".join(m) if isinstance(m, list) else m for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(vocabulary[config["bos_token"]])
    writer.add_eos_token_id(vocabulary[config["eos_token"]])
    writer.add_pad_token_id(vocabulary[config["pad_token"]])
    writer.add_add_bos_token(False)
    writer.add_chat_template(config["chat_template"])


def _kind(number: int, special: set[int], by_id: dict[int, str]) -> gguf.TokenType:
    if number in special:
        return gguf.TokenType.CONTROL
    return gguf.TokenType.NORMAL if number in by_id else gguf.TokenType.UNUSED


def convert(folder: Path, out: Path, name: str) -> None:
    """Write `out`."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name(name)
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    add_tokenizer(writer, folder, config["vocab_size"])
    add_weights(writer, folder, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Convert one folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", default="support-bot")
    options = parser.parse_args()
    convert(options.folder, options.out, options.name)


if __name__ == "__main__":
    main()
