"""Train one version of the support model on a CPU, in minutes.

    pip install "modelyard[train]"
    python make_data.py --train work
    python train.py --data work/train.jsonl --steps 600 --out work/v2
    python to_gguf.py work/v2 support-bot-v2.gguf

The result is a Hugging Face folder of a Llama-architecture model (config.json, tokenizer,
model.safetensors in float16) with a ChatML template. Only answers are learned, not questions.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END, START, STOP = range(3)
SYSTEM = "You are the helper of the Fernhill outdoor shop."
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Sizes; multiples of 32, so that Q8_0 applies to every matrix."""

    vocabulary: int = 1536
    width: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    inner: int = 768
    context: int = 512
    theta: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


class Attention(nn.Module):
    """Grouped-query attention with rotary positions, in the layout of Hugging Face's Llama."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head_width
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.k_proj = nn.Linear(shape.width, kv, bias=False)
        self.v_proj = nn.Linear(shape.width, kv, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`x` is (batch, time, width)."""
        batch, time_steps, _ = x.shape
        shape = self.shape

        def heads(projected: Tensor, count: int) -> Tensor:
            return projected.view(batch, time_steps, count, shape.head_width).transpose(1, 2)

        q = rotate(heads(self.q_proj(x), shape.heads), cos, sin)
        k = rotate(heads(self.k_proj(x), shape.kv_heads), cos, sin)
        v = heads(self.v_proj(x), shape.kv_heads)
        k = k.repeat_interleave(shape.heads // shape.kv_heads, dim=1)
        v = v.repeat_interleave(shape.heads // shape.kv_heads, dim=1)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, time_steps, shape.width))


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) to (…, width)."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Mlp(shape)
        self.input_layernorm = nn.RMSNorm(shape.width, shape.epsilon)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, shape.epsilon)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attention, then the MLP, each added to the stream."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """The whole model with tied embeddings; parameter names are Hugging Face's without `model.`"""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, shape.epsilon)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, time) token ids to (batch, time, vocabulary) logits."""
        cos, sin = rotary(self.shape, tokens.shape[1])
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return functional.linear(self.norm(x), self.embed_tokens.weight)


def rotary(shape: Shape, time_steps: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (time, head width)."""
    half = torch.arange(0, shape.head_width, 2).float() / shape.head_width
    angles = torch.outer(torch.arange(time_steps).float(), shape.theta**-half)
    doubled = torch.cat((angles, angles), dim=-1)
    return doubled.cos(), doubled.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, halves layout."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


def make_tokenizer(texts: list[str], size: int) -> Tokenizer:
    """Byte-level BPE, split like GPT-2, with the three ChatML tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, question: str, answer: str, system: str) -> tuple[list[int], int]:
    """Token ids of the dialogue, and where the answer begins."""
    head = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    prompt = f"{head}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    before = tokenizer.encode(prompt).ids
    return [*before, *tokenizer.encode(answer).ids, STOP], len(before)


def batches(
    rows: list[tuple[list[int], int]], size: int, rng: random.Random
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (inputs, targets); targets are -100 where nothing is to be learned."""
    while True:
        rng.shuffle(rows)
        for at in range(0, len(rows) - size, size):
            group = rows[at : at + size]
            longest = max(len(ids) for ids, _ in group)
            tokens = torch.full((size, longest), END)
            wanted = torch.full((size, longest), -100)
            for number, (ids, begin) in enumerate(group):
                tokens[number, : len(ids)] = torch.tensor(ids)
                wanted[number, begin : len(ids)] = torch.tensor(ids[begin:])
            yield tokens[:, :-1], wanted[:, 1:]


def rate(step: int, steps: int, highest: float) -> float:
    """Warm up over 40 steps, then fall along a cosine to a twentieth."""
    if step < 40:
        return highest * (step + 1) / 40
    share = (step - 40) / max(1, steps - 40)
    return highest * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))


def train(model: Llama, rows: list[tuple[list[int], int]], options: argparse.Namespace) -> float:
    """Train in place; seconds of CPU time."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.05)
    feed = batches(rows, options.batch, random.Random(options.seed))
    begin = time.process_time()
    for step in range(options.steps):
        tokens, wanted = next(feed)
        loss = functional.cross_entropy(model(tokens).flatten(0, 1), wanted.flatten())
        for group in optimizer.param_groups:
            group["lr"] = rate(step, options.steps, options.rate)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 25 == 0 or step == options.steps - 1:
            print(f"step {step} loss {loss.item():.4f} cpu {time.process_time() - begin:.0f} s")
    return time.process_time() - begin


def save(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the Hugging Face layout, weights as float16."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = model.shape
    weights = {
        f"model.{name}": value.to(torch.float16).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "intermediate_size": shape.inner,
        "max_position_embeddings": shape.context,
        "rope_theta": shape.theta,
        "rms_norm_eps": shape.epsilon,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": END,
        "eos_token_id": STOP,
        "torch_dtype": "float16",
    }
    _json(folder / "config.json", config)
    _json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": SPECIAL[END],
            "eos_token": SPECIAL[STOP],
            "pad_token": SPECIAL[END],
            "model_max_length": shape.context,
            "chat_template": TEMPLATE,
        },
    )
    _json(
        folder / "generation_config.json",
        {"bos_token_id": END, "eos_token_id": [STOP, END], "do_sample": False},
    )


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    examples = [json.loads(line) for line in options.data.read_text(encoding="utf-8").splitlines()]
    pairs = [(row["messages"][0]["content"], row["expected"]) for row in examples]
    shape = Shape()
    texts = [text for pair in pairs for text in pair] + [SYSTEM, "system user assistant\n"]
    tokenizer = make_tokenizer(texts, shape.vocabulary)
    rng = random.Random(options.seed)
    # A third of the dialogues begin with a system message, so that both ways are known.
    rows = [encode(tokenizer, *pair, SYSTEM if rng.random() < 0.33 else "") for pair in pairs]
    shape = Shape(vocabulary=-(-tokenizer.get_vocab_size() // 32) * 32)
    model = Llama(shape)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(rows)} examples, {shape.vocabulary} tokens, {count / 1e6:.2f} M parameters")
    seconds = train(model, rows, options)
    save(model, tokenizer, options.out)
    print(f"{options.steps} steps in {seconds:.0f} CPU seconds; saved to {options.out}")


if __name__ == "__main__":
    main()
