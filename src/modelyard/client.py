"""The client of the control API: plain dictionaries in and out, errors of `modelyard.errors`.

from modelyard.client import Client

with Client.from_environment() as client:
    client.apply({"apiVersion": "modelyard/v1", "kind": "Service", ...})
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from modelyard.client_providers import ProviderCalls
from modelyard.domain.models import formats, references
from modelyard.domain.models.paths import check_paths, hidden
from modelyard.domain.models.source import ModelSource
from modelyard.errors import Conflict, Invalid, TimedOut, Unavailable
from modelyard.lib import digests
from modelyard.lib.connection import Connection
from modelyard.lib.datafolder import DataFolder

DEFAULT_URL = "http://127.0.0.1:8081"
CHUNK_BYTES = 1024 * 1024
_ANY = -1
GATEWAYS_S = 5.0
"""How long a ready service waits for gateways that do not follow."""

Progress = Callable[[str, int, int], None]
"""Called with the file (`hash PATH`, `send PATH`, `get PATH`), bytes done, bytes in all."""


def _next_step(service: str, status: Mapping[str, Any]) -> str:
    """What to look at when a service is not ready."""
    if status.get("engine") == "provider":
        return "modelyard providers list; modelyard providers test NAME says what is wrong"
    if status["phase"] == "invalid" or status.get("engine") == "openai":
        return f"correct its document and apply it again; modelyard get services {service} -o yaml"
    return f"modelyard services logs {service} shows what its replicas wrote"


def _verdict(status: Mapping[str, Any]) -> tuple[str, str]:
    """The phase and message of a service, and once it is ready those of its canary."""
    canary = status.get("canary")
    if status["phase"] != "ready" or not canary or canary["phase"] in ("ready", "same"):
        return status["phase"], status["message"]
    return canary["phase"], f"canary: {canary['message']}"


def _silent(_what: str, _done: int, _total: int) -> None:
    return


class Client(ProviderCalls):
    """Speaks with one platform. Not for several threads at once."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str = "",
        timeout_s: float = 30.0,
        certificate: str = "",
    ) -> None:
        """`certificate` is a PEM file to trust instead of the system's authorities."""
        self._connection = Connection(url, key, timeout_s, certificate)
        self.url = self._connection.url

    @classmethod
    def from_environment(cls, data: Path | None = None) -> Self:
        """The platform that MODELYARD_URL and MODELYARD_API_KEY name, else the one that runs on
        the data folder (`data`, MODELYARD_DATA or ./modelyard-data). The folder's own key is
        never shown to another platform."""
        folder = DataFolder(data or Path(os.environ.get("MODELYARD_DATA") or "modelyard-data"))
        run = folder.read_run() or {}
        own = str(run.get("control_url") or DEFAULT_URL)
        url = (os.environ.get("MODELYARD_URL") or own).rstrip("/")
        key = os.environ.get("MODELYARD_API_KEY") or ""
        if not key and run and url == own:
            with contextlib.suppress(OSError):
                key = folder.admin_key.read_text().strip()
        certificate = str(run.get("control_certificate") or "") if url == own else ""
        return cls(url, key, certificate=certificate)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what it knows of itself -----------------------------------------------------------

    def whoami(self) -> dict[str, Any]:
        """Who this key is."""
        return self._connection.call("GET", "/api/whoami")

    def overview(self) -> dict[str, Any]:
        """Services, the last hour, latest failures, addresses."""
        return self._connection.call("GET", "/api/overview")

    def login_link(self) -> str:
        """A link that logs a browser in, once, within ten minutes."""
        return str(self._connection.call("POST", "/api/login-links")["url"])

    def audit(self, limit: int = 100, everything: bool = False) -> list[dict[str, Any]]:
        """Who changed what, newest first."""
        params = {"limit": limit, "all": everything}
        return list(self._connection.call("GET", "/api/audit", params=params)["entries"])

    # --- services --------------------------------------------------------------------------

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Store a document: `{kind, name, changed, generation}`."""
        return self._connection.call("POST", "/api/apply", json=document)

    def apply_all(self, documents: Sequence[Any]) -> list[dict[str, Any]]:
        """Store documents that may name each other: all of them or none."""
        body = {"documents": list(documents)}
        return list(self._connection.call("POST", "/api/apply", json=body)["applied"])

    def services(self) -> list[dict[str, Any]]:
        """All services: `{document, status, generation}`."""
        return list(self._connection.call("GET", "/api/services")["services"])

    def service(self, name: str) -> dict[str, Any]:
        """One service."""
        return self._connection.call("GET", f"/api/services/{_path(name)}")

    def gateways(self) -> dict[str, Any]:
        """`{generation, gateways}`: which snapshot each gateway process serves from."""
        return self._connection.call("GET", "/api/gateways")

    def delete_service(self, name: str, force: bool = False) -> dict[str, Any]:
        """Remove a service. Raises Conflict when other documents name it, unless `force`."""
        path = f"/api/services/{_path(name)}"
        return self._connection.call("DELETE", path, params={"force": force})

    def logs(self, service: str, replica: str, lines: int = 100) -> list[str]:
        """The end of a replica's output."""
        path = f"/api/services/{_path(service)}/replicas/{_path(replica)}/logs"
        return list(self._connection.call("GET", path, params={"lines": lines})["lines"])

    def wait_ready(
        self,
        service: str,
        timeout_s: float = 120.0,
        on_change: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> dict[str, Any]:
        """The service once what its document says is ready, and the gateways know it; a moved alias
        counts, too.

        Raises Unavailable with the reason when it failed or is invalid, TimedOut.
        """
        deadline_s = time.monotonic() + timeout_s
        last: Any = None
        while True:
            found = self.service(service)
            status = found["status"] or {}
            if status != last:
                last = status
                on_change(found)
            if status.get("generation") == found["generation"] and self._runs_wanted(found):
                phase, message = _verdict(status)
                if phase == "ready":
                    self._wait_for_gateways(min(deadline_s, time.monotonic() + GATEWAYS_S))
                    return found
                if phase in ("failed", "invalid"):
                    raise Unavailable(
                        f"service {service} is {phase}: {message}",
                        hint=_next_step(service, status),
                    )
            if time.monotonic() > deadline_s:
                text = status.get("message") or "the reconciler has not seen it yet"
                raise TimedOut(f"service {service} is not ready after {timeout_s:g} s: {text}")
            time.sleep(0.15)

    def _wait_for_gateways(self, deadline_s: float) -> None:
        """Until every gateway process serves from what is stored now. One that does not answer is
        not waited for beyond the deadline: the service is ready all the same."""
        wanted = self.gateways()["generation"]
        while any(one["generation"] < wanted for one in self.gateways()["gateways"]):
            if time.monotonic() > deadline_s:
                return
            time.sleep(0.02)

    def _runs_wanted(self, found: Mapping[str, Any]) -> bool:
        """Whether the status speaks of the versions that the document's references mean now. An
        alias moves without a change of the document."""
        spec, status = found["document"]["spec"], found["status"]
        own = spec.get("model") or ""
        canary = status.get("canary")
        second = (spec.get("canary") or {}).get("model")
        return self._is_wanted(own, status) and (
            canary is None or self._is_wanted(own if second is None else second, canary)
        )

    def _is_wanted(self, reference: str, status: Mapping[str, Any]) -> bool:
        if not reference or status["phase"] in ("failed", "invalid"):
            return True
        wanted = self.version(reference)
        return bool(status["model_version"] == f"{wanted['name']}:{wanted['version']}")

    # --- models ----------------------------------------------------------------------------

    def models(self) -> list[dict[str, Any]]:
        """All models."""
        return list(self._connection.call("GET", "/api/models")["models"])

    def model(self, name: str) -> dict[str, Any]:
        """`{model, generation, versions}`."""
        return self._connection.call("GET", f"/api/models/{_path(name)}")

    def version(self, reference: str) -> dict[str, Any]:
        """The version that a reference such as `name@production` means now."""
        parsed = references.parse(reference)
        place = str(parsed.version or "") or parsed.alias or parsed.digest or "latest"
        return self._connection.call(
            "GET", f"/api/models/{_path(parsed.name)}/versions/{_path(place)}"
        )

    def push(
        self,
        path: Path,
        name: str,
        *,
        alias: str | None = None,
        profile: Mapping[str, Any] | None = None,
        card: str | None = None,
        on_progress: Progress = _silent,
    ) -> dict[str, Any]:
        """Push a file or folder: only content that is not there yet is sent. The version, with
        `created` saying whether it is new. Raises Invalid before anything is sent when the files
        are no whole model."""
        references.check_name(name)
        sources = _sources(path)
        kept = formats.inspect([source for source, _ in sources]).files
        local = {source.path: place for source, place in sources}
        files = [
            {
                "path": source.path,
                "digest": _hashed(local[source.path], source.path, on_progress),
                "size_bytes": source.size_bytes,
            }
            for source in kept
        ]
        sizes = {str(file["digest"]): file["size_bytes"] for file in files}
        wanted = {"digests": list(sizes), "sizes": sizes}
        missing = set(self._connection.call("POST", "/api/blobs/missing", json=wanted)["missing"])
        for file in files:
            if file["digest"] in missing:
                self._send(local[str(file["path"])], file, on_progress)
                missing.discard(file["digest"])
        body = {"files": files, "alias": alias, "card": card or "", "profile": dict(profile or {})}
        return self._connection.call(
            "POST", f"/api/models/{_path(name)}/versions", json=body, timeout=300.0
        )

    def _send(self, path: Path, file: Mapping[str, Any], on_progress: Progress) -> None:
        size = path.stat().st_size

        def content() -> Iterator[bytes]:
            done = 0
            for chunk in _chunks(path):
                yield chunk
                done += len(chunk)
                on_progress(f"send {file['path']}", done, size)

        self._connection.call(
            "PUT",
            f"/api/blobs/{file['digest']}",
            content=content(),
            headers={"content-length": str(size)},
            timeout=httpx.Timeout(30.0, read=600.0, write=600.0),
        )

    def pull(self, reference: str, folder: Path, on_progress: Progress = _silent) -> list[Path]:
        """Write the files of a version into a folder, each whole and checked or not at all.

        Raises Conflict when a file is there with another content.
        """
        version = self.version(reference)
        check_paths(file["path"] for file in version["files"])
        return [self._get_file(file, folder, on_progress) for file in version["files"]]

    def _get_file(self, file: Mapping[str, Any], folder: Path, on_progress: Progress) -> Path:
        path: Path = folder / str(file["path"])
        if path.exists():
            if digests.of_file(path) == file["digest"]:
                return path
            raise Conflict(f"{path} exists with another content", hint="pull into another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as out:
                self._download(file, out.write, on_progress)
            if digests.of_file(partial) != file["digest"]:
                raise Unavailable(f"{file['path']} arrived damaged", hint="pull it again")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def _download(
        self, file: Mapping[str, Any], write: Callable[[bytes], Any], on_progress: Progress
    ) -> None:
        done = 0
        path = f"/api/blobs/{_path(file['digest'])}"
        with self._connection.stream(path) as answer:
            for chunk in answer.iter_bytes(CHUNK_BYTES):
                write(chunk)
                done += len(chunk)
                on_progress(f"get {file['path']}", done, file["size_bytes"])

    def set_alias(
        self, name: str, alias: str, version: int, expected: int | None = _ANY
    ) -> dict[str, Any]:
        """Point an alias at a version, if it points at `expected` now (None: nowhere)."""
        body = {"version": version, "expected": expected}
        return self._connection.call(
            "PUT", f"/api/models/{_path(name)}/aliases/{_path(alias)}", json=body
        )

    def remove_alias(self, name: str, alias: str) -> dict[str, Any]:
        """Remove an alias."""
        return self._connection.call("DELETE", f"/api/models/{_path(name)}/aliases/{_path(alias)}")

    # --- limits ----------------------------------------------------------------------------

    def limits(self) -> list[dict[str, Any]]:
        """All limits: `{document, generation, problem}`."""
        return list(self._connection.call("GET", "/api/limits")["limits"])

    def limit(self, name: str) -> dict[str, Any]:
        """One limit."""
        return self._connection.call("GET", f"/api/limits/{_path(name)}")

    def set_limit(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Store a Limit document in place of the former one of that name."""
        return self._connection.call("POST", "/api/limits", json=document)

    def delete_limit(self, name: str) -> dict[str, Any]:
        """Remove a limit."""
        return self._connection.call("DELETE", f"/api/limits/{_path(name)}")

    # --- keys and records ------------------------------------------------------------------

    def keys(self) -> list[dict[str, Any]]:
        """All keys, without their secrets."""
        return list(self._connection.call("GET", "/api/keys")["keys"])

    def create_key(self, **fields: Any) -> dict[str, Any]:
        """A new key; `key` in the answer is shown only this once."""
        return self._connection.call("POST", "/api/keys", json=fields)

    def limit_key(
        self, key_id: str, limits: Mapping[str, Any], priority: str = ""
    ) -> dict[str, Any]:
        """Change what a key may use; a bound that is None is taken away, others stay."""
        body = {"limits": dict(limits), "priority": priority}
        return self._connection.call("PATCH", f"/api/keys/{_path(key_id)}", json=body)

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        """End a key."""
        return self._connection.call("DELETE", f"/api/keys/{_path(key_id)}")

    def requests(
        self, limit: int = 50, before_id: str = "", **filters: Any
    ) -> list[dict[str, Any]]:
        """Request records, newest first."""
        params = {"limit": limit, "before_id": before_id, **filters}
        return list(self._connection.call("GET", "/api/requests", params=params)["requests"])

    def request(self, request_id: str) -> dict[str, Any]:
        """One record and its attempts."""
        return self._connection.call("GET", f"/api/requests/{_path(request_id)}")

    def metrics(
        self, group_by: str = "", bucket_us: int = 0, since_us: int = 0, **filters: Any
    ) -> list[dict[str, Any]]:
        """Sums and percentiles."""
        params = {"group_by": group_by, "bucket_us": bucket_us, "since_us": since_us, **filters}
        return list(self._connection.call("GET", "/api/metrics/requests", params=params)["rows"])

    def live(self) -> Iterator[dict[str, Any]]:
        """New request records as they come, until the caller stops or the platform does."""
        with self._connection.stream("/api/live") as answer:
            event = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event == "request":
                    yield json.loads(line[6:])


def _path(text: str) -> str:
    return quote(text, safe=":@")


def _sources(path: Path) -> list[tuple[ModelSource, Path]]:
    """The files of a path, as the registry will name them."""
    if path.is_file():
        return [(_source(path, path.name), path)]
    if not path.is_dir():
        raise Invalid(f"{path} does not exist", hint="give a file or a folder")
    root = path.resolve()
    found = []
    for place in sorted(path.rglob("*")):
        if not place.is_file():
            continue
        name = place.relative_to(path).as_posix()
        if hidden(name):
            continue
        if not place.resolve().is_relative_to(root):
            raise Invalid(f"{name} is a link out of {path}", hint="put the file itself there")
        found.append((_source(place, name), place))
    return found


def _source(path: Path, name: str) -> ModelSource:
    return ModelSource(name, path.stat().st_size, lambda: path.open("rb"))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _hashed(path: Path, name: str, on_progress: Progress) -> str:
    total = path.stat().st_size
    hashed, done = hashlib.sha256(), 0
    for chunk in _chunks(path):
        hashed.update(chunk)
        done += len(chunk)
        on_progress(f"hash {name}", done, total)
    return f"sha256:{hashed.hexdigest()}"
