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
        while (end := _end_of_event(buffer)) > 0:
            raw, buffer = buffer[:end], buffer[end:]
            events.append((raw, event_data(raw)))
        self.pending = buffer
        return events


def _end_of_event(buffer: bytes) -> int:
    ends = [
        at + len(mark) for mark in (b"\n\n", b"\r\n\r\n", b"\r\r") if (at := buffer.find(mark)) >= 0
    ]
    return min(ends, default=-1)


def event_data(raw: bytes) -> bytes:
    """The joined `data` field of one event."""
    if raw.startswith(b"data: ") and raw.count(b"\n") == 2 and b"\r" not in raw:
        return raw[6:-2]  # by far the most common shape: one line
    lines = [line[5:].removeprefix(b" ") for line in raw.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
