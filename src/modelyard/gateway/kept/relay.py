"""A stream whose answer is kept: the events pass as another relay passes them, with our name of the
response in those that have it."""

import msgspec

from modelyard.domain.chat import Members
from modelyard.gateway.answers import Relay
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.fields import UNREADABLE
from modelyard.gateway.dialects.responses.metering import ENDS, kind_of
from modelyard.gateway.kept.keeping import Keeping
from modelyard.gateway.stream import StreamBroken
from modelyard.lib.sse import EventSplitter

_ITEM_DONE = "response.output_item.done"
_members = msgspec.json.Decoder(Members)


class KeptRelay:
    """See the module. The answer is kept before its last event is handed on."""

    def __init__(self, inner: Relay, keeping: Keeping) -> None:
        self.tally = inner.tally
        self.done = False
        self._inner = inner
        self._keeping = keeping
        self._splitter = EventSplitter()
        self._items: list[bytes] = []
        """Events that tell an item whole."""

    def feed(self, piece: bytes) -> bytes:
        """What to pass on of this piece. Raises StreamBroken, as the other relay does."""
        try:
            passed = self._inner.feed(piece)
        except StreamBroken as error:
            error.passed = self._renamed(error.passed)
            raise
        renamed = self._renamed(passed)
        self.done = self._inner.done
        return renamed

    def close(self) -> bytes:
        """The end of a stream without a mark of it."""
        renamed = self._renamed(self._inner.close())
        self.done = self._inner.done
        return renamed

    def broken(self, error: Told) -> bytes:
        """What tells that it broke off; nothing is kept of it."""
        return self._renamed(self._inner.broken(error))

    def _renamed(self, passed: bytes) -> bytes:
        events = self._splitter.feed(passed) if passed else ()
        return b"".join([self._event(raw, data) if data else raw for raw, data in events])

    def _event(self, raw: bytes, data: bytes) -> bytes:
        kind = kind_of(data)
        if kind == _ITEM_DONE:
            self._items.append(data)
        if kind.endswith(".delta") or b'"response"' not in data:
            return raw
        try:
            event = _members.decode(data)
            response = _members.decode(event.get("response", b""))
        except UNREADABLE:
            return raw  # no response in it
        keeping = self._keeping
        if kind in ENDS:
            event["response"] = _raw(keeping.finished(self._with_items(response)))
        else:
            event["response"] = _raw(keeping.begun(response))
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(event))

    def _with_items(self, response: Members) -> Members:
        """Some endpoints tell all items and then an end without them."""
        if not self._items or bytes(response.get("output", b"")) not in (b"", b"null", b"[]"):
            return response
        items = [_members.decode(data).get("item") for data in self._items]
        return {**response, "output": _raw([item for item in items if item is not None])}


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
