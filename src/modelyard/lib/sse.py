"""Server-sent events (WHATWG HTML §9.2) as far as model answers use them."""


class EventSplitter:
    """Cuts a byte stream into whole events, keeping their exact bytes.

    `feed` returns `(raw, data)` per finished event: the bytes as received, blank line included,
    and the joined content of its `data:` lines (`b""` for comments and other fields). `pending`
    is what has not ended yet.
    """

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending = b""

    def feed(self, piece: bytes) -> list[tuple[bytes, bytes]]:
        """All events that `piece` completes."""
        buffer = self.pending + piece if self.pending else piece
        events: list[tuple[bytes, bytes]] = []
        marks = _MARKS if b"\r" in buffer else _MARKS[:1]
        at = 0
        while (end := _end_of_event(buffer, at, marks)) > 0:
            raw = buffer[at:end]
            events.append((raw, event_data(raw)))
            at = end
        self.pending = buffer[at:]
        return events


_MARKS = (b"\n\n", b"\r\n\r\n", b"\r\r")


def _end_of_event(buffer: bytes, start: int, marks: tuple[bytes, ...]) -> int:
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
