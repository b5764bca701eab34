"""From an exchange to an attempt at an endpoint, and what is counted at both ends of it."""

from typing import TYPE_CHECKING

from modelyard import errors
from modelyard.domain.records import AttemptRecord
from modelyard.gateway import answers
from modelyard.gateway.attempts import Attempt
from modelyard.gateway.body import Inspected, rewrite
from modelyard.gateway.catalog import Service
from modelyard.gateway.dialects import openai
from modelyard.gateway.endpoints import Endpoint
from modelyard.gateway.failures import Failure
from modelyard.lib import clock

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange


def begin(exchange: "Exchange") -> Failure | None:
    """Choose an endpoint and send the request there; a failure if there is none."""
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
    exchange.answering = answering = answers.choose(exchange, seen, endpoint)
    exchange.last_activity_s = now_s
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
    model, stream = _model_at(endpoint, service, seen), answering.streams_upstream
    asks = endpoint.spec.tells_prompt and stream
    body = rewrite(exchange.body, seen, model=model, force_stream=stream, ask_progress=asks)
    attempt.start(exchange.route, record.request_id, body, service.limits.connect_s)
    return None


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


def close(
    exchange: "Exchange", outcome: str, message: str = "", *, cancel: bool = True
) -> Endpoint | None:
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


def _close_work(exchange: "Exchange", endpoint: Endpoint, *, well: bool) -> None:
    """Tell the router how it ended, and what the engine said of the prompt."""
    work, exchange.work = exchange.work, None
    assert work is not None
    assert exchange.answering is not None
    now_s = clock.monotonic_s()
    usage = exchange.answering.tally.usage
    if well and exchange.route not in openai.STREAMED:
        work.first_token(
            now_s
        )  # an embedding is read, not generated: its answer is its first token
    if not well:
        work.cancelled(now_s)
    elif usage is None:
        work.finished(now_s)
    else:
        work.finished(now_s, usage.prompt_tokens or 0, usage.cached_tokens)
    endpoint.load.cells[1] = int(work.candidate.own_queued)
