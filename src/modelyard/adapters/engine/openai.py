"""Outside upstreams: any URLs that speak OpenAI. Nothing is launched."""

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from modelyard.errors import Invalid
from modelyard.ports.engine import LaunchSpec, ResolvedModel

_KNOWN = ("urls", "secret", "model", "slots", "cancels_without_stream")


class OpenAIEngine:
    """`engine: {name: openai, urls: [http://…/v1], secret: env:NAME, model: upstream-name}`."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def plan(self, model: ResolvedModel | None, options: Mapping[str, Any]) -> LaunchSpec:
        """See the port. Raises Invalid for a URL, secret or option that cannot work."""
        for name in options:
            if name not in _KNOWN:
                known = ", ".join(_KNOWN)
                raise Invalid(
                    f"spec.engine.{name}: unknown option of openai", hint=f"known: {known}"
                )
        if model is not None:
            raise Invalid(
                "engine openai serves outside URLs and takes no spec.model",
                hint="remove spec.model; the upstream's name for it goes to spec.engine.model",
            )
        return LaunchSpec(
            engine="openai",
            urls=_urls(options.get("urls")),
            api_key=self._secret(options.get("secret", "")),
            upstream_model=_of(str, options, "model", ""),
            slots=_of(int, options, "slots", 0),
            cancels_without_stream=_of(bool, options, "cancels_without_stream", True),
        )

    def _secret(self, reference: Any) -> str:
        if reference == "":
            return ""
        if not isinstance(reference, str) or not reference.startswith("env:"):
            raise Invalid(
                "spec.engine.secret: must be env:NAME, the environment variable with the key",
                hint="the key itself does not belong in a document",
            )
        name = reference.removeprefix("env:")
        value = self._environment.get(name, "")
        if not value:
            raise Invalid(
                f"spec.engine.secret: the environment variable {name} is not set",
                hint=f"set {name} where `modelyard up` is started, and start it again",
            )
        return value


def _urls(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise Invalid("spec.engine.urls: must list at least one base URL, such as http://host/v1")
    return tuple(_url(index, url) for index, url in enumerate(value))


def _url(index: int, url: Any) -> str:
    parts = urlsplit(url) if isinstance(url, str) else None
    try:
        good = parts and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise Invalid(f"spec.engine.urls[{index}]: {url!r} is not an http(s) URL")
    base = str(url).rstrip("/")
    return base if base.endswith("/v1") else base + "/v1"


def _of(kind: Callable[[Any], Any], options: Mapping[str, Any], name: str, default: Any) -> Any:
    value = options.get(name, default)
    if type(value) is not kind:
        raise Invalid(f"spec.engine.{name}: {value!r} is not a {getattr(kind, '__name__', kind)}")
    return value
