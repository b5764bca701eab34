"""The endings of a request. Each settles, records and closes the slot before its last bytes go."""

from typing import TYPE_CHECKING

from modelyard import errors
from modelyard.domain.records import Outcome
from modelyard.gateway import checking, metering
from modelyard.gateway.dialects import openai
from modelyard.gateway.dialects.upstream_errors import UpstreamError
from modelyard.lib import clock

if TYPE_CHECKING:
    from modelyard.gateway.answers import Answering
    from modelyard.gateway.endpoints import Endpoint
    from modelyard.gateway.exchange import Exchange

JSON = b"Content-Type: application/json\r\n"
EVENTS = b"Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
CLIENT_CLOSED = 499
"""The status of a record whose client went away (nginx's convention; never sent)."""


def with_answer(
    exchange: "Exchange", status: int, headers: bytes, body: bytes, error_code: str = ""
) -> None:
    """End with a whole answer of the upstream's, unless it breaks what was promised of it."""
    if exchange.pledge is not None and status == 200 and not checking.accepts(exchange, body):
        return
    endpoint = end_attempt(exchange, error_code or "ok")
    if endpoint is not None and status < 500:
        endpoint.succeeded()
    if exchange.keeping is not None and status == 200:
        body = exchange.keeping.answered(body)
    record = exchange.record
    record.status = status
    record.response_bytes = len(body)
    record.error_code = error_code
    if exchange.seat is not None and status < 500 and status not in (408, 429):
        exchange.seat.answered(status, body)
    close(exchange, _outcome_of(status))
    if exchange.client is not None:
        exchange.client.answer(status, own_headers(exchange) + headers, body)
        release_client(exchange)


def with_cached(exchange: "Exchange", answering: "Answering", body: bytes, *, stream: bool) -> None:
    """End with an answer that was given before: `answering` counts it, `body` is its form here."""
    record = exchange.record
    record.status = 200
    record.response_bytes = len(body)
    exchange.answering = answering
    exchange.mark_first_token()
    close(exchange, Outcome.CACHED)
    if exchange.client is None:
        return
    if stream:
        exchange.client.start_stream(200, own_headers(exchange) + EVENTS)
        exchange.client.end_stream(body, clean=True)
    else:
        exchange.client.answer(200, own_headers(exchange) + JSON, body)
    release_client(exchange)


def with_upstream_error(exchange: "Exchange", error: UpstreamError, headers: bytes) -> None:
    """End with an upstream's error as the answer."""
    exchange.record.error_message = error.message
    headers += b"X-Modelyard-Error-Source: upstream\r\n"
    code = error.code or f"upstream_{error.status}"
    with_answer(exchange, error.status, headers, error.body, error_code=code)


def with_stream_end(exchange: "Exchange", last: bytes) -> None:
    """End a stream that came to its proper end; `last` are its last bytes."""
    attempt = exchange.attempt
    endpoint = end_attempt(exchange, "ok", cancel=False)
    if endpoint is not None:
        endpoint.succeeded()
    if attempt is not None:
        exchange.gateway.let_finish(attempt)
    exchange.record.response_bytes += len(last)
    if exchange.seat is not None:
        exchange.seat.answered(200, None)
    close(exchange, Outcome.COMPLETED)
    if exchange.client is not None:
        exchange.client.end_stream(last, clean=True)
        release_client(exchange)


def with_error(
    exchange: "Exchange",
    outcome: Outcome,
    error: errors.ModelyardError,
    source: bytes,
    status: int = 0,
) -> None:
    """End with an error of ours; `source` is who is to blame for it."""
    status = status or openai.status_of(error)
    body = exchange.route.error_body(error, status, exchange.record.request_id)
    exchange.record.status = status
    exchange.record.response_bytes = len(body)
    close(exchange, outcome, error)
    if exchange.client is None:
        return
    headers = own_headers(exchange) + JSON
    headers += b"X-Modelyard-Error-Source: %b\r\n" % source
    headers += openai.retry_headers(error, status)
    exchange.client.answer(status, headers, body)
    release_client(exchange)


def deserted(exchange: "Exchange") -> None:
    """Nobody waits for the answer any more."""
    end_attempt(exchange, "client_closed")
    exchange.record.status = exchange.record.status if exchange.committed else CLIENT_CLOSED
    exchange.record.error_code = "client_closed"
    close(exchange, Outcome.CANCELLED)


def close(
    exchange: "Exchange", outcome: Outcome, error: errors.ModelyardError | None = None
) -> None:
    """The one ending: settle, record, count, close the slot. Only then the last bytes go."""
    assert not exchange.is_over
    exchange.is_over = True
    if exchange.waits is not None:
        exchange.waits.cancel()
    record = exchange.record
    record.outcome = Outcome.CANCELLED if exchange.deserted else outcome
    if error is not None:
        record.error_code, record.error_message = error.code, error.message[:2000]
    if exchange.seat is not None:
        record.cache = exchange.seat.mark
        exchange.seat.failed()
    record.duration_us = exchange.elapsed_us()
    if exchange.picked is not None and exchange.variant is not None:
        record.routing = exchange.variant.explain(exchange.picked)
    metering.settle(exchange)
    exchange.gateway.ended(exchange)
    # They know this exchange: without them it is freed at once, not by a garbage collection.
    exchange.answering = exchange.picked = exchange.keeping = None


def release_client(exchange: "Exchange") -> None:
    """The last byte is written: the connection may take its next request."""
    client, exchange.client, exchange.seat = exchange.client, None, None
    if client is not None:
        client.exchange_over()


def own_headers(exchange: "Exchange") -> bytes:
    """The headers of ours that every answer carries."""
    record, lane = exchange.record, exchange.lane
    identity = record.request_id.encode()
    ours = b"X-Request-Id: %b\r\nX-Modelyard-Revision: %b\r\n" % (
        identity,
        record.revision.encode(),
    )
    if exchange.route.names_request:
        ours += b"Request-Id: %b\r\n" % identity
    if exchange.translator is not None and exchange.translator.dropped:
        ours += b"X-Modelyard-Dropped: %b\r\n" % exchange.translator.dropped_header()
    if exchange.seat is not None:
        ours += b"X-Modelyard-Cache: %b\r\n" % exchange.seat.mark.encode()
    return ours + metering.headers(lane, exchange) if lane and lane.counters else ours


def end_attempt(
    exchange: "Exchange", outcome: str, message: str = "", *, cancel: bool = True
) -> "Endpoint | None":
    """The attempt is over; its endpoint, if there was one."""
    attempt, exchange.attempt = exchange.attempt, None
    if attempt is None:
        return None
    trace, endpoint = attempt.record, attempt.endpoint
    trace.outcome = outcome
    trace.error_message = message
    trace.duration_us = attempt.elapsed_us()
    if cancel:
        attempt.cancel()
    if exchange.work is not None:
        _close_work(exchange, endpoint, well=outcome == "ok")
    exchange.gateway.catalog.endpoints.leave(endpoint, probed=attempt.probes)
    if exchange.service is not None and exchange.service.queue is not None:
        exchange.gateway.pump_soon(exchange.service.queue)
    return endpoint


def _close_work(exchange: "Exchange", endpoint: "Endpoint", *, well: bool) -> None:
    """Tell the router how it ended, and what the engine said of the prompt."""
    work, exchange.work = exchange.work, None
    assert work is not None
    assert exchange.answering is not None
    now_s = clock.monotonic_s()
    usage = exchange.answering.tally.counted()
    if well and not exchange.route.streams:
        # An embedding is read, not generated: its answer is its first token.
        work.first_token(now_s)
    if not well:
        work.cancelled(now_s)
    elif usage is None:
        work.finished(now_s)
    else:
        work.finished(now_s, usage.input_tokens, usage.cache_read_tokens)
    endpoint.load.cells[1] = int(work.candidate.own_queued)


def _outcome_of(status: int) -> Outcome:
    """Of an upstream's whole answer: what the client did wrong is no failure of ours."""
    if status < 400:
        return Outcome.COMPLETED
    return Outcome.REJECTED if status < 500 and status not in (408, 429) else Outcome.FAILED
