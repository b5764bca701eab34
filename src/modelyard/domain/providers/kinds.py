"""The table of kinds: where a provider is, what it speaks, how it wants to be shown a key.

A new kind is one entry here and its name in the document's list of kinds. What a document says
itself (`url`, `headers`, `dialects`) always counts more.
"""

from typing import Literal, NamedTuple

Dialect = Literal["chat", "responses", "messages", "count_tokens"]
DIALECTS: tuple[Dialect, ...] = ("chat", "responses", "messages")
"""What an endpoint may speak natively: OpenAI chat completions, OpenAI responses, Anthropic
messages. `count_tokens` is Anthropic's count of a question, which some speak without the rest."""

Kept = Literal["json_object", "json_schema", "tool_choice"]
"""What an endpoint may hold its model to, by a constraint on what it can write."""
Lacked = Literal[
    "json_object", "json_schema", "tool_choice", "logprobs", "n", "stop", "echo", "suffix"
]
"""What an endpoint may not know, or take no notice of. `echo` and `suffix` are of completions."""

STORE = "store:"
"""References to keys that the platform keeps itself begin with it."""

ROUTES = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/models",
)
"""Route paths of ours that may be called something else at a provider."""


PASSED = (
    "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations",
    "/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/moderations",
    "/v1/rerank", "/v1/score", "/v1/classify", "/v1/pooling", "/v1/ocr", "/v1/fim/completions",
)  # fmt: skip
"""Route paths that are passed on as they are, for every service: each asks a model for something
and changes nothing where it goes."""


class Upstream(NamedTuple):
    """One place that may answer for a service: a model of a provider, and its share."""

    provider: str
    model: str
    weight: float = 1.0


class Kind(NamedTuple):
    """What is known of one kind of provider."""

    dialects: tuple[str, ...]
    origin: str = ""
    """Where it is unless the document says so; empty: the document must."""
    base: str = "/v1"
    """The path before `/chat/completions`, for a URL that has none."""
    completes: bool = False
    """Whether a URL with another path is completed to end in `base`, as its own clients do."""
    auth: str = "bearer"
    """How a key is shown: `bearer`, `x-api-key` or `api-key`."""
    headers: tuple[tuple[str, str], ...] = ()
    max_tokens_name: str = "max_tokens"
    """What it calls the bound on an answer's tokens in chat completions."""
    needs_key: bool = True
    check: str = "/models"
    """The path behind the base that answers only to a key that is valid."""
    keeps: tuple[Kept, ...] = ()
    lacks: tuple[Lacked, ...] = ()


def _https(host: str) -> str:
    return f"https://{host}"


_ALL_KEPT: tuple[Kept, ...] = ("json_object", "json_schema", "tool_choice")

KINDS: dict[str, Kind] = {
    # platform.openai.com/docs/api-reference
    "openai": Kind(
        ("chat", "responses"),
        _https("api.openai.com"),
        max_tokens_name="max_completion_tokens",
        keeps=_ALL_KEPT,
    ),
    # docs.anthropic.com/en/api/versioning
    "anthropic": Kind(
        ("messages", "count_tokens"),
        _https("api.anthropic.com"),
        completes=True,
        auth="x-api-key",
        headers=(("anthropic-version", "2023-06-01"),),
        # docs.anthropic.com/en/docs/build-with-claude/structured-outputs; there is no JSON mode
        keeps=("json_schema", "tool_choice"),
        lacks=("json_object",),
    ),
    # learn.microsoft.com/azure/foundry/openai/api-version-lifecycle
    "azure": Kind(
        ("chat", "responses"),
        base="/openai/v1",
        completes=True,
        auth="api-key",
        max_tokens_name="max_completion_tokens",
        keeps=_ALL_KEPT,
    ),
    # ai.google.dev/gemini-api/docs/openai
    "gemini": Kind(("chat",), _https("generativelanguage.googleapis.com"), "/v1beta/openai"),
    # docs.mistral.ai/api
    "mistral": Kind(("chat",), _https("api.mistral.ai")),
    # openrouter.ai/docs/api-reference; anybody may list its models, only a key may see itself
    "openrouter": Kind(("chat", "responses"), _https("openrouter.ai"), "/api/v1", check="/key"),
    # docs.ollama.com/api/openai-compatibility and anthropic-compatibility
    "ollama": Kind(
        DIALECTS,
        "http://127.0.0.1:11434",
        needs_key=False,
        keeps=("json_object", "json_schema"),
        lacks=("tool_choice", "n"),
    ),
    # docs.vllm.ai/en/stable/serving/online_serving.html, features/tool_calling
    "vllm": Kind(DIALECTS, needs_key=False, keeps=_ALL_KEPT),
    # api-docs.deepseek.com/api/create-chat-completion
    "deepseek": Kind(("chat",), _https("api.deepseek.com"), base="", lacks=("json_schema", "n")),
    # console.groq.com/docs/openai
    "groq": Kind(("chat",), _https("api.groq.com"), "/openai/v1", lacks=("logprobs", "n")),
    # docs.x.ai/api
    "xai": Kind(("chat",), _https("api.x.ai")),
    "compatible": Kind(("chat",), needs_key=False),
}
"""By the word in `spec.kind`; the source of each entry is beside it."""
