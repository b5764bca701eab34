"""Request records: those there are, sums over them, and new ones as they come."""

import json
from collections.abc import Iterator
from typing import Any

from modelyard.client.calls import Calls, quoted


class RecordCalls(Calls):
    """What happened."""

    def requests(
        self, limit: int = 50, before_id: str = "", **filters: Any
    ) -> list[dict[str, Any]]:
        """Request records, newest first."""
        params = {"limit": limit, "before_id": before_id, **filters}
        return list(self._connection.call("GET", "/api/requests", params=params)["requests"])

    def request(self, request_id: str) -> dict[str, Any]:
        """One record and its attempts."""
        return self._connection.call("GET", f"/api/requests/{quoted(request_id)}")

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
