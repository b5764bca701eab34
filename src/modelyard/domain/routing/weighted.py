"""Endpoints in proportion to weights that people gave them: keys and models of providers.

Of an outside provider nothing is known that a rule could weigh: it has no slots, its caches are not
ours to fill, and whose share is how large was decided by whoever pays. A rule for it is never
named in a document; it holds where the weights of a revision's endpoints differ.
"""

from collections.abc import Sequence

from modelyard.domain.routing.candidates import Candidate
from modelyard.domain.routing.rules import Choice, Request

_GOLDEN = 0.6180339887498949
"""The golden ratio's fraction: its multiples fall evenly into the unit interval, wherever one
begins (Weyl 1916), so that each weight gets its share of any stretch of turns."""


class Weighted:
    """Draws by weight among those that are given: who is left alone after a failure is not, and
    its share goes to the others by their weights."""

    uses_prefixes = False

    def choose(self, candidates: Sequence[Candidate], request: Request, turn: int) -> Choice:
        """See Rule."""
        weights = [one.weight for one in candidates]
        left = (turn * _GOLDEN % 1.0) * sum(weights)
        last = 0
        for at, weight in enumerate(weights):
            if weight <= 0:
                continue
            last = at
            left -= weight
            if left < 0:
                break
        return Choice(last, weights, "by weight")


def differ(weights: Sequence[float]) -> bool:
    """Whether there is anything to weigh."""
    return any(weight != weights[0] for weight in weights)
