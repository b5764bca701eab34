"""How a promise is kept at one endpoint: by the engine, by a look at what it answers, or by asking
it for something that it does know."""

from collections.abc import Collection
from typing import NamedTuple

from modelyard.domain.guarantees.promise import Promise


class Treatment(NamedTuple):
    """See the module."""

    worded: str = ""
    """The form of the text that is asked for in words: the endpoint does not know it."""
    emulated: bool = False
    """Whether the call is asked for as JSON: the endpoint does not know `tool_choice`."""
    constrained: bool = False
    """Whether the endpoint can be held to a schema in place of what it does not know."""
    json_mode: bool = False
    """Whether it can at least be held to some JSON object."""
    holds: bool = False
    """Whether a stream is held until all of it has been looked at."""

    @property
    def rewrites(self) -> bool:
        """Whether the endpoint is asked something else than the client asked."""
        return bool(self.worded) or self.emulated


def treatment_of(
    promise: Promise,
    keeps: Collection[str],
    lacks: Collection[str],
    *,
    forms: str = "auto",
    tools: str = "auto",
) -> Treatment:
    """What suits the promise at an endpoint that keeps and lacks these; `forms` and `tools` are
    the modes of the service (`auto`, `native`, `checked`)."""
    emulated = bool(promise.must_call) and "tool_choice" in lacks
    worded = promise.form if promise.form in lacks and not emulated else ""
    return Treatment(
        worded=worded,
        emulated=emulated,
        constrained="json_schema" not in lacks,
        json_mode="json_object" not in lacks,
        holds=bool(worded)
        or emulated
        or (bool(promise.form) and _holds(forms, promise.form in keeps))
        or (bool(promise.must_call) and _holds(tools, "tool_choice" in keeps))
        or (bool(promise.strict) and tools == "checked"),
    )


def _holds(mode: str, is_kept: bool) -> bool:
    return mode == "checked" or (mode == "auto" and not is_kept)
