"""The route paths that call a model: how each is read, and in whose words it is answered."""

from collections.abc import Callable
from typing import NamedTuple

from modelyard import errors
from modelyard.domain import snapshot as snapshots
from modelyard.domain.providers.kinds import PASSED as PASSED_ROUTES
from modelyard.gateway import forms
from modelyard.gateway.body import (
    Inspected,
    inspect,
    inspect_messages,
    inspect_responses,
)
from modelyard.gateway.dialects import openai
from modelyard.gateway.dialects.base import Dialect, Told
from modelyard.gateway.dialects.chat import CHAT, Habits, chat_with
from modelyard.gateway.dialects.messages import MESSAGES
from modelyard.gateway.dialects.messages import metering as messages
from modelyard.gateway.dialects.messages import refusals as messages_refusals
from modelyard.gateway.dialects.responses import RESPONSES
from modelyard.gateway.dialects.responses import metering as responses
from modelyard.gateway.dialects.responses.refusals import error_event
from modelyard.gateway.native import Native
from modelyard.gateway.passing import PREFIX
from modelyard.lib.http import RequestHead


class Route(NamedTuple):
    """One of them. Requests in a dialect with a codec are translated for endpoints that do not
    speak it; all others go only where they are spoken, which every endpoint is taken to do."""

    path: str
    dialect: str
    inspect: Callable[[bytes], Inspected] = inspect
    envelope: Callable[[Told], bytes] = openai.envelope
    codec: Dialect | None = None
    native: Native | None = None
    """How its answers are read where the endpoint speaks it; None is the chat dialect's way."""
    streams: bool = True
    cached: bool = True
    """Whether answers may be given again: those of the chat dialect's family are understood."""
    forwards: tuple[bytes, ...] = ()
    """Headers of the client that an endpoint of its dialect gets, too."""
    fails_in_words: bool = False
    """Whether a stream that broke off has an event of its own for that, and ends like any other;
    in the other dialects its connection is cut, so that nobody takes it for whole."""
    names_request: bool = False
    """Whether its clients read the request's id from `request-id`, too."""
    infills: bool = False
    """Whether a `suffix` asks for what is missing before it."""
    counts_only: bool = False
    """It asks how long a question is: nothing is generated, and nothing is charged."""
    passes: bool = False
    """Nobody here knows what it says: bytes go there and come back (`passing`)."""
    by_service: bool = False
    """Its path names the service, and its body may be anything."""

    def spoken_by(self, endpoint: snapshots.Endpoint) -> Dialect | None:
        """The dialect to ask the endpoint in; None where it is the client's own.

        Raises Unavailable when the endpoint speaks none that the request can be put into.
        """
        if self.codec is None or self.dialect in endpoint.dialects:
            return None
        for codec in _CODECS:
            if codec.name in endpoint.dialects:
                return _of_endpoint(codec, endpoint)
        raise errors.Unavailable(
            f"endpoint {endpoint.id!r} speaks no dialect that {self.path} can be put into",
            hint=f"it speaks: {', '.join(endpoint.dialects)}",
            code="no_dialect",
        )

    def asked_in(self, endpoint: snapshots.Endpoint) -> Dialect | None:
        """The dialect to ask an endpoint in that is asked something else than the client asked:
        chat completions where it speaks them. None: such requests are not put into words."""
        if self.codec is None:
            return None
        spoken = CHAT if CHAT.name in endpoint.dialects else self.codec
        return self.spoken_by(endpoint) or _of_endpoint(spoken, endpoint)

    def error_body(
        self, error: errors.ModelyardError, status: int = 0, request_id: str = ""
    ) -> bytes:
        """An error of ours in the client's dialect."""
        return self.envelope(openai.told(error, status, request_id))


_RESPONSES = Native(responses.Tally, error_event)
_MESSAGES = Native(messages.Tally, messages_refusals.error_event)
_ANTHROPIC = (b"anthropic-version", b"anthropic-beta")

CHAT_COMPLETIONS = Route("/v1/chat/completions", "chat", codec=CHAT)
COMPLETIONS = Route("/v1/completions", "completions", infills=True)
EMBEDDINGS = Route("/v1/embeddings", "embeddings", streams=False)
RESPONSE = Route(
    "/v1/responses", "responses", inspect_responses, codec=RESPONSES, native=_RESPONSES,
    cached=False, fails_in_words=True,
)  # fmt: skip
MESSAGE = Route(
    "/v1/messages", "messages", inspect_messages, MESSAGES.envelope, MESSAGES, _MESSAGES,
    cached=False, forwards=_ANTHROPIC, names_request=True,
)  # fmt: skip
COUNT_TOKENS = Route(
    "/v1/messages/count_tokens", "count_tokens", inspect_messages, MESSAGES.envelope,
    streams=False, cached=False, forwards=_ANTHROPIC, names_request=True, counts_only=True,
)  # fmt: skip

PASSED = tuple(
    Route(path, "other", forms.inspect, streams=False, cached=False, passes=True)
    for path in PASSED_ROUTES
)
BY_SERVICE = Route("/pass", "other", streams=False, cached=False, passes=True, by_service=True)
"""`/pass/SERVICE/v1/…`, with any method."""

ROUTES = {
    route.path.encode(): route
    for route in (
        CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS, RESPONSE, MESSAGE, COUNT_TOKENS, *PASSED,
    )
}  # fmt: skip


def route_of(head: RequestHead) -> Route | None:
    """The route of a request that calls a model; None for all others."""
    if head.method == b"POST":
        route = ROUTES.get(head.path)
        if route is not None:
            return route
    return BY_SERVICE if head.path.startswith(PREFIX) else None


_CODECS: tuple[Dialect, ...] = (CHAT, MESSAGES, RESPONSES)
"""Those that a request is translated into, the most widely understood first."""


_OPENAI_CHAT = chat_with(Habits(max_tokens_name="max_completion_tokens", reasoning_name=""))
_STRICT_CHAT = chat_with(Habits(reasoning_name=""))
_STRICT = frozenset({"mistral", "groq"})
"""Providers that refuse members they do not know, such as what a model thought before."""


def _of_endpoint(codec: Dialect, endpoint: snapshots.Endpoint) -> Dialect:
    """The chat dialect as this endpoint wants it."""
    if codec is not CHAT:
        return codec
    if endpoint.max_tokens_name == "max_completion_tokens":
        return _OPENAI_CHAT
    return _STRICT_CHAT if endpoint.provider_kind in _STRICT else codec
