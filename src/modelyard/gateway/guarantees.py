"""What a request demands of its answer and an engine may not give: seen to for each attempt.

Before an attempt: what nobody can give is refused, what can be asked for otherwise is. After an
answer that broke its promise: the model is told so, once. `checking` looks at the answers.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.domain import chat
from modelyard.domain import guarantees as domain
from modelyard.errors import Invalid
from modelyard.gateway import emulating, metering
from modelyard.gateway.body import Inspected
from modelyard.gateway.dialects.base import Dialect
from modelyard.gateway.dialects.refusals import unsupported_parameter
from modelyard.gateway.endpoints import Endpoint
from modelyard.gateway.pledges import Pledge
from modelyard.gateway.translated import Translator
from modelyard.lib import clock

if TYPE_CHECKING:
    from modelyard.gateway.exchange import Exchange

_NOTHING = frozenset({b"", b"null"})
_FREE = frozenset({b"", b"null", b'"auto"', b'"none"'})
_UNASKED = frozenset({b"", b"null", b"false"})
_NO_SUFFIX = frozenset({b"", b"null", b'""'})
_DEMANDS = frozenset({
    "model", "tools", "tool_choice", "functions", "function_call", "response_format", "text",
    "output_config", "output_format",
})  # fmt: skip
"""Members of a request, in whatever dialect, that say what its answer must be."""
_QUESTION = {
    "chat": ("messages", msgspec.Raw(b'[{"role":"user","content":""}]')),
    "messages": ("messages", msgspec.Raw(b'[{"role":"user","content":""}]')),
    "responses": ("input", msgspec.Raw(b'""')),
}
"""Where each dialect has its conversation, and the shortest there is."""


def prepare(exchange: "Exchange", seen: Inspected, endpoint: Endpoint) -> None:
    """See to what the request demands at this endpoint. Raises Invalid (`unsupported_parameter`,
    `invalid_json_schema`) before anything was sent."""
    lacks = endpoint.spec.lacks
    if lacks:
        _refuse_lacking(seen, endpoint)
        if exchange.route.infills:
            _refuse_of_completions(seen, endpoint)
    if exchange.route.codec is not None and (exchange.pledge is not None or _demands(seen)):
        _promise(exchange, seen, endpoint)
    if "stop" in lacks and bytes(seen.stop) not in _NOTHING and exchange.route.streams:
        _stop(exchange, seen, endpoint)


def _refuse_lacking(seen: Inspected, endpoint: Endpoint) -> None:
    spec, named = endpoint.spec, _named(endpoint)
    if "n" in spec.lacks and (seen.n or 1) > 1:
        raise unsupported_parameter("n", f"asks for {seen.n} answers, and {named} gives one")
    if "logprobs" in spec.lacks and bytes(seen.logprobs) not in _UNASKED:
        raise unsupported_parameter("logprobs", f"asks for probabilities, and {named} gives none")


def _refuse_of_completions(seen: Inspected, endpoint: Endpoint) -> None:
    spec, named = endpoint.spec, _named(endpoint)
    if "echo" in spec.lacks and bytes(seen.echo) not in _UNASKED:
        raise unsupported_parameter("echo", f"asks for the prompt again, and {named} leaves it out")
    if "suffix" in spec.lacks and not spec.fim and bytes(seen.suffix) not in _NO_SUFFIX:
        raise unsupported_parameter(
            "suffix",
            f"asks for what is missing before it, and {named} only continues texts; if its model "
            "was taught to fill in, `spec.engine.fim` of the service says how it is asked",
        )


def _named(endpoint: Endpoint) -> str:
    spec = endpoint.spec
    return f"endpoint {spec.id!r}" + (f" ({spec.provider_kind})" if spec.provider_kind else "")


def _demands(seen: Inspected) -> bool:
    """Whether anything may be demanded of the answer; what exactly is read only then."""
    return (
        b"json_" in bytes(seen.response_format)
        or bytes(seen.tool_choice) not in _FREE
        or bytes(seen.function_call) not in _FREE
        or b'"strict"' in bytes(seen.tools)
    )


# --- what was promised -----------------------------------------------------------------------


def _promise(exchange: "Exchange", seen: Inspected, endpoint: Endpoint) -> None:
    assert exchange.service is not None
    rules = exchange.service.spec.guarantees
    pledge = exchange.pledge
    if pledge is None or pledge.is_repaired is False:
        pledge = exchange.pledge = _pledged(exchange, seen)
    if pledge is None:
        return
    pledge.treatment = domain.treatment_of(
        pledge.promise,
        endpoint.spec.keeps,
        endpoint.spec.lacks,
        forms=rules.json_schema,
        tools=rules.tool_choice,
    )
    exchange.record.guarantee = pledge.told()
    if pledge.treatment.rewrites:
        _emulate(exchange, pledge, endpoint)


def _pledged(exchange: "Exchange", seen: Inspected) -> Pledge | None:
    """What the service that is to answer promises; None where that is nothing."""
    assert exchange.service is not None
    assert exchange.route.codec is not None
    rules = exchange.service.spec.guarantees
    try:
        demanded = exchange.route.codec.read_request(_outline(exchange))
    except Invalid:
        return None  # more than we know, or nothing that anybody knows: the endpoint says which
    promise = domain.promise_of(
        demanded,
        exchange.gateway.schemas,
        forms=rules.json_schema != "off",
        tools=rules.tool_choice != "off",
    )
    return Pledge(promise, seen.n or 1) if promise else None


def _outline(exchange: "Exchange") -> bytes:
    """The request without its conversation: what is said there may be more than we know, and
    demands nothing."""
    members = msgspec.json.decode(exchange.body, type=dict[str, msgspec.Raw])
    kept = {name: raw for name, raw in members.items() if name in _DEMANDS}
    name, nothing = _QUESTION[exchange.route.dialect]
    return msgspec.json.encode({**kept, name: nothing})


# --- asked otherwise -------------------------------------------------------------------------


def _emulate(exchange: "Exchange", pledge: Pledge, endpoint: Endpoint) -> None:
    treatment, promise = pledge.treatment, pledge.promise
    what = "tool_choice" if treatment.emulated else "response_format"
    translator = _rewriting(exchange, endpoint, what)
    if treatment.emulated:
        translator.sent = domain.calling(
            translator.sent,
            promise,
            constrained=treatment.constrained,
            json_mode=treatment.json_mode,
        )
        translator.client = emulating.turning(translator.client, domain.turned_to_call)
    else:
        translator.sent = domain.asked_in_words(translator.sent, json_mode=treatment.json_mode)
        translator.client = emulating.turning(translator.client, domain.without_fence)


def _stop(exchange: "Exchange", seen: Inspected, endpoint: Endpoint) -> None:
    translator = _rewriting(exchange, endpoint, "stop")
    stops = translator.sent.stop
    translator.sent = msgspec.structs.replace(translator.sent, stop=())
    translator.endpoint = emulating.stopping(translator.endpoint, stops)


def _rewriting(exchange: "Exchange", endpoint: Endpoint, what: str) -> Translator:
    """The translator of this attempt, from the client's dialect to its own if need be. Raises
    Invalid (`unsupported_parameter`) for what is lost on that way."""
    seen, client = exchange.seen, exchange.route.codec
    assert seen is not None
    other = exchange.route.asked_in(endpoint.spec)
    if client is None or other is None:
        raise unsupported_parameter(
            what,
            f"is not known to endpoint {endpoint.id!r}, nor emulated for {exchange.route.path}",
        )
    _refuse_beside(seen, endpoint, what)
    if exchange.translator is None:
        if exchange.asked is None:
            exchange.asked = client.read_request(exchange.body)
        request_id = exchange.record.request_id
        exchange.translator = Translator(exchange.asked, client, other, request_id)
    return exchange.translator


def _refuse_beside(seen: Inspected, endpoint: Endpoint, what: str) -> None:
    """What cannot be had together with something that is emulated."""
    why = f"cannot be had with {what}, which endpoint {endpoint.id!r} does not know itself"
    if (seen.n or 1) > 1:
        raise unsupported_parameter("n", why)
    if bytes(seen.logprobs) not in _UNASKED:
        raise unsupported_parameter("logprobs", why)


# --- once more -------------------------------------------------------------------------------


def repair(exchange: "Exchange") -> bool:
    """Tell the model what is wrong with its answer and ask again, once, at the same service and
    within its retry budget. Whether that is done."""
    pledge, service = exchange.pledge, exchange.service
    assert pledge is not None
    assert service is not None
    if pledge.is_repaired or pledge.answer is None or pledge.choices > 1:
        return False
    if not service.spec.guarantees.repair or not service.retry_budget.take(clock.monotonic_s()):
        return False
    try:
        body = _with_turns(exchange, pledge.answer)
    except Invalid:
        return False  # the conversation holds what we cannot say: it stays at the first answer
    _spend(exchange, pledge)
    pledge.is_repaired = True
    exchange.body, exchange.asked, exchange.tried = body, None, []
    exchange.dispatch()
    return True


def _spend(exchange: "Exchange", pledge: Pledge) -> None:
    """Count the answer that the client does not get."""
    assert exchange.answering is not None
    tally = exchange.answering.tally
    usage = tally.counted()
    pledge.was_counted = usage is not None and not tally.is_partial
    pledge.spent = usage or chat.Usage(
        input_tokens=metering.input_estimate(exchange), output_tokens=tally.events
    )


def _with_turns(exchange: "Exchange", answer: chat.Answer) -> bytes:
    """The client's own body, with the answer and what is wrong with it behind its conversation.
    Raises Invalid."""
    pledge, codec = exchange.pledge, exchange.route.codec
    assert pledge is not None
    assert pledge.fault is not None
    assert codec is not None
    name, _ = _QUESTION[exchange.route.dialect]
    members = msgspec.json.decode(exchange.body, type=dict[str, msgspec.Raw])
    turns = _written(codec, name, domain.repaired(answer, pledge.fault))
    members[name] = _joined(members.get(name, msgspec.Raw(b"[]")), turns)
    return msgspec.json.encode(members)


def _written(codec: Dialect, name: str, turns: tuple[chat.Message, ...]) -> list[Any]:
    request = chat.Request(dialect=codec.name, model="model", messages=turns)
    members = msgspec.json.decode(codec.write_request(request).body, type=dict[str, msgspec.Raw])
    written: list[Any] = msgspec.json.decode(members[name], type=list[msgspec.Raw])
    return written


def _joined(conversation: msgspec.Raw, turns: list[Any]) -> msgspec.Raw:
    said = bytes(conversation)
    if said.startswith(b'"'):  # OpenAI's responses take a text alone
        first = {"role": "user", "content": msgspec.Raw(said)}
        return msgspec.Raw(msgspec.json.encode([first, *turns]))
    before = msgspec.json.decode(said, type=list[msgspec.Raw])
    return msgspec.Raw(msgspec.json.encode([*before, *turns]))
