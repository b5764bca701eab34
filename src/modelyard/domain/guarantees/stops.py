"""Stop strings, for endpoints that do not know them."""

from collections.abc import Sequence


class StopCutter:
    """Takes a text in pieces and gives back what stands before the stop string that is complete
    first, whatever the pieces are.

    What may be the beginning of one is held back until it is clear whether it is.
    """

    __slots__ = ("_held", "_stops", "matched")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.matched = ""
        """The stop string that was met; nothing comes any more then."""

    def feed(self, text: str) -> str:
        """What may be shown of the text so far."""
        if self.matched:
            return ""
        whole = self._held + text
        found = [
            (at + len(stop), at, stop) for stop in self._stops if (at := whole.find(stop)) >= 0
        ]
        if found:
            _, at, self.matched = min(found)
            self._held = ""
            return whole[:at]
        keep = max((_begun(whole, stop) for stop in self._stops), default=0)
        self._held = whole[len(whole) - keep :]
        return whole[: len(whole) - keep]

    def rest(self) -> str:
        """The text is over: what was held back was no stop string."""
        held, self._held = self._held, ""
        return held


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of a stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
