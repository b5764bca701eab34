"""Why an attempt did not work, in the words that decide what comes next."""

from typing import NamedTuple

from modelyard import errors
from modelyard.gateway.dialects.upstream_errors import UpstreamError


class Failure(NamedTuple):
    """`error` is what the client is told when nothing else can be tried."""

    error: errors.ModelyardError
    status: int = 0
    """Of the upstream's answer; 0 when there was none."""
    retry_after_s: float = 0.0
    """How long the upstream asked to be left alone."""
    told: tuple[UpstreamError, bytes] | None = None
    """The upstream's own error and headers, which the client gets instead of `error`."""
    blamed: bool = True
    """Whether it was the endpoint's fault."""
    final: bool = False
    """Whether there is no time left to try anything else."""
