"""llama.cpp from the `xllamacpp` wheel: one process per replica, no compiler, CPU by default."""

import dataclasses
import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.domain.snapshot.capabilities import Capabilities
from modelyard.errors import Invalid
from modelyard.ports.engine import LaunchSpec, ModelFile, ResolvedModel

DEFAULT_CONTEXT_TOKENS = 4096
MAX_CONTEXT_TOKENS = 4 * 1024 * 1024
BASE_BYTES = 160 * 1024 * 1024
"""The process itself with its compute buffers, measured on small models."""
_KV_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes per element of the key-value cache; quantized blocks hold 32 elements and a scale."""


@dataclass(frozen=True)
class Options:
    """What `engine:` of a service document may say for this engine."""

    context_tokens: int = 0
    """Tokens of prompt and answer that one request may use; 0: the model's own, at most 4096."""
    slots: int = 4
    """Requests worked on at once (continuous batching)."""
    threads: int = 0
    """Compute threads; 0: the cores that the target gives the replica."""
    batch_tokens: int = 512
    """Prompt tokens computed in one step."""
    kv_cache: str = "f16"
    """Type of the key-value cache: f16, q8_0 or q4_0."""
    spin_count: int = 10_000
    """How long compute threads spin before they sleep (GOMP_SPINCOUNT). High is faster on idle
    cores and ruinous on shared ones."""


_BOUNDS = {
    "context_tokens": (0, MAX_CONTEXT_TOKENS),
    "slots": (1, 256),
    "threads": (0, 1024),
    "batch_tokens": (32, 8192),
    "spin_count": (0, 2**31),
}


class XllamacppEngine:
    """Plans replicas that run `xllamacpp_server` on a GGUF file."""

    def plan(self, model: ResolvedModel | None, options: Mapping[str, Any]) -> LaunchSpec:
        """See the port. Raises Invalid for unknown options and models that do not fit."""
        if model is None:
            raise Invalid(
                "engine xllamacpp needs a model",
                hint="set spec.model to a reference such as support-bot@production",
            )
        chosen = _options(options)
        first = _first_file(model)
        context = _context(chosen, model)
        return LaunchSpec(
            engine="xllamacpp",
            command=_command(chosen, first, context, model.name),
            environment={
                "GOMP_SPINCOUNT": str(chosen.spin_count),
                "MODELYARD_ENGINE_API_KEY": "{api_key}",
            },
            files={str(file.local): file.digest for file in model.files},
            upstream_model=model.name,
            # llama.cpp computes an unstreamed answer to its end though nobody waits for it.
            cancels_without_stream=False,
            tells_prompt=True,
            dialects=("chat", "count_tokens"),
            capabilities=_capabilities(model, context),
            keeps=("json_object", "json_schema"),
            # It answers with plain text, whatever the chat template says of tools; what comes
            # behind a text, and that it is said again, it takes no notice of.
            lacks=("tool_choice", "echo", "suffix"),
            slots=chosen.slots,
            memory_bytes=_memory_bytes(model, context * chosen.slots, chosen.kv_cache),
        )


def _options(given: Mapping[str, Any]) -> Options:
    fields = {field.name: field.type for field in dataclasses.fields(Options)}
    for name, value in given.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            known = ", ".join(fields)
            raise Invalid(
                f"spec.engine.{name}: unknown option of xllamacpp",
                hint=f"did you mean {near[0]!r}?" if near else f"known: {known}",
            )
        _check(name, value)
    return Options(**given)


def _check(name: str, value: Any) -> None:
    if name == "kv_cache":
        if value not in _KV_BYTES:
            raise Invalid(f"spec.engine.kv_cache: {value!r} is none of {', '.join(_KV_BYTES)}")
        return
    low, high = _BOUNDS[name]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Invalid(f"spec.engine.{name}: must be a whole number from {low} to {high}")


def _capabilities(model: ResolvedModel, context: int) -> Capabilities:
    """Without a chat template of its own, a model answers in one that it was not taught."""
    data = model.metadata
    return Capabilities(
        chat=data.get("has_chat_template"),
        tools=data.get("has_tools_template"),
        images=False,
        audio=False,
        structured_output=True,
        fim=False,
        embeddings=False,
        rerank=False,
        context_tokens=context,
    )


def _first_file(model: ResolvedModel) -> ModelFile:
    """The file to load; of a split model the first part, which names the others."""
    files = sorted(file for file in model.files if file.path.endswith(".gguf"))
    if not files:
        raise Invalid(
            f"{model.name}:{model.version} is {model.format}; engine xllamacpp runs GGUF",
            hint="push a GGUF of it, or run it on vLLM and serve its URL with engine: openai",
        )
    return files[0]


def _context(options: Options, model: ResolvedModel) -> int:
    trained = int(model.metadata.get("context_tokens") or 0)
    if not options.context_tokens:
        return min(trained or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
    if trained and options.context_tokens > trained:
        raise Invalid(
            f"spec.engine.context_tokens: {options.context_tokens} is more than the {trained} "
            f"that {model.name}:{model.version} was trained for",
            hint=f"use at most {trained}",
        )
    return options.context_tokens


def _memory_bytes(model: ResolvedModel, tokens: int, kv_cache: str) -> int:
    """Weights, key-value cache of all slots, and the process; a model whose header does not tell
    its shape counts without the cache."""
    data = model.metadata
    weights = sum(file.size_bytes for file in model.files)
    per_token = 2 * int(data.get("layers") or 0) * int(data.get("kv_heads") or 0)
    cache = per_token * int(data.get("head_dim") or 0) * _KV_BYTES[kv_cache] * tokens
    return int(weights + cache) + BASE_BYTES


def _command(options: Options, file: ModelFile, context: int, name: str) -> tuple[str, ...]:
    return (
        sys.executable, "-m", "modelyard.adapters.engine.xllamacpp_server",
        "--model", str(file.local),
        "--alias", name,
        "--context", str(context * options.slots),
        "--slots", str(options.slots),
        "--threads", str(options.threads) if options.threads else "{cores}",
        "--batch", str(options.batch_tokens),
        "--kv-cache", options.kv_cache,
    )  # fmt: skip
