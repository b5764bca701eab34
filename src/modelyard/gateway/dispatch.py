"""From an exchange to an attempt at an endpoint."""

from typing import TYPE_CHECKING

from modelyard import errors
from modelyard.domain.records import AttemptRecord
from modelyard.gateway import endings, guarantees, infill, metering, passing, ways
from modelyard.gateway.attempts import Attempt
from modelyard.gateway.body import Inspected, asks_more, inspect, named, rewrite
from modelyard.gateway.catalog import Service
from modelyard.gateway.endpoints import Endpoint
from modelyard.gateway.failures import Failure
from modelyard.gateway.translated import translator_of
from modelyard.lib import clock

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange

ESTIMATED = b"Content-Type: application/json\r\nX-Modelyard-Estimated: true\r\n"
"""Headers of a count that the gateway made itself, from bytes."""
_BETA = "?beta=true"


def begin(exchange: "Exchange") -> Failure | None:
    """Choose an endpoint and send the request there; a failure if there is none.

    Raises Invalid, before anything was sent, for what cannot be said to that endpoint.
    """
    lane, service = exchange.lane, exchange.service
    variant, seen, record = exchange.variant, exchange.seen, exchange.record
    assert lane is not None
    assert service is not None
    assert variant is not None
    assert seen is not None
    now_s = clock.monotonic_s()
    prompt = seen.prompt() if len(variant.endpoints) > 1 else b""
    picked = variant.pick(prompt, lane.caller.affinity, now_s, exchange.tried)
    if picked is None:
        return Failure(_no_endpoint(service))
    exchange.picked = picked
    endpoint = picked.endpoint
    exchange.tried.append(endpoint)
    if exchange.route.counts_only and exchange.route.dialect not in endpoint.spec.dialects:
        endings.with_answer(
            exchange, 200, ESTIMATED, b'{"input_tokens":%d}' % metering.input_estimate(exchange)
        )
        return None
    exchange.translator = translator_of(exchange, endpoint)
    if asks_more(seen) and not exchange.route.passes:
        guarantees.prepare(exchange, seen, endpoint)
    exchange.answering = answering = ways.choose(exchange, seen, endpoint)
    passed, path, body = b"", "", b""
    if exchange.route.passes:
        passed = passing.request(exchange, endpoint, _model_at(endpoint, service, seen))
    else:
        path, body = _request(exchange, service, endpoint, stream=answering.streams_upstream)
    exchange.last_activity_s = now_s
    record.translated_to = _translated_to(exchange)
    record.attempts += 1
    record.endpoint = endpoint.id
    trace = AttemptRecord(
        request_id=record.request_id,
        tenant=record.tenant,
        started_at_us=record.started_at_us,
        number=record.attempts,
        endpoint=endpoint.id,
        offset_us=int((now_s - exchange.started_s) * 1_000_000),
    )
    exchange.attempts.append(trace)
    probes = exchange.gateway.catalog.endpoints.enter(endpoint)
    if picked.candidate is not None:
        exchange.work = variant.router.dispatch(picked.candidate, prompt, now_s)
        endpoint.load.cells[1] = int(picked.candidate.own_queued)
    exchange.attempt = attempt = Attempt(exchange, endpoint, trace, now_s, probes=probes)
    if passed:
        attempt.send(passed, service.limits.connect_s)
    else:
        forwarded = _forwarded(exchange)
        if exchange.route.forwards and exchange.translator is None:
            path += _query(exchange)
        attempt.start(path, record.request_id, body, service.limits.connect_s, forwarded)
    return None


def _translated_to(exchange: "Exchange") -> str:
    translator = exchange.translator
    if translator is None or translator.endpoint.name == exchange.route.dialect:
        return ""
    return translator.endpoint.name


def _query(exchange: "Exchange") -> str:
    """Anthropic's clients mark what is in beta in the path, too. Nothing else is taken from there:
    a head for each path is kept."""
    return _BETA if exchange.head.target.endswith(_BETA.encode()) else ""


def _forwarded(exchange: "Exchange") -> bytes:
    """Headers of the client that mean something to an endpoint of its own dialect."""
    names = exchange.route.forwards
    if not names or exchange.translator is not None:
        return b""
    lines = ((name, exchange.head.headers.get(name)) for name in names)
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in lines if value)


def _request(
    exchange: "Exchange", service: Service, endpoint: Endpoint, *, stream: bool
) -> tuple[str, bytes]:
    """The route path and the body for the endpoint: the client's own bytes wherever it is asked in
    the client's dialect."""
    seen, route, translator = exchange.seen, exchange.route, exchange.translator
    assert seen is not None
    model = _model_at(endpoint, service, seen)
    if translator is not None:
        return translator.endpoint.route, translator.request(model)
    if route.native is not None or not route.streams:
        body = exchange.body
        if exchange.keeping is not None:
            body = exchange.keeping.upstream_body(endpoint)
        return route.path, named(body, seen, model)
    body = exchange.body
    if route.infills and seen.suffix and endpoint.spec.fim:
        body = infill.in_prompt(body, endpoint.spec.fim)
        seen = inspect(body)
    asks = endpoint.spec.tells_prompt and stream
    return route.path, rewrite(body, seen, model=model, force_stream=stream, ask_progress=asks)


def _no_endpoint(service: Service) -> errors.Unavailable:
    return errors.Unavailable(
        f"service {service.spec.name!r} has no endpoint that is ready",
        hint="`modelyard services list` says why; try again in a moment",
        code="no_endpoint",
    )


def _model_at(endpoint: Endpoint, service: Service, seen: Inspected) -> str:
    """What the endpoint calls the model; empty where that is what the client calls it."""
    name = service.spec.name
    return endpoint.spec.upstream_model or (name if name != seen.model else "")
