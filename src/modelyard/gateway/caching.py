"""A request and the caches: asked before dispatch, told of every ending, never waited for twice."""

from typing import TYPE_CHECKING

from modelyard.domain.caching.flights import Flights
from modelyard.errors import ModelyardError
from modelyard.gateway import detached, endings
from modelyard.gateway.answers import Cached
from modelyard.gateway.cache import Lookup, StreamCopy
from modelyard.gateway.dialects import embeddings
from modelyard.gateway.render import as_stream, as_whole
from modelyard.gateway.routes import EMBEDDINGS
from modelyard.gateway.verdict import NEXT, Verdict
from modelyard.lib import clock

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange


def look_up(exchange: "Exchange") -> Verdict:
    """Answer from the cache, wait for an equal request that is under way, or go on."""
    assert exchange.service is not None
    assert exchange.variant is not None
    if not exchange.route.cached:
        return NEXT
    rules, revision = exchange.service.spec.cache, exchange.variant.revision
    found = exchange.gateway.cache.look_up(
        rules,
        tenant=exchange.record.tenant,
        route=exchange.route.path,
        versions=(revision.id, revision.model_digest, _embedder(exchange)),
        body=exchange.body,
        cache_control=exchange.head.headers.get(b"cache-control", b""),
        now_s=clock.monotonic_s(),
    )
    if found is None:
        return NEXT
    seat = exchange.seat = Seat(exchange, found)
    return seat.begin()


def _embedder(exchange: "Exchange") -> str:
    """The revision that embeds: vectors of another one say nothing here."""
    assert exchange.service is not None
    semantic = exchange.service.spec.cache.semantic
    if semantic is None:
        return ""
    service = exchange.gateway.catalog.named(exchange.record.tenant, semantic.service)
    return service.stable.revision.id if service is not None else ""


class Seat:
    """One request's place at the caches: what was found, whom it leads or follows."""

    def __init__(self, exchange: "Exchange", found: Lookup) -> None:
        self._exchange = exchange
        self._found = found
        self._leads = False
        self._copy: StreamCopy | None = None
        self._embedding: Exchange | None = None

    @property
    def mark(self) -> str:
        """The value of `x-modelyard-cache`."""
        return self._found.mark

    @property
    def _flights(self) -> "Flights[bytes]":
        return self._exchange.gateway.cache.flights

    # --- before dispatch -------------------------------------------------------------------

    def begin(self) -> Verdict:
        """A hit answers; a follower waits; a leader asks for the meaning, if that is compared."""
        found = self._found
        if found.answer:
            self._give(found.answer)
            return Verdict.DONE
        if found.joins:
            self._leads = self._flights.join(found.key, self)
            if not self._leads:
                self._exchange.waits = self
                return Verdict.WAIT
        return Verdict.WAIT if found.text and self._embed() else NEXT

    def cancel(self) -> None:
        """The request waits no more; called by the exchange when it ends."""
        if self._embedding is not None:
            self._embedding.cancel()

    def _embed(self) -> bool:
        exchange, rules = self._exchange, self._found.rules.semantic
        assert rules is not None
        service = exchange.gateway.catalog.named(exchange.record.tenant, rules.service)
        if service is None:
            return False
        body = embeddings.request_for(service.spec.name, self._found.text)
        sink = detached.Sink(self._take_vector)
        exchange.waits = self
        self._embedding = detached.send(exchange, service, EMBEDDINGS, body, sink)
        return True

    def _take_vector(self, status: int, body: bytes) -> None:
        """Whatever the embedding service did wrong, the request goes on without it."""
        self._embedding = None
        exchange = self._exchange
        if exchange.is_over:
            return
        try:
            near = status == 200 and exchange.gateway.cache.find_similar(
                self._found, embeddings.vector_of(body), clock.monotonic_s()
            )
        except ModelyardError:
            near = False
        if near:
            self._share(self._found.answer)
            self._give(self._found.answer)
        else:
            exchange.resume_soon()

    def _give(self, answer: bytes) -> None:
        exchange = self._exchange
        self._found.mark = "hit"
        seen = exchange.seen
        assert seen is not None
        if not seen.stream:
            endings.with_cached(exchange, Cached(answer), as_whole(answer), stream=False)
            return
        options = seen.stream_options
        usage = bool(options is not None and options.include_usage)
        events = as_stream(answer, include_usage=usage)
        endings.with_cached(exchange, Cached(answer), events, stream=True)

    # --- while and after upstream answers --------------------------------------------------

    def sees(self, data: bytes) -> None:
        """Bytes of the upstream's stream, before anything is taken out of them."""
        if not self._found.keeps or self._exchange.translator is not None:
            return  # what a translated stream says is not what its client is told
        if self._copy is None:
            self._copy = StreamCopy()
        self._copy.feed(data)

    def retried(self) -> None:
        """The stream so far is worth nothing: another attempt begins."""
        self._copy = None

    def answered(self, status: int, body: bytes | None) -> None:
        """Upstream has answered in full; `body` None: its stream is in the copy."""
        if body is None:
            body = self._copy.whole() if self._copy is not None else None
        reason = "not_whole"
        if body is not None:
            now_s = clock.monotonic_s()
            reason = self._exchange.gateway.cache.keep(self._found, status, body, now_s)
        if not reason and body is not None:
            self._share(body)
        else:
            self._part()

    def failed(self) -> None:
        """If this one still leads, nothing came of its call: one of those who wait tries it."""
        if self._leads:
            self._leads = False
            self._flights.failed(self._found.key, self)

    def client_left(self) -> bool:
        """Whether the call upstream goes on, because others wait for it."""
        return self._found.joins and self._flights.leave(self._found.key, self)

    def _share(self, answer: bytes) -> None:
        if self._leads:
            self._leads = False
            self._flights.answered(self._found.key, self, answer)

    def _part(self) -> None:
        """What came cannot be shared: each calls for itself."""
        if self._leads:
            self._leads = False
            self._flights.scatter(self._found.key, self)

    # --- flights.Waiter --------------------------------------------------------------------

    def flight_answered(self, answer: bytes) -> None:
        """See `Waiter`."""
        self._give(answer)

    def flight_lead(self) -> None:
        """See `Waiter`."""
        self._leads = True
        self._exchange.resume()

    def flight_deserted(self) -> None:
        """See `Waiter`."""
        endings.deserted(self._exchange)
