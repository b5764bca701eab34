"""What one request has to do with kept responses: before dispatch the conversation that it
continues is put in front of its input, and its answer is kept before the last bytes of it go.

Upstreams are told to store nothing: what is kept is kept here, for as long as the service's
document says.
"""

from typing import TYPE_CHECKING

import msgspec

from modelyard.domain.chat import Members
from modelyard.errors import Invalid
from modelyard.gateway.dialects.fields import UNREADABLE, is_null
from modelyard.gateway.dialects.refusals import unsupported_parameter
from modelyard.gateway.kept.conversation import Conversation, Reader, items_of
from modelyard.gateway.kept.entry import Entry
from modelyard.gateway.kept.store import Place
from modelyard.gateway.kept.upstream import for_upstream
from modelyard.gateway.verdict import NEXT, Verdict
from modelyard.lib import clock

if TYPE_CHECKING:
    from modelyard.gateway.endpoints import Endpoint
    from modelyard.gateway.exchange import Exchange

DIALECT = "responses"
_KEPT = frozenset({"completed", "incomplete"})
"""How an answer ended that may be continued from."""
_NOTHING = msgspec.Raw(b"null")
_FALSE, _TRUE = msgspec.Raw(b"false"), msgspec.Raw(b"true")
_NO_ITEMS = msgspec.Raw(b"[]")
_members = msgspec.json.Decoder(Members)


class Asked(msgspec.Struct):
    """What a request says of keeping."""

    input: msgspec.Raw = _NO_ITEMS
    store: bool | None = None
    previous_response_id: str | None = None
    background: bool | None = None
    conversation: msgspec.Raw = _NOTHING


_asked = msgspec.json.Decoder(Asked)


def keep(exchange: "Exchange") -> Verdict:
    """The step: read what the request says of keeping, and the conversation that it continues.
    Raises Invalid, NotFound, TooLarge."""
    if exchange.route.dialect != DIALECT:
        return NEXT
    keeping = exchange.keeping
    if keeping is None:
        keeping = exchange.keeping = _begin(exchange)
    if keeping is None:
        return NEXT
    if not keeping.recall():
        exchange.again(0.0)
        return Verdict.WAIT
    keeping.rewrite()
    return NEXT


def _begin(exchange: "Exchange") -> "Keeping | None":
    """None for a request that wants nothing kept and continues from nothing."""
    asked = _read(exchange.body)
    if asked.background:
        raise unsupported_parameter("background", "asks for an answer that is fetched later")
    if not is_null(asked.conversation):
        raise unsupported_parameter(
            "conversation", "names a conversation that is stored elsewhere; here there is "
            "previous_response_id for that"
        )  # fmt: skip
    if asked.store is False and not asked.previous_response_id:
        return None
    return Keeping(exchange, asked)


def _read(body: bytes) -> Asked:
    try:
        return _asked.decode(body)
    except msgspec.ValidationError as error:
        raise Invalid(str(error), code="invalid_request_error") from None


class Keeping:
    """See the module; one for each request."""

    def __init__(self, exchange: "Exchange", asked: Asked) -> None:
        assert exchange.lane is not None
        lane, gateway = exchange.lane, exchange.gateway
        self.previous = asked.previous_response_id or ""
        self.stores = asked.store is not False
        self._exchange = exchange
        self._input = _NO_ITEMS if is_null(asked.input) else asked.input
        self._service = lane.service.spec
        self._key = key = lane.caller.key
        self._place: Place | None = None
        self._placed_us = 0
        self._recalled = 0
        """So many of the items are from earlier turns."""
        catalog = gateway.catalog
        reader = Reader(
            gateway.kept, key, lambda name: catalog.service(key, name) is not None, clock.now_us()
        )
        most_bytes = gateway.settings.max_body_bytes
        self._conversation = Conversation(reader, self.previous, most_bytes)

    # --- before dispatch -------------------------------------------------------------------

    def recall(self) -> bool:
        """Read some of the conversation; whether all of it is there."""
        return self._conversation.walk()

    def rewrite(self) -> None:
        """From here on the request is one with the whole conversation in it: it is counted,
        limited, routed and sent as such."""
        exchange = self._exchange
        members = _members.decode(exchange.body)
        members.pop("previous_response_id", None)
        new = items_of(self._input)
        if self.previous:
            recalled = self._conversation.items()
            self._recalled = len(recalled)
            members["input"] = msgspec.Raw(msgspec.json.encode([*recalled, *new]))
        members["store"] = _FALSE
        exchange.body = msgspec.json.encode(members)
        exchange.seen = exchange.route.inspect(exchange.body)

    def upstream_body(self, endpoint: "Endpoint") -> bytes:
        """The request for an endpoint that speaks the dialect itself."""
        kind = endpoint.spec.provider_kind
        return for_upstream(self._exchange.body, self._recalled, kind)

    # --- the answer ------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """By which the answer will be known; empty where it is not kept, and its own id stays."""
        if self.stores and self._place is None and not self._placed_us:
            self._placed_us = clock.now_us()
            self._place = self._exchange.gateway.kept.place(
                self._key.tenant, self._service.content.responses_keep_s, self._placed_us
            )
        return self._place.id if self._place is not None else ""

    def answered(self, body: bytes) -> bytes:
        """A whole answer, kept and named by us."""
        try:
            members = _members.decode(body)
        except UNREADABLE:
            return body
        return msgspec.json.encode(self.finished(members))

    def begun(self, response: Members) -> Members:
        """The response of an event before the last one: named as it will be."""
        return self._named(response, is_kept=bool(self.id))

    def finished(self, response: Members) -> Members:
        """The response at its end: kept, if it ended well, and named by us."""
        is_kept = self.stores and _ended_well(response) and bool(self.id)
        named = self._named(response, is_kept=is_kept)
        return named if not is_kept or self._put(named) else {**named, "store": _FALSE}

    def _named(self, response: Members, *, is_kept: bool) -> Members:
        changed: Members = {"store": _TRUE if is_kept else _FALSE}
        if self.id:
            changed["id"] = _text(self.id)
        if self.previous:
            changed["previous_response_id"] = _text(self.previous)
        return {**response, **changed}

    def _put(self, response: Members) -> bool:
        assert self._place is not None
        key, keep_us = self._key, round(self._service.content.responses_keep_s * 1_000_000)
        entry = Entry(
            tenant=key.tenant,
            key_id=key.id,
            team=key.team,
            person=key.person,
            service=self._service.name,
            created_at_us=self._placed_us,
            expires_at_us=self._placed_us + keep_us,
            previous=self.previous,
            input=self._input,
            output=response["output"],
        )
        rest = {name: value for name, value in response.items() if name != "output"}
        return self._exchange.gateway.kept.put(self._place, entry, msgspec.json.encode(rest))


def _ended_well(response: Members) -> bool:
    """Some endpoints name no status."""
    status = response.get("status")
    output = response.get("output", _NOTHING)
    known = status is None or is_null(status) or bytes(status).strip(b'"').decode() in _KEPT
    return known and bytes(memoryview(output)[:1]) == b"["


def _text(value: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
