"""Documents of any kind that people write."""

from typing import Any

from modelyard.domain import services
from modelyard.domain.documents import LIMIT, SERVICE, lifted, limits

Written = services.ServiceDocument | limits.LimitDocument


def parse(data: Any) -> Written:
    """A checked document of the kind that it says. Raises Invalid with every mistake."""
    current = lifted(data, SERVICE, LIMIT)
    return services.parse(current) if current["kind"] == SERVICE else limits.parse(current)
