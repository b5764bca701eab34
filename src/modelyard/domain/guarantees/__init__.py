"""What an answer must be because the request said so, and what is done where an engine does not
see to it itself.

`promise` reads what was promised and finds what breaks it; `schemas` compiles JSON schemas;
`treatment` decides between relying on an endpoint, checking it and emulating what it lacks;
`emulation` puts the request into words that it does know, and its answer back; `stops` cuts a text
at a stop string. All of it is decided from values: nothing here waits or keeps state of its own.
"""

from modelyard.domain.guarantees.emulation import (
    asked_in_words,
    calling,
    repaired,
    turned_to_call,
    without_fence,
)
from modelyard.domain.guarantees.promise import Fault, Promise, broken, promise_of
from modelyard.domain.guarantees.schemas import Schemas
from modelyard.domain.guarantees.spending import added
from modelyard.domain.guarantees.stops import StopCutter
from modelyard.domain.guarantees.treatment import Treatment, treatment_of

__all__ = [
    "Fault", "Promise", "Schemas", "StopCutter", "Treatment", "added", "asked_in_words", "broken",
    "calling", "promise_of", "repaired", "treatment_of", "turned_to_call", "without_fence",
]  # fmt: skip
