"""The client of the control API: plain dictionaries in and out, errors of `modelyard.errors`.

from modelyard.client import Client

with Client.from_environment() as client:
    client.apply({"apiVersion": "modelyard/v1", "kind": "Service", ...})
"""

import contextlib
import os
from pathlib import Path
from typing import Any, Self

from modelyard.client.access import AccessCalls
from modelyard.client.models import ModelCalls
from modelyard.client.providers import ProviderCalls
from modelyard.client.records import RecordCalls
from modelyard.client.services import ServiceCalls
from modelyard.lib.connection import Connection
from modelyard.lib.datafolder import DataFolder

DEFAULT_URL = "http://127.0.0.1:8081"


class Client(ServiceCalls, ModelCalls, ProviderCalls, AccessCalls, RecordCalls):
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
