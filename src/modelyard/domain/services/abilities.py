"""What a service's document says its model can do, and how it is asked to fill in the middle."""

from pydantic import Field

from modelyard.domain.documents import Part

FAMILIES = {
    "qwen": "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>",
    "codegemma": "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>",
    "starcoder": "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>",
    "granite": "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>",
    "codellama": "<PRE> {prefix} <SUF>{suffix} <MID>",
    "deepseek": "<\uff5cfim\u2581begin\uff5c>{prefix}<\uff5cfim\u2581hole\uff5c>{suffix}"
    "<\uff5cfim\u2581end\uff5c>",
    "codestral": "[SUFFIX]{suffix}[PREFIX]{prefix}",
}
"""How families of code models were taught to fill in the middle, by their model cards."""
_MOST_TOKENS = 1_000_000_000


def is_template(text: str) -> bool:
    """Whether both halves have one place in it."""
    return text.count("{prefix}") == 1 and text.count("{suffix}") == 1


class CapabilitiesSpec(Part):
    """What is not given is what the engine or the provider's model is known for."""

    chat: bool | None = None
    tools: bool | None = None
    images: bool | None = None
    audio: bool | None = None
    reasoning: bool | None = None
    structured_output: bool | None = None
    fim: bool | None = None
    embeddings: bool | None = None
    rerank: bool | None = None
    context_tokens: int = Field(default=0, ge=0, le=_MOST_TOKENS)
    max_output_tokens: int = Field(default=0, ge=0, le=_MOST_TOKENS)
