"""Settings: where and how the processes run. Frozen, documented, working with none given.

Precedence: flags > environment `MODELYARD_SECTION__FIELD` > TOML file > default. An unknown key
is an error that names the nearest one. What the platform *does* is in documents, not here.
"""

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.errors import Invalid

_PREFIX = "MODELYARD_"
_WORDS = {"DATA", "URL", "API_KEY", "CONFIG", "DEBUG"}
"""Fixed words of the command line; they are no settings keys."""


@dataclass(frozen=True)
class TlsSettings:
    """TLS of one listening address; both empty means plain HTTP."""

    certificate: str = ""
    """PEM file with the certificate chain."""
    key: str = ""
    """PEM file with its private key."""


@dataclass(frozen=True)
class GatewaySettings:
    """The data plane."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback by default, because exposing a model is a decision."""
    port: int = 8080
    """0 lets the system choose; `run.json` tells which."""
    workers: int = 1
    """Gateway processes on the one port. What one core serves is in docs/benchmarks.md."""
    max_body_bytes: int = 20 * 1024 * 1024
    """Larger request bodies are refused with 413 before they are read whole."""
    max_header_bytes: int = 64 * 1024
    """Larger request heads are refused with 431."""
    header_timeout_s: float = 20.0
    """A client must send its request head within this time (slow-loris)."""
    body_timeout_s: float = 120.0
    """A client must send its body within this time."""
    idle_timeout_s: float = 75.0
    """A kept-alive connection without a request is closed after this time."""
    connect_timeout_s: float = 5.0
    """To reach an endpoint."""
    first_byte_timeout_s: float = 300.0
    """From the request sent until the first byte of the answer; long prompts need minutes."""
    stream_idle_timeout_s: float = 120.0
    """Between two pieces of a streamed answer."""
    max_connections: int = 10_000
    """Client connections per process; further ones are closed at once."""
    reserve_output_tokens: int = 1024
    """Tokens reserved for an answer whose request does not say how long it may be; what was not
    used is given back at its end."""
    spool_bytes: int = 256 * 1024 * 1024
    """Disk for records that the control plane has not yet taken, per process. Past it, new
    requests are refused with 503: no request goes unrecorded."""
    cache_bytes: int = 32 * 1024 * 1024
    """Memory for kept answers and their embeddings, per process; used only by services with
    `spec.cache`. Past it the least recently used go, first those of the tenant that has most."""
    kept_bytes: int = 2 * 1024**3
    """Disk for answers that requests may continue from, of all processes together; used only by
    services with `spec.content.responses`. Past it the oldest go first, whatever was promised."""
    tls: TlsSettings = field(default_factory=TlsSettings)


@dataclass(frozen=True)
class ControlSettings:
    """The control plane: API and pages."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8081
    """0 lets the system choose."""
    max_blob_bytes: int = 64 * 1024**3
    """Largest single model file."""
    records_retention_days: int = 30
    """Whole days of records older than this are dropped."""
    tls: TlsSettings = field(default_factory=TlsSettings)


@dataclass(frozen=True)
class StoreSettings:
    """Which adapters hold the state."""

    meta: str = "sqlite"
    """Registered name of the document store."""
    blobs: str = "local"
    """Registered name of the blob store."""
    records: str = "sqlite"
    """Registered name of the record store."""


@dataclass(frozen=True)
class ReplicaSettings:
    """How the process target keeps replicas."""

    restart_backoff_s: float = 0.5
    """First pause before a restart; doubles up to `restart_backoff_max_s`."""
    restart_backoff_max_s: float = 30.0
    """Longest pause before a restart."""
    breaker_crashes: int = 5
    """This many crashes within `breaker_window_s` open the breaker: no more restarts until the
    service is applied again or the window has passed."""
    breaker_window_s: float = 300.0
    """Window in which crashes are counted."""
    drain_timeout_s: float = 30.0
    """How long a stopping replica may finish what it works on."""
    memory_headroom_bytes: int = 256 * 1024 * 1024
    """Memory that must stay free after a replica's estimate is subtracted."""


@dataclass(frozen=True)
class Settings:
    """All of it. `data` is the one folder of state."""

    data: Path = Path("modelyard-data")
    """The data folder; relative to the working directory."""
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    control: ControlSettings = field(default_factory=ControlSettings)
    stores: StoreSettings = field(default_factory=StoreSettings)
    replicas: ReplicaSettings = field(default_factory=ReplicaSettings)


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None
) -> Settings:
    """Settings from all sources. Raises Invalid naming the key and its source.

    `flags` is nested like the dataclasses, without the flags that were not given.
    """
    merged: dict[str, Any] = {}
    if file is not None:
        _merge(merged, _read_toml(file), str(file))
    _merge(merged, _from_environment(environment), "environment")
    _merge(merged, flags, "flags")
    return _build(Settings, merged, "")  # type: ignore[no-any-return]


def to_json(settings: Settings) -> str:
    """For the processes that the supervisor starts."""
    return json.dumps(dataclasses.asdict(settings), default=str)


def from_json(text: str) -> Settings:
    """The inverse of `to_json`."""
    return _build(Settings, json.loads(text), "")  # type: ignore[no-any-return]


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"cannot read settings from {file}: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in environment.items():
        key = name.removeprefix(_PREFIX)
        if not name.startswith(_PREFIX) or (key != "DATA" and key in _WORDS):
            continue
        if key.startswith("INTERNAL_"):
            continue
        place = values
        *sections, last = key.lower().split("__")
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = text
    return values


def _merge(into: dict[str, Any], values: Mapping[str, Any], source: str) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            place = into.setdefault(key, {})
            if not isinstance(place, dict):
                raise Invalid(f"{source}: {key} is a value, not a section")
            _merge(place, value, source)
        else:
            into[key] = value


def _build(kind: type[Any], values: Any, path: str) -> Any:
    if not isinstance(values, Mapping):
        raise Invalid(f"settings {path.rstrip('.')} is a section, not a value")
    hints = typing.get_type_hints(kind)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {path}{near[0]}?" if near else f"known: {', '.join(fields)}"
            raise Invalid(f"unknown setting {path}{key}", hint=hint)
    return kind(**{key: _convert(fields[key], value, path + key) for key, value in values.items()})


def _convert(kind: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast(type[Any], kind), value, path + ".")
    if isinstance(kind, types.UnionType) or kind is bool:
        raise TypeError(f"{path}: settings hold only str, int, float, Path and sections")
    if not isinstance(value, str | int | float | Path) or isinstance(value, bool):
        raise Invalid(f"setting {path} must be {kind.__name__}, not {value!r}")
    try:
        return kind(value)
    except ValueError:
        raise Invalid(f"setting {path} must be {kind.__name__}, not {value!r}") from None
