"""What the parts of the client have in common."""

from typing import Any
from urllib.parse import quote

from modelyard.domain.models import references
from modelyard.lib.connection import Connection


class Calls:
    """A part of the client: its calls go through the one connection."""

    _connection: Connection


def quoted(text: str) -> str:
    """A name as one segment of a path."""
    return quote(text, safe=":@")


class VersionCalls(Calls):
    """What both services and models ask about."""

    def version(self, reference: str) -> dict[str, Any]:
        """The version that a reference such as `name@production` means now."""
        parsed = references.parse(reference)
        place = str(parsed.version or "") or parsed.alias or parsed.digest or "latest"
        return self._connection.call(
            "GET", f"/api/models/{quoted(parsed.name)}/versions/{quoted(place)}"
        )
