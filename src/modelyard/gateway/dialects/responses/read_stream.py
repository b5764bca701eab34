"""The events of an endpoint's stream.

An item's text comes in pieces, then whole at its end, then once more in the last event. Providers
leave out one or the other: what was said already is counted, and only the remainder is passed on.

Source: `response_stream_event.py` and the files it imports, of OpenAI's official SDK.
"""

import msgspec

from modelyard.domain.chat import (
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    Foreign,
    ReasoningPiece,
    RefusalPiece,
    Started,
    TextPiece,
    Used,
)
from modelyard.errors import Invalid
from modelyard.gateway.dialects.fields import Fields
from modelyard.gateway.dialects.responses.answer import (
    CALLS,
    Outline,
    failure_text,
    read_outline,
)
from modelyard.gateway.dialects.responses.content import NAME
from modelyard.gateway.dialects.responses.output import finish_of
from modelyard.gateway.dialects.responses.reasoning import unsealed
from modelyard.gateway.dialects.responses.stream_data import (
    ARGUMENTS,
    WHOLE,
    EventData,
    FollowedItem,
    FollowedItems,
    ItemHead,
    Place,
    Said,
    read_event,
    read_head,
)


class StreamReader:
    """Reads one stream. Events that it does not know say nothing here."""

    def __init__(self) -> None:
        self._items = FollowedItems()
        self._numbers = 0
        self._calls = 0
        self._has_refusal = False
        self._is_started = False
        self._is_over = False

    def feed(self, data: bytes) -> list[Event]:
        """What one event says. Raises Invalid for one that is no part of an answer."""
        event = read_event(data, _KNOWN)
        if event is None or self._is_over:
            return []
        if event.type in _FAILURES or (not event.type and bytes(event.error)):
            return self._failed(event, data)
        if not event.type:
            raise Invalid("an event of the stream has no type: it is no part of a response")
        step = _STEPS.get(event.type)
        events = step(self, event) if step is not None else []
        if events and not self._is_started and not isinstance(events[0], Started):
            self._is_started = True
            events.insert(0, Started())
        return events

    def _start(self, event: EventData) -> list[Event]:
        if self._is_started:
            return []
        self._is_started = True
        return [_started(_outline(event))]

    def _added(self, event: EventData) -> list[Event]:
        return self._begun(self._items.new(read_head(event.item), event.output_index))

    def _begun(self, item: FollowedItem) -> list[Event]:
        head = item.head
        if head.type not in CALLS or item.call is not None or not head.name:
            return []
        item.call = self._calls
        self._calls += 1
        is_custom = head.type == "custom_tool_call"
        return [CallBegun(item.call, head.call_id or head.id or "", head.name, is_custom)]

    def _text(self, event: EventData) -> list[Event]:
        return self._delta(event, "message", Place("text", event.content_index))

    def _refusal(self, event: EventData) -> list[Event]:
        return self._delta(event, "message", Place("refusal", event.content_index))

    def _thought(self, event: EventData) -> list[Event]:
        return self._delta(event, "reasoning", Place("thought", event.content_index))

    def _summary(self, event: EventData) -> list[Event]:
        return self._delta(event, "reasoning", Place("summary", event.summary_index))

    def _arguments(self, event: EventData) -> list[Event]:
        return self._delta(event, "function_call", ARGUMENTS)

    def _input(self, event: EventData) -> list[Event]:
        return self._delta(event, "custom_tool_call", ARGUMENTS)

    def _delta(self, event: EventData, kind: str, place: Place) -> list[Event]:
        """A piece, or the whole text at its end: then what is missing of it."""
        item = self._items.of(ItemHead(kind, event.item_id), event.output_index)
        if not event.type.endswith(".done"):
            return self._piece(item, place, event.delta or "")
        whole = event.text or event.refusal or event.arguments or event.input
        return self._remainder(item, place, whole or "")

    def _remainder(self, item: FollowedItem, place: Place, whole: str) -> list[Event]:
        said = item.said.get(place)
        return self._piece(item, place, whole[said.length if said is not None else 0 :])

    def _piece(self, item: FollowedItem, place: Place, text: str) -> list[Event]:
        if not text or (place.kind == "arguments" and item.call is None):
            return []  # of a call without a name nothing can be passed on before its end
        said = item.said.get(place)
        if said is None:
            said = item.said[place] = Said(self._numbers)
            self._numbers += 1
        said.length += len(text)
        return self._neutral(item, place, said.number, text)

    def _neutral(self, item: FollowedItem, place: Place, number: int, text: str) -> list[Event]:
        if place.kind == "text":
            return [TextPiece(text, number)]
        if place.kind == "refusal":
            self._has_refusal = True
            return [RefusalPiece(text)]
        if item.call is not None:
            return [CallPiece(item.call, text)]
        is_summary = place.kind == "summary"
        return [ReasoningPiece(text, id=item.id, is_summary=is_summary, part=number)]

    def _done(self, event: EventData) -> list[Event]:
        head = read_head(event.item)
        item = self._items.whole(head, event.output_index)
        return [] if item.is_done else self._complete(item, head, event.item)

    def _complete(self, item: FollowedItem, head: ItemHead, raw: msgspec.Raw) -> list[Event]:
        """A whole item: what is missing of it. The id is the one it began with."""
        item.is_done = True
        item.head = msgspec.structs.replace(head, id=item.id or head.id)
        fields = Fields(raw, "item")
        if head.type not in WHOLE:
            return [Foreign(NAME, head.type, raw)]
        events = self._begun(item)
        for place, text in WHOLE[head.type](fields):
            events += self._remainder(item, place, text)
        return events + self._sealed(item, fields.text("encrypted_content"))

    def _sealed(self, item: FollowedItem, sealed: str) -> list[Event]:
        """What closes a thought belongs to its last text."""
        if not sealed:
            return []
        kind, number = "thought", self._numbers
        if item.said:
            (kind, _), said = list(item.said.items())[-1]
            number = said.number
        else:
            self._numbers += 1
        signed = unsealed(sealed)
        signature, encrypted = (signed.signature, "") if signed is not None else ("", sealed)
        return [ReasoningPiece("", signature, encrypted, item.id, kind == "summary", number)]

    def _ended(self, event: EventData) -> list[Event]:
        outline = _outline(event)
        if outline.has_failed():
            return self._failed(event, bytes(event.response))
        events: list[Event] = []
        if not self._is_started:
            self._is_started = True
            events.append(_started(outline))
        if bytes(event.response):
            events += self._missing(event.response)
        usage = outline.used()
        if usage is not None:
            events.append(Used(usage))
        self._is_over = True
        return [*events, Ended(self._finish(event, outline))]

    def _finish(self, event: EventData, outline: Outline) -> str:
        status = outline.status or event.type.removeprefix("response.")
        reason = (outline.incomplete_details and outline.incomplete_details.reason) or ""
        return finish_of(status, reason, self._calls > 0, self._has_refusal)

    def _missing(self, response: msgspec.Raw) -> list[Event]:
        """What only the last event tells: items, or the ends of items."""
        whole = [raw for raw, _ in Fields(response, "response").list("output")]
        heads = [read_head(raw) for raw in whole]
        events: list[Event] = []
        for raw, head, came in zip(whole, heads, self._items.matching(heads), strict=False):
            item = came or self._items.new(head, None)
            if not item.is_done:
                events += self._complete(item, head, raw)
        return events

    def _failed(self, event: EventData, data: bytes) -> list[Event]:
        self._is_over = True
        events: list[Event] = [] if self._is_started else [Started()]
        error = event.error
        if bytes(event.response):
            outline = read_outline(event.response)
            error = outline.error
            usage = outline.used()
            if usage is not None:
                events.append(Used(usage))
        told = bytes(error)
        message = event.message or failure_text(error)
        return [*events, Failed(message, b'{"error":%s}' % told if told else data)]


def _outline(event: EventData) -> Outline:
    return read_outline(event.response) if bytes(event.response) else Outline()


def _started(outline: Outline) -> Started:
    return Started(outline.id or "", outline.model or "", int(outline.created_at or 0))


_FAILURES = ("error", "response.failed", "response.cancelled")
_STEPS = {
    "response.created": StreamReader._start,
    "response.queued": StreamReader._start,
    "response.in_progress": StreamReader._start,
    "response.output_item.added": StreamReader._added,
    "response.output_item.done": StreamReader._done,
    "response.output_text.delta": StreamReader._text,
    "response.output_text.done": StreamReader._text,
    "response.refusal.delta": StreamReader._refusal,
    "response.refusal.done": StreamReader._refusal,
    "response.reasoning_text.delta": StreamReader._thought,
    "response.reasoning_text.done": StreamReader._thought,
    "response.reasoning.delta": StreamReader._thought,
    "response.reasoning.done": StreamReader._thought,
    "response.reasoning_summary_text.delta": StreamReader._summary,
    "response.reasoning_summary_text.done": StreamReader._summary,
    "response.function_call_arguments.delta": StreamReader._arguments,
    "response.function_call_arguments.done": StreamReader._arguments,
    "response.custom_tool_call_input.delta": StreamReader._input,
    "response.custom_tool_call_input.done": StreamReader._input,
    "response.completed": StreamReader._ended,
    "response.incomplete": StreamReader._ended,
    "response.done": StreamReader._ended,
}
_KNOWN = frozenset({*_STEPS, *_FAILURES})
