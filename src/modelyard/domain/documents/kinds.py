"""Documents of any kind that people write."""

from typing import Any

from modelyard.domain import services
from modelyard.domain.documents import LIMIT, PROVIDER, SERVICE, lifted, limits, providers

Written = services.ServiceDocument | limits.LimitDocument | providers.ProviderDocument


def parse(data: Any) -> Written:
    """A checked document of the kind that it says. Raises Invalid with every mistake."""
    current = lifted(data, SERVICE, LIMIT, PROVIDER)
    if current["kind"] == SERVICE:
        return services.parse(current)
    return limits.parse(current) if current["kind"] == LIMIT else providers.parse(current)
