"""Outside providers: what is known of each kind, and what a gateway needs to call one.

A gateway process imports this, so nothing here needs more than the standard library and the
snapshot. The document that people write is in `domain/documents/providers.py`.
"""

from modelyard.domain.providers.addresses import base_url, origin_of, path_of
from modelyard.domain.providers.endpoints import Provider, credentials, endpoint, labels
from modelyard.domain.providers.kinds import DIALECTS, KINDS, ROUTES, Dialect, Kind, Upstream

__all__ = [
    "DIALECTS",
    "KINDS",
    "ROUTES",
    "Dialect",
    "Kind",
    "Provider",
    "Upstream",
    "base_url",
    "credentials",
    "endpoint",
    "labels",
    "origin_of",
    "path_of",
]
