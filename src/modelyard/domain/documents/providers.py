"""The Provider document: an outside upstream, how it is reached and with which keys."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from modelyard.domain.documents import NAME, PROVIDER, Name, Part, checked, lifted
from modelyard.domain.documents.prices import PriceSpec
from modelyard.domain.providers.addresses import base_url, origin_of, problem_with
from modelyard.domain.providers.endpoints import Provider, dated
from modelyard.domain.providers.kinds import KINDS, STORE, Dialect, Kept, Lacked

HINT = "see docs/reference/providers.md"
MAX_KEYS = 64
MAX_HEADERS = 16

KindName = Literal[
    "openai", "anthropic", "azure", "gemini", "mistral", "openrouter", "ollama", "vllm",
    "deepseek", "groq", "xai", "compatible",
]  # fmt: skip
"""The names in `domain/providers/kinds.py`; a test compares them."""

_REFERENCE = re.compile(rf"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|{STORE}{NAME.pattern}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_API_VERSIONS = ("v1", "preview")
_OURS = frozenset({
    "authorization", "x-api-key", "api-key", "cookie", "host", "content-type", "content-length",
    "accept-encoding", "connection", "transfer-encoding", "upgrade", "expect", "te", "trailer",
    "x-request-id",
})  # fmt: skip
"""Headers that the gateway writes itself, or that would carry a key past `spec.keys`."""


class KeySpec(Part):
    """One key, by where its value is kept; the reference alone is enough."""

    secret: str
    """`env:NAME`, `file:/absolute/path` or `store:NAME`."""
    weight: float = Field(default=1.0, gt=0, le=1000)
    """Share of the requests beside the other keys of the provider."""

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, data: Any) -> Any:
        return {"secret": data} if isinstance(data, str) else data

    @field_validator("secret")
    @classmethod
    def _is_reference(cls, value: str) -> str:
        """What is refused may be the key itself, so it is never repeated."""
        if not _REFERENCE.fullmatch(value) or not value.isprintable():
            raise ValueError(
                "must be env:NAME, file:/absolute/path or store:NAME; "
                "the key itself does not belong in a document"
            )
        return value


class ProviderSpec(Part):
    """What is not given is what `domain/providers/kinds.py` knows of the kind."""

    kind: KindName
    url: str = Field(default="", max_length=512)
    keys: tuple[KeySpec, ...] = Field(default=(), max_length=MAX_KEYS)
    headers: dict[str, str] = Field(default={}, max_length=MAX_HEADERS)
    dialects: tuple[Dialect, ...] | None = Field(default=None, min_length=1)
    keeps: tuple[Kept, ...] | None = None
    """What it holds its models to; None: what is known of the kind."""
    lacks: tuple[Lacked, ...] | None = None
    """What it does not know; None: what is known of the kind."""
    api_version: str = ""
    """Azure only."""
    organization: str = ""
    """OpenAI only, as `project`."""
    project: str = ""
    models: tuple[str, ...] = Field(default=(), max_length=1000)
    """Those that services may use; empty: all."""
    prices: dict[str, PriceSpec] = Field(default={}, max_length=1000)
    """By the model's name there, in place of its list price; a service's own counts more."""

    @field_validator("prices")
    @classmethod
    def _no_replicas(cls, value: dict[str, PriceSpec]) -> dict[str, PriceSpec]:
        for model, price in value.items():
            if price.replica_usd_per_hour:
                raise ValueError(f"{model}: replica_usd_per_hour is for replicas of our own")
        return value

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        problem = problem_with(value) if value else ""
        if problem:
            raise ValueError(problem)
        return value

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if name.lower() in _OURS:
                raise ValueError(f"{name} is written by the gateway; keys belong into spec.keys")
            if not _TOKEN.fullmatch(name) or not (text.isascii() and text.isprintable()):
                raise ValueError(f"{name!r} is no header: one line of printable ASCII")
        return value

    @field_validator("models")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(name and name.isprintable() for name in value):
            raise ValueError("holds what is no name of a model")
        return value

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "ProviderSpec":
        for problem in (self._address_problem(), self._key_problem(), self._field_problem()):
            if problem:
                raise ValueError(problem)
        return self

    def _address_problem(self) -> str:
        if self.url or KINDS[self.kind].origin:
            return ""
        example = "https://HOST" if self.kind == "azure" else "http://HOST:8000/v1"
        return f"url is missing: kind {self.kind} has no address of its own; write {example}"

    def _key_problem(self) -> str:
        secrets = [key.secret for key in self.keys]
        if not secrets and KINDS[self.kind].needs_key:
            return f"keys is missing: kind {self.kind} needs one, such as {{secret: env:NAME}}"
        twice = next((one for one in secrets if secrets.count(one) > 1), "")
        return f"keys names {twice} twice; give it the weight 2 instead" if twice else ""

    def _field_problem(self) -> str:
        if self.kind != "openai" and (self.organization or self.project):
            return "organization and project are for kind openai"
        texts = (self.organization, self.project)
        if not all(text.isascii() and text.isprintable() for text in texts):
            return "organization and project are one line of printable ASCII"
        version = self.api_version
        if version and self.kind != "azure":
            return "api_version is for kind azure"
        if version and version not in _API_VERSIONS and not dated(version):
            return "api_version must be a date such as 2024-10-21, or preview, or v1"
        return ""

    @property
    def origin(self) -> str:
        """The place that its keys are sent to, and no other."""
        return origin_of(self.base)

    @property
    def base(self) -> str:
        """What stands before `/chat/completions`."""
        return base_url(KINDS[self.kind], self.url)

    @property
    def stored(self) -> list[str]:
        """Names of its keys in the store."""
        secrets = (key.secret for key in self.keys)
        return [one.removeprefix(STORE) for one in secrets if one.startswith(STORE)]


class ProviderDocument(Part):
    """The document a user writes."""

    api_version: Literal["modelyard/v1"] = Field(alias="apiVersion")
    kind: Literal["Provider"]
    name: Name
    spec: ProviderSpec


def parse(data: Any) -> ProviderDocument:
    """A checked document. Raises Invalid that lists every mistake with its path."""
    return checked(ProviderDocument, lifted(data, PROVIDER), hint=HINT)


def provider(name: str, spec: ProviderSpec) -> Provider:
    """The document with what its kind knows filled in; its own headers come last and replace the
    kind's of the same name."""
    kind = KINDS[spec.kind]
    given = {"OpenAI-Organization": spec.organization, "OpenAI-Project": spec.project}
    named = [(key, value) for key, value in given.items() if value]
    own = {key.lower() for key in spec.headers}
    known = [(key, value) for key, value in (*kind.headers, *named) if key.lower() not in own]
    return Provider(
        name=name,
        kind=spec.kind,
        url=spec.base,
        dialects=spec.dialects or kind.dialects,
        headers=(*known, *spec.headers.items()),
        api_version=spec.api_version,
        models=spec.models,
        keeps=kind.keeps if spec.keeps is None else spec.keeps,
        lacks=kind.lacks if spec.lacks is None else spec.lacks,
    )
