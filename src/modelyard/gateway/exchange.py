"""One request from its last byte in to its last byte out, with exactly one ending.

The steps before dispatch are plain functions in `steps`; an error they raise ends the request.
Then come attempts, only while the client has not seen a byte: at other endpoints of the service,
after that at the services it falls back to. Three ways of answering: `Whole` (unstreamed passes
through), `Assembled` (unstreamed from a stream) and `Streamed`.
"""

import asyncio
from typing import TYPE_CHECKING

from modelyard import errors
from modelyard.domain.chat import Request
from modelyard.domain.records import AttemptRecord, Outcome, RequestRecord, copied
from modelyard.domain.routing import Work
from modelyard.gateway import answers, dispatch, endings, recovery
from modelyard.gateway.attempts import Attempt
from modelyard.gateway.body import Inspected
from modelyard.gateway.caching import Seat
from modelyard.gateway.catalog import Lane, Service
from modelyard.gateway.dialects import openai
from modelyard.gateway.endpoints import Endpoint
from modelyard.gateway.failures import Failure
from modelyard.gateway.kept.keeping import Keeping
from modelyard.gateway.parties import Client, Waits
from modelyard.gateway.passing import by_service
from modelyard.gateway.pledges import Pledge
from modelyard.gateway.routes import Route
from modelyard.gateway.translated import Translator
from modelyard.gateway.variants import Pick, Variant
from modelyard.gateway.verdict import NEXT
from modelyard.lib import clock
from modelyard.lib.http import RequestHead, ResponseHead
from modelyard.ports.ledger import Lease

if TYPE_CHECKING:
    from modelyard.gateway.core import Gateway

_MAX_NAME = 64


class Exchange:
    """The state of one request."""

    __slots__ = (
        "_step", "answering", "asked", "attempt", "attempts", "body", "caused_by", "client",
        "committed", "deserted", "fallbacks_tried", "gateway", "head", "is_over", "keeping",
        "lane", "last_activity_s", "lease", "picked", "pledge", "record", "route", "seat", "seen",
        "service", "shadow", "slot", "started_s", "translator", "tried", "variant", "waits", "work",
    )  # fmt: skip

    def __init__(
        self, gateway: "Gateway", client: Client, head: RequestHead, body: bytes, route: Route,
        started_s: float,
    ) -> None:  # fmt: skip
        self.gateway = gateway
        self.client: Client | None = client
        self.head = head
        self.body = body
        self.route = route
        self.started_s = self.last_activity_s = started_s
        self.record: RequestRecord = gateway.unknown
        self.caused_by = ""
        """The request on whose behalf the gateway makes this one."""
        self.shadow = False
        # Who asks what of whom.
        self.seen: Inspected | None = None
        self.asked: Request | None = None
        """All of it in no dialect, once an endpoint needs it in another."""
        self.lane: Lane | None = None
        self.lease: Lease | None = None
        self.slot = -1
        self.seat: Seat | None = None
        self.keeping: Keeping | None = None
        """What is to be done with its content, where that is kept."""
        self.waits: Waits | None = None
        self._step = 0
        # The attempt, and those before it.
        self.service: Service | None = None
        """The one that answers; another than the lane's after a fallback."""
        self.variant: Variant | None = None
        self.picked: Pick | None = None
        self.work: Work | None = None
        """What the router counts for the attempt."""
        self.attempt: Attempt | None = None
        self.answering: answers.Answering | None = None
        self.translator: Translator | None = None
        """Of the present attempt; None where the endpoint speaks the client's dialect."""
        self.pledge: Pledge | None = None
        """What the client was promised of the answer; None for most."""
        self.tried: list[Endpoint] = []
        """Of the service that is to answer."""
        self.attempts: list[AttemptRecord] = []
        self.fallbacks_tried = 0
        # How far the client has got.
        self.committed = False
        """Whether it has seen a byte of the answer."""
        self.deserted = False
        """Whether it has left, and this goes on for others who wait for the answer."""
        self.is_over = False

    # --- before dispatch -------------------------------------------------------------------

    def run(self) -> None:
        """Find the lane, run its steps, then dispatch."""
        gateway = self.gateway
        gateway.active.add(self)
        try:
            caller = gateway.catalog.caller(self.head)
            self.record = caller.record
            if self.route.by_service:
                self.seen = seen = by_service(self.head)
            else:
                self.seen = seen = self.route.inspect(self.body)
            if caller.key.trusted:
                named = bytes(seen.user) or bytes(seen.safety_identifier)
                caller = gateway.catalog.speaking_for(caller, named)
                self.record = caller.record
            lane = caller.lanes.get((self.route.path, seen.model))
            if lane is None:
                lane = gateway.catalog.lane(caller, self.route.path, seen.model)
        except errors.ModelyardError as error:
            self._begin_record()
            if self.seen is not None:
                self.record.service = self.seen.model[:_MAX_NAME]
            self.refuse(error)
            return
        self.begin(lane, seen)

    def begin(self, lane: Lane, seen: Inspected) -> None:
        """It is known who asks what of whom."""
        self.lane = lane
        self.seen = seen
        self.record = lane.record
        self._begin_record()
        self.record.stream = bool(seen.stream)
        self.turn_to(lane.service)
        self.resume()

    def turn_away(self, status: int, error: errors.ModelyardError) -> None:
        """End a request whose body could not be read; a bad key is told so first."""
        self.gateway.active.add(self)
        try:
            self.record = self.gateway.catalog.caller(self.head).record
        except errors.ModelyardError as refusal:
            self._begin_record()
            self.refuse(refusal)
            return
        self._begin_record()
        endings.with_error(self, Outcome.REJECTED, error, source=b"gateway", status=status)

    def _begin_record(self) -> None:
        """A record of its own, from the one that stands for all requests like this."""
        record = self.record = copied(self.record)
        record.request_id = self.gateway.new_request_id()
        record.started_at_us = clock.now_us() - self.elapsed_us()
        record.route = self.route.path
        record.request_bytes = len(self.body)
        if self.caused_by:
            record.caused_by = self.caused_by

    def turn_to(self, service: Service) -> None:
        """This service answers: the one that was asked, or one that stands in for it."""
        assert self.lane is not None
        self.service = service
        self.tried = []
        variant = service.variant(self.lane.caller)
        self.variant = variant
        record, revision = self.record, variant.revision
        if record.revision != revision.id:
            record.revision, record.model = revision.id, revision.model
            record.model_version = revision.model_version
            record.model_digest = revision.model_digest

    def resume_soon(self) -> None:
        """Resume, but not from within whoever calls this."""
        self.waits = asyncio.get_running_loop().call_soon(self.resume)

    def resume(self) -> None:
        """Run the steps that are left; dispatch after the last one."""
        self.waits = None
        assert self.lane is not None
        steps = self.lane.steps
        try:
            while self._step < len(steps):
                step = steps[self._step]
                self._step += 1
                if step(self) is not NEXT:
                    return
        except errors.ModelyardError as error:
            self.refuse(error)
            return
        self.record.admission_us = self.elapsed_us()
        self.dispatch()

    def again(self, after_s: float) -> None:
        """Run the present step once more, after a pause."""
        self._step -= 1
        self.waits = asyncio.get_running_loop().call_later(after_s, self.resume)

    def elapsed_us(self) -> int:
        """Since the first byte of the request."""
        return int((clock.monotonic_s() - self.started_s) * 1_000_000)

    def dispatch(self) -> None:
        """Start an attempt."""
        self.waits = None
        try:
            failure = dispatch.begin(self)
        except errors.ModelyardError as error:
            self.refuse(error)
            return
        if failure is not None:
            self.fail(failure)

    # --- attempts.Caller -------------------------------------------------------------------

    def attempt_head(self, head: ResponseHead) -> None:
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
        self.fail(Failure(errors.Upstream(reason, code=code)))

    # --- after a failure -------------------------------------------------------------------

    def fail(self, failure: Failure) -> None:
        """It did not work: try elsewhere while the client has seen nothing, else end."""
        error = failure.error
        endpoint = endings.end_attempt(self, error.code, error.message)
        if endpoint is not None and failure.blamed:
            endpoint.failed(clock.monotonic_s(), failure.retry_after_s)
        if self.committed:
            self._break_off(error)
            return
        if self.seat is not None:
            self.seat.retried()
        if not recovery.recover(self, failure):
            self._give_up(failure)

    def _give_up(self, failure: Failure) -> None:
        if failure.told is not None:
            told, headers = failure.told
            endings.with_upstream_error(self, told, headers)
        elif isinstance(failure.error, errors.Unavailable):
            self.refuse(failure.error)
        else:
            endings.with_error(self, Outcome.FAILED, failure.error, source=b"upstream")

    def _break_off(self, error: errors.ModelyardError) -> None:
        """After the commit an error can only be told inside the stream, and never as `[DONE]`."""
        assert self.answering is not None
        last = self.answering.broken(openai.told(error, 0, self.record.request_id))
        endings.close(self, Outcome.FAILED, error)
        if self.client is not None:
            self.client.end_stream(last, clean=self.route.fails_in_words)
            endings.release_client(self)

    # --- endings ---------------------------------------------------------------------------

    def refuse(self, error: errors.ModelyardError) -> None:
        """End before dispatch, with the error as the answer."""
        failed = isinstance(error, errors.Unavailable)
        outcome = Outcome.FAILED if failed else Outcome.REJECTED
        endings.with_error(self, outcome, error, source=b"gateway")

    def break_down(self) -> None:
        """End because of a fault of ours."""
        error = errors.ModelyardError("the gateway could not handle this request", code="internal")
        endings.end_attempt(self, error.code, error.message)
        endings.with_error(self, Outcome.FAILED, error, source=b"gateway")

    def cancel(self) -> None:
        """The client went away: stop the upstream, keep the record."""
        if self.is_over:
            return
        self.client = None
        if self.seat is not None and self.seat.client_left():
            self.deserted = True
            return
        endings.deserted(self)

    def check_limits(self, now_s: float) -> None:
        """Called now and then: end what takes too long."""
        late = recovery.overdue(self, now_s) if not self.is_over else None
        if late is not None:
            self.fail(late)

    # --- used by the answers ---------------------------------------------------------------

    def mark_first_token(self) -> None:
        """The first token is here: the endpoint works."""
        if self.record.ttft_us is None:
            self.record.ttft_us = self.elapsed_us()
            if self.attempt is not None and self.attempt.probes:
                self.attempt.endpoint.breaker.probing = False
            if self.work is not None and self.answering and self.answering.streams_upstream:
                self.work.first_token(clock.monotonic_s())
