"""From a file or an outside URL to a ready service."""

import re
from pathlib import Path
from typing import Any

from modelyard.entry.cli.keys import curl_line
from modelyard.entry.cli.models import push_version
from modelyard.entry.cli.services import wait_ready
from modelyard.entry.cli.session import Session
from modelyard.entry.cli.upstream import choose_model
from modelyard.errors import Invalid, NotFound

WAIT_US = 10 * 60 * 10**6


def is_url(source: str) -> bool:
    """Whether it is an outside upstream."""
    return source.startswith(("http://", "https://"))


def check(
    source: str,
    *,
    name: str,
    context_tokens: int | None,
    secret: str,
    upstream_model: str,
) -> None:
    """Raises Invalid for what cannot work, before anything is started."""
    service_name(source, name)
    if is_url(source):
        if context_tokens is not None:
            raise Invalid("--context-tokens is for files; an outside URL decides for itself")
        return
    if secret or upstream_model:
        raise Invalid("--secret and --upstream-model are for an outside URL")
    path = Path(source)
    if not path.exists():
        raise Invalid(f"{source} does not exist", hint="give a .gguf file, a folder or a URL")
    if path.is_dir() and any(path.glob("*.safetensors")) and not any(path.glob("*.gguf")):
        raise Invalid(
            f"{source} holds safetensors; the engine on this machine (llama.cpp) runs GGUF",
            hint="convert it with llama.cpp's convert_hf_to_gguf.py, or serve the folder with vLLM "
            "and run its URL; `modelyard models push` keeps the folder as a version",
        )


def service_name(source: str, name: str = "") -> str:
    """The name given, else one made of the file's or host's name."""
    if name:
        return name
    if is_url(source):
        raw = re.sub(r"^https?://([^/:@]*@)?", "", source).partition("/")[0].partition(":")[0]
    else:
        path = Path(source).resolve()
        raw = path.name if path.is_dir() else path.stem
    words = re.sub(r"[^a-z0-9._-]+", "-", raw.lower())[:63].strip("._-")
    if not words:
        raise Invalid(f"no name can be made of {source!r}", hint="give one with --name")
    return words


def serve(
    session: Session,
    source: str,
    *,
    name: str,
    context_tokens: int | None,
    secret: str,
    upstream_model: str,
) -> str:
    """Push what must be pushed, apply the service, wait until it is ready; its name."""
    chosen = service_name(source, name)
    if is_url(source):
        upstream_model = upstream_model or choose_model(source, secret, chosen)
        document = _outside(chosen, source, secret, upstream_model)
    else:
        version = push_version(session, Path(source), chosen)
        reference = f"{chosen}:{version['version']}"
        verb = "pushed" if version.get("created", True) else "is there already"
        session.out.note(f"model {reference} {verb}")
        document = _with_model(_known(session, chosen), chosen, reference, context_tokens)
    session.client.apply(document)
    wait_ready(session, chosen, WAIT_US)
    return chosen


def _known(session: Session, name: str) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = session.client.service(name)["document"]
    except NotFound:
        return None
    return document


def _outside(name: str, url: str, secret: str, upstream_model: str) -> dict[str, Any]:
    engine: dict[str, Any] = {"name": "openai", "urls": [url]}
    if secret:
        engine["secret"] = secret
    if upstream_model:
        engine["model"] = upstream_model
    return _document(name, {"engine": engine})


def _with_model(
    known: dict[str, Any] | None, name: str, reference: str, context_tokens: int | None
) -> dict[str, Any]:
    """A service that exists keeps all that was said about it, except which version it runs.

    The version is named by number: to run a file moves no alias that others may follow.
    """
    spec = dict((known or {}).get("spec", {}))
    engine = dict(spec.get("engine") or {})
    if engine.get("name", "xllamacpp") == "openai":
        raise Invalid(
            f"service {name} serves an outside URL", hint="choose another name with --name"
        )
    engine.setdefault("name", "xllamacpp")
    if context_tokens is not None:
        engine["context_tokens"] = context_tokens
    return _document(name, {**spec, "model": reference, "engine": engine})


def _document(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "modelyard/v1", "kind": "Service", "name": name, "spec": spec}


def say_ready(session: Session, name: str) -> None:
    """Where it is called, with a line to paste."""
    key = "$(cat " + str(session.data / "admin.key") + ")" if not session.remote else "KEY"
    facts = {"service": name, "gateway_url": session.gateway_url, "control_url": session.url}
    session.out.answer(facts, lambda: session.out.line(f"{name} is ready", "bold green"))
    session.out.line("  " + curl_line(session.gateway_url, key, name))
