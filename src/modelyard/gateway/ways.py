"""Which of the ways of answering fits a request and the endpoint that it goes to."""

from typing import TYPE_CHECKING

from modelyard.gateway.answers import Answering, Assembled, Relay, Streamed, Whole
from modelyard.gateway.body import Inspected
from modelyard.gateway.checking import Watched
from modelyard.gateway.endpoints import Endpoint
from modelyard.gateway.kept.relay import KeptRelay
from modelyard.gateway.native import EventRelay, WholeInDialect
from modelyard.gateway.passing import Passing
from modelyard.gateway.stream import StreamRelay, Tally
from modelyard.gateway.translated import Folded, TranslatingRelay

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange


def choose(exchange: "Exchange", seen: Inspected, endpoint: Endpoint) -> Answering:
    """The way that fits."""
    translator = exchange.translator
    if translator is not None:
        if seen.stream:
            return _streamed(exchange, TranslatingRelay(Tally(), translator))
        return Folded(exchange, translator)
    route = exchange.route
    if route.native is not None:
        if seen.stream:
            return _streamed(exchange, EventRelay(Tally(), route.native))
        return WholeInDialect(exchange, route.native)
    if route.passes:
        return Passing(exchange)
    if not route.streams:
        return Whole(exchange)
    if seen.stream:
        return _streamed(exchange, _relay(seen))
    return Whole(exchange) if endpoint.cancels_without_stream else Assembled(exchange)


def _streamed(exchange: "Exchange", relay: Relay) -> Streamed:
    """What was promised of the answer is looked at on its way, and only then it is kept."""
    if exchange.pledge is not None:
        relay = Watched(exchange, relay)
    if exchange.keeping is not None:
        relay = KeptRelay(relay, exchange.keeping)
    return Streamed(exchange, relay)


def _relay(seen: Inspected) -> StreamRelay:
    options = seen.stream_options
    return StreamRelay(
        Tally(),
        keep_usage=bool(options is not None and options.include_usage),
        keep_progress=bool(seen.return_progress),
    )
