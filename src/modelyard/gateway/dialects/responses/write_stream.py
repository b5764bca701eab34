"""The stream for a client.

`response.created` and `response.in_progress`, then the items one after another, and at the end the
whole response. Calls stay open until the end: pieces of several may come in turn.

Source: the streaming events of OpenAI's API reference, `response_stream_event.py` of its SDK.
"""

from typing import Any

from modelyard.domain.chat import (
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Foreign,
    ReasoningPiece,
    RefusalPiece,
    Request,
    Started,
    TextPiece,
    ToolCall,
    Usage,
    Used,
)
from modelyard.gateway.dialects.base import Told
from modelyard.gateway.dialects.responses.ids import Ids
from modelyard.gateway.dialects.responses.output import Item, ending
from modelyard.gateway.dialects.responses.refusals import failure
from modelyard.gateway.dialects.responses.resource import response, settings
from modelyard.gateway.dialects.responses.stream_items import (
    CallItem,
    MessageItem,
    OpenItem,
    ReasoningItem,
    Wire,
)
from modelyard.gateway.dialects.responses.tools import custom_tools


class StreamWriter:
    """Writes one stream; nothing more after its end or its failure."""

    def __init__(self, request: Request, request_id: str, now_s: int) -> None:
        self._request = request
        self._repeated = settings(request)
        self._custom_tools = custom_tools(request)
        self._wire = Wire()
        self._ids = Ids(request_id)
        self._now_s = now_s
        self._started: Started | None = None
        self._items: list[OpenItem | Item] = []
        self._open: MessageItem | ReasoningItem | None = None
        self._calls: dict[int, CallItem] = {}
        self._usage: Usage | None = None
        self._finish = "stop"
        self._is_over = False

    def write(self, event: Event) -> bytes:
        """What this event is here; empty where it is nothing yet. A `Failed` is nothing: whoever
        reads the stream then calls `fail` with what the client is to be told."""
        if self._is_over:
            return b""
        if isinstance(event, Started):
            self._start(event)
        elif self._started is None and not isinstance(event, Used | Ended):
            self._start(Started())
        self._add(event)
        return self._wire.taken()

    def end(self) -> bytes:
        """Closes all items and tells the whole response."""
        if self._is_over:
            return b""
        if self._started is None:
            self._start(Started())
        status, incomplete = ending(self._finish)
        last = len(self._items) - 1
        output = [
            _closed(item, status if at == last else "completed")
            for at, item in enumerate(self._items)
        ]
        whole = self._response(status, output, incomplete=incomplete)
        self._wire.send(f"response.{status}", response=whole)
        self._is_over = True
        return self._wire.taken()

    def fail(self, error: Told) -> bytes:
        """Tells the error; the items remain open, which no whole stream leaves them."""
        if self._is_over:
            return b""
        if self._started is None:
            self._start(Started())
        output = [_so_far(item) for item in self._items]
        failed = self._response("failed", output, error=failure(error))
        self._wire.send("response.failed", response=failed)
        self._is_over = True
        return self._wire.taken()

    def _start(self, event: Started) -> None:
        if self._started is not None:
            return
        self._started = event
        if event.id:
            self._ids = Ids(event.id)
        begun = self._response("in_progress", [])
        self._wire.send("response.created", response=begun)
        self._wire.send("response.in_progress", response=begun)

    def _add(self, event: Event) -> None:
        match event:
            case TextPiece():
                self._say("output_text", event.part, event.text)
            case RefusalPiece():
                self._say("refusal", 0, event.text)
            case ReasoningPiece():
                self._think(event)
            case CallBegun():
                self._call(event)
            case CallPiece():
                if event.arguments and event.index in self._calls:
                    self._calls[event.index].add(event.arguments)
            case Foreign():
                self._foreign(event)
            case Used():
                self._usage = event.usage
            case Ended():
                self._finish = event.finish

    def _say(self, kind: str, part: int, text: str) -> None:
        if not text:
            return
        message = self._open
        if not isinstance(message, MessageItem):
            self._close()
            message = MessageItem(self._wire, self._ids, len(self._items))
            self._open = message
            self._items.append(message)
        message.say(kind, part, text)

    def _think(self, piece: ReasoningPiece) -> None:
        item = self._open
        if not isinstance(item, ReasoningItem) or not item.takes(piece):
            if not (piece.text or piece.signature or piece.encrypted):
                return
            self._close()
            item = ReasoningItem(self._wire, self._ids, len(self._items), piece.id)
            self._open = item
            self._items.append(item)
        item.think(piece)

    def _call(self, event: CallBegun) -> None:
        self._close()
        call = ToolCall(event.id, event.name, "", event.custom)
        item = CallItem(self._wire, self._ids, len(self._items), call, self._custom_tools)
        self._calls[event.index] = item
        self._items.append(item)

    def _foreign(self, event: Foreign) -> None:
        """An item of a tool that runs at the endpoint comes whole."""
        if event.dialect != "responses":
            return
        self._close()
        at = {"output_index": len(self._items), "item": event.value}
        self._wire.send("response.output_item.added", **at)
        self._wire.send("response.output_item.done", **at)
        self._items.append(event.value)

    def _close(self) -> None:
        """Text and thoughts end where something else begins."""
        if self._open is not None:
            self._items[-1] = self._open.close("completed")
            self._open = None

    def _response(
        self,
        status: str,
        output: list[Item],
        incomplete: dict[str, str] | None = None,
        error: dict[str, str | None] | None = None,
    ) -> dict[str, Any]:
        started = self._started or Started()
        return response(
            self._repeated,
            id=self._ids.response,
            created_s=started.created_s or self._now_s,
            model=started.model or self._request.model,
            status=status,
            output=output,
            usage=self._usage,
            incomplete=incomplete,
            error=error,
            service_tier=self._request.service_tier,
        )


def _closed(item: OpenItem | Item, status: str) -> Item:
    return item.close(status) if isinstance(item, OpenItem) else item


def _so_far(item: OpenItem | Item) -> Item:
    return item.item("incomplete") if isinstance(item, OpenItem) else item
