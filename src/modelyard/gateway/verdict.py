"""How a request goes on after a step."""

from enum import Enum, auto


class Verdict(Enum):
    """What a step says."""

    NEXT = auto()
    WAIT = auto()
    """Somebody will call `Exchange.resume`."""
    DONE = auto()
    """It has been answered."""


NEXT = Verdict.NEXT
