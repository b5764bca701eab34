"""Server-sent events (WHATWG HTML §9.2) as far as model answers use them."""


class EventSplitter:
    """Cuts a byte stream into whole events, keeping their exact bytes.

    `feed` returns `(raw, data)` per finished event: the bytes as received, blank line included,
    and the joined content of its `data:` lines (`b""` for comments and other fields). `pending`
    is what has not ended yet.
    """

    __slots__ = ("_searched", "pending")

    def __init__(self) -> None:
        self.pending = bytearray()
        self._searched = 0
        """How much of `pending` holds no mark: a long event is not searched anew each time."""

    def feed(self, piece: bytes) -> list[tuple[bytes, bytes]]:
        """All events that `piece` completes."""
        buffer = piece
        if self.pending:
            self.pending += piece
            if _end_of_event(self.pending, self._searched, _MARKS) < 0:
                self._searched = max(0, len(self.pending) - _LONGEST_MARK + 1)
                return []
            buffer = bytes(self.pending)
            self.pending = bytearray()
        events: list[tuple[bytes, bytes]] = []
        marks = _MARKS if b"\r" in buffer else _MARKS[:1]
        at = 0
        while (end := _end_of_event(buffer, at, marks)) > 0:
            raw = buffer[at:end]
            events.append((raw, event_data(raw)))
            at = end
        if at < len(buffer):
            self.pending += buffer[at:]
            self._searched = max(0, len(self.pending) - _LONGEST_MARK + 1)
        return events


_MARKS = (b"\n\n", b"\r\n\r\n", b"\r\r")
_LONGEST_MARK = 4


def _end_of_event(buffer: bytes | bytearray, start: int, marks: tuple[bytes, ...]) -> int:
    """Where the event that begins at `start` ends; each mark is looked for before the last one
    found, so that a long piece is not searched anew for every event in it."""
    end = -1
    for mark in marks:
        at = buffer.find(mark, start, end if end > 0 else len(buffer))
        if at >= 0:
            end = at + len(mark)
    return end


def event_data(raw: bytes) -> bytes:
    """The joined `data` field of one event."""
    if raw.startswith(b"data: ") and raw.count(b"\n") == 2 and b"\r" not in raw:
        return raw[6:-2]  # by far the most common shape: one line
    lines = [line[5:].removeprefix(b" ") for line in raw.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
