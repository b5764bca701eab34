"""One request from its last byte in to its last byte out, with exactly one ending.

The steps before dispatch are plain functions in `steps`; an error they raise ends the request.
Then come attempts, at most `max_attempts`, and only while the client has not seen a byte. Three
ways of answering: `Whole` (unstreamed passes through), `Assembled` (unstreamed from a stream) and
`Streamed`.
"""

from typing import TYPE_CHECKING, Protocol

from modelyard import errors
from modelyard.domain.records import AttemptRecord, Outcome, RequestRecord
from modelyard.domain.snapshot import AccessKey
from modelyard.gateway import answers
from modelyard.gateway.attempts import Attempt
from modelyard.gateway.body import Inspected, rewrite
from modelyard.gateway.catalog import Endpoint, Service
from modelyard.gateway.dialects import openai
from modelyard.gateway.steps import STEPS, authenticate
from modelyard.lib import clock
from modelyard.lib.http import RequestHead, ResponseHead
from modelyard.ports.meta import DEFAULT_TENANT

if TYPE_CHECKING:
    from modelyard.gateway.core import Gateway

CLIENT_CLOSED = 499
"""The status of a record whose client went away (nginx's convention; never sent)."""


class Client(Protocol):
    """The connection to the client, as an exchange sees it."""

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer."""

    def start_stream(self, status: int, headers: bytes) -> None:
        """The head of a streamed answer."""

    def write_stream(self, data: bytes) -> None:
        """A piece of it."""

    def end_stream(self, data: bytes, *, clean: bool) -> None:
        """Its last piece. Not clean: the connection closes without the mark of the end."""

    def exchange_over(self) -> None:
        """Ready for the next request."""


class Exchange:
    """The state of one request."""

    def __init__(
        self, gateway: "Gateway", client: Client, head: RequestHead, body: bytes, route: str,
        started_s: float,
    ) -> None:  # fmt: skip
        self.gateway = gateway
        self.client: Client | None = client
        self.head = head
        self.body = body
        self.started_s = started_s
        self.record = RequestRecord(
            request_id=gateway.new_request_id(),
            tenant=DEFAULT_TENANT,  # until a key says more: its admins run the platform
            started_at_us=clock.now_us() - int((clock.monotonic_s() - started_s) * 1_000_000),
            outcome=Outcome.FAILED,
            status=0,
            route=route,
            request_bytes=len(body),
            process=gateway.process,
            snapshot_generation=gateway.catalog.generation,
        )
        self.key: AccessKey | None = None
        self.seen: Inspected | None = None
        self.service: Service | None = None
        self.answering: answers.Answering | None = None
        self.attempt: Attempt | None = None
        self.tried: list[Endpoint] = []
        self.attempts: list[AttemptRecord] = []
        self.slot = -1
        self.last_activity_s = started_s
        self.committed = False
        """Whether the client has seen a byte of the answer."""
        self._over = False

    # --- before dispatch -------------------------------------------------------------------

    def run(self) -> None:
        """Run the steps, then dispatch."""
        self.gateway.active.add(self)
        try:
            for step in STEPS:
                step(self)
        except errors.ModelyardError as error:
            self.refuse(error)
            return
        self._dispatch()

    def turn_away(self, status: int, error: errors.ModelyardError) -> None:
        """End a request whose body could not be read; a bad key is told so first."""
        self.gateway.active.add(self)
        try:
            authenticate(self)
        except errors.ModelyardError as refusal:
            self.refuse(refusal)
            return
        self._end_with_error(Outcome.REJECTED, error, source=b"gateway", status=status)

    def elapsed_us(self) -> int:
        """Since the first byte of the request."""
        return int((clock.monotonic_s() - self.started_s) * 1_000_000)

    def _dispatch(self) -> None:
        now_s = clock.monotonic_s()
        assert self.service is not None
        assert self.seen is not None
        endpoint = self.service.pick(now_s, self.tried)
        if endpoint is None:
            self.refuse(
                errors.Unavailable(
                    f"service {self.record.service!r} has no endpoint that is ready",
                    hint="`modelyard services` says why; try again in a moment",
                    code="no_endpoint",
                )
            )
            return
        if self.record.admission_us is None:
            self.record.admission_us = self.elapsed_us()
        self.answering = answers.choose(self, endpoint)
        self._start(endpoint, now_s)

    def _start(self, endpoint: Endpoint, now_s: float) -> None:
        assert self.answering is not None
        assert self.seen is not None
        self.tried.append(endpoint)
        self.record.attempts += 1
        self.record.endpoint = endpoint.id
        self.last_activity_s = now_s
        trace = AttemptRecord(
            request_id=self.record.request_id,
            tenant=self.record.tenant,
            started_at_us=clock.now_us(),
            number=self.record.attempts,
            endpoint=endpoint.id,
            offset_us=self.elapsed_us(),
        )
        self.attempts.append(trace)
        self.gateway.catalog.enter(endpoint)
        self.attempt = Attempt(self, endpoint, trace, self.gateway.settings.connect_timeout_s)
        body = rewrite(
            self.body,
            self.seen,
            model=endpoint.spec.upstream_model,
            force_stream=self.answering.streams_upstream,
        )
        self.attempt.start(self.record.route, self.record.request_id.encode(), body)

    # --- attempts.Caller -------------------------------------------------------------------

    def attempt_head(self, head: ResponseHead) -> None:
        self.last_activity_s = clock.monotonic_s()
        assert self.answering is not None
        self.answering.head(head)

    def attempt_data(self, data: bytes) -> None:
        self.last_activity_s = clock.monotonic_s()
        assert self.answering is not None
        self.answering.data(data)

    def attempt_end(self, last: bytes) -> None:
        assert self.answering is not None
        self.answering.end(last)

    def attempt_failed(self, code: str, reason: str) -> None:
        self.fail(errors.Upstream(reason, code=code))

    # --- endings ---------------------------------------------------------------------------

    def fail(self, error: errors.ModelyardError) -> None:
        """The attempt did not work: try elsewhere while the client has seen nothing."""
        endpoint = self._close_attempt(error.code, error.message)
        if endpoint is not None:
            endpoint.failed(clock.monotonic_s())
        if self.may_retry():
            self._dispatch()
        elif self.committed and isinstance(self.answering, answers.Streamed):
            self._end(Outcome.FAILED, error)
            self._deliver_broken_stream(error)
        else:
            self._end_with_error(Outcome.FAILED, error, source=b"upstream")

    def may_retry(self) -> bool:
        """Whether another endpoint may be tried: the client has seen nothing yet."""
        return (
            not self.committed
            and self.service is not None
            and self.record.attempts < self.gateway.settings.max_attempts
            and self.service.pick(clock.monotonic_s(), self.tried) is not None
        )

    def refuse(self, error: errors.ModelyardError) -> None:
        """End before dispatch, with the error as the answer."""
        failed = isinstance(error, errors.Unavailable)
        outcome = Outcome.FAILED if failed else Outcome.REJECTED
        self._end_with_error(outcome, error, source=b"gateway")

    def answer(self, status: int, headers: bytes, body: bytes, error_code: str = "") -> None:
        """End with a whole answer of the upstream's."""
        endpoint = self._close_attempt(error_code or "ok")
        if endpoint is not None and status < 500:
            endpoint.succeeded()
        self.record.status = status
        self.record.response_bytes = len(body)
        self.record.error_code = error_code
        self._end(_outcome_of(status))
        if self.client is not None:
            self.client.answer(status, self.own_headers() + headers, body)
            self._release_client()

    def finish_stream(self, last: bytes) -> None:
        """End a stream that came to its proper end; `last` are its last bytes."""
        attempt = self.attempt
        endpoint = self._close_attempt("ok", cancel=False)
        if endpoint is not None:
            endpoint.succeeded()
        if attempt is not None:
            self.gateway.let_finish(attempt)
        self.record.response_bytes += len(last)
        self._end(Outcome.COMPLETED)
        if self.client is not None:
            self.client.end_stream(last, clean=True)
            self._release_client()

    def cancel(self) -> None:
        """The client went away: stop the upstream, keep the record."""
        if self._over:
            return
        self.client = None
        self._close_attempt("client_closed")
        self.record.status = self.record.status if self.committed else CLIENT_CLOSED
        self.record.error_code = "client_closed"
        self._end(Outcome.CANCELLED)

    def time_out(self, error: errors.TimedOut) -> None:
        """A time limit ran out."""
        self.fail(error)

    def _end_with_error(
        self, outcome: Outcome, error: errors.ModelyardError, source: bytes, status: int = 0
    ) -> None:
        body = openai.envelope(error)
        status = status or openai.status_of(error)
        self.record.status = status
        self.record.response_bytes = len(body)
        self._end(outcome, error)
        if self.client is None:
            return
        headers = self.own_headers() + b"Content-Type: application/json\r\n"
        headers += b"X-Modelyard-Error-Source: %b\r\n" % source
        if status in (429, 503):
            headers += b"Retry-After: 1\r\n"
        self.client.answer(status, headers, body)
        self._release_client()

    def _deliver_broken_stream(self, error: errors.ModelyardError) -> None:
        """After the commit an error can only be told inside the stream, and never as `[DONE]`."""
        if self.client is not None:
            self.client.end_stream(b"data: " + openai.envelope(error) + b"\n\n", clean=False)
            self._release_client()

    def _close_attempt(
        self, outcome: str, message: str = "", *, cancel: bool = True
    ) -> Endpoint | None:
        attempt, self.attempt = self.attempt, None
        if attempt is None:
            return None
        attempt.record.outcome = outcome
        attempt.record.error_message = message
        attempt.record.duration_us = attempt.elapsed_us()
        if cancel:
            attempt.cancel()
        self.gateway.catalog.leave(attempt.endpoint)
        return attempt.endpoint

    def _end(self, outcome: Outcome, error: errors.ModelyardError | None = None) -> None:
        """The one ending: settle, record, count, close the slot. Only then the last bytes go."""
        assert not self._over
        self._over = True
        record = self.record
        record.outcome = outcome
        if error is not None:
            record.error_code, record.error_message = error.code, error.message[:2000]
        record.duration_us = self.elapsed_us()
        answers.settle(self)
        self.gateway.ended(self)

    def _release_client(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            client.exchange_over()

    # --- used by the answers ---------------------------------------------------------------

    def own_headers(self) -> bytes:
        """The headers of ours that every answer carries."""
        return b"X-Request-Id: %b\r\nX-Modelyard-Revision: %b\r\n" % (
            self.record.request_id.encode(),
            self.record.revision.encode(),
        )

    def mark_first_token(self) -> None:
        """The first token is about to be written."""
        if self.record.ttft_us is None:
            self.record.ttft_us = self.elapsed_us()


def _outcome_of(status: int) -> Outcome:
    """Of an upstream's whole answer: what the client did wrong is no failure of ours."""
    if status < 400:
        return Outcome.COMPLETED
    return Outcome.REJECTED if status < 500 and status not in (408, 429) else Outcome.FAILED
