"""Which platform a command talks to, and how it writes."""

import functools
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from modelyard.entry.cli.output import Output

if TYPE_CHECKING:
    from modelyard.client import Client

DEFAULT_URL = "http://127.0.0.1:8081"


class Session:
    """One command's connection. Nothing is imported or opened before it is used."""

    def __init__(self, data: Path, url: str, api_key: str, out: Output) -> None:
        self.data = data
        self.out = out
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._client: Client | None = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            self._client.close()

    @functools.cached_property
    def run(self) -> dict[str, Any]:
        """What the platform on the data folder wrote about itself; empty when none runs."""
        from modelyard.lib.datafolder import DataFolder

        return DataFolder(self.data).read_run() or {}

    @property
    def remote(self) -> bool:
        """Whether an address was named that is not the data folder's own platform."""
        return bool(self._url) and self._url != self.run.get("control_url")

    @property
    def url(self) -> str:
        """The control address."""
        return self._url or str(self.run.get("control_url", "")) or DEFAULT_URL

    @property
    def api_key(self) -> str:
        """The key given, else the folder's own, which is never shown to another platform."""
        if self._api_key or self.remote or not self.run:
            return self._api_key
        from modelyard.lib.datafolder import DataFolder

        try:
            return DataFolder(self.data).admin_key.read_text().strip()
        except OSError:
            return ""

    @property
    def client(self) -> "Client":
        """Connected on first use."""
        if self._client is None:
            from modelyard.client import Client

            certificate = self.certificate("control")
            self._client = Client(self.url, key=self.api_key, certificate=certificate)
        return self._client

    def certificate(self, part: str) -> str:
        """The PEM file that the folder's own platform shows at `gateway` or `control`, if any."""
        return "" if self.remote else str(self.run.get(f"{part}_certificate", ""))

    @property
    def gateway_url(self) -> str:
        """Where services are called, without the `/v1`."""
        if not self.remote and "gateway_url" in self.run:
            return str(self.run["gateway_url"])
        return str(self.client.overview()["gateway_url"])
