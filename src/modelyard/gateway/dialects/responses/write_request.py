"""A request for an endpoint that speaks this dialect.

A first system message of one text becomes `instructions`; all other system and developer messages
keep their place among the items. Nothing is stored there unless a client of this dialect said so.

Source: `response_create_params.py` of OpenAI's official SDK.
"""

from typing import Any

import msgspec

from modelyard.domain.chat import Members, Request, ResponseFormat, Text
from modelyard.gateway.dialects.base import Written
from modelyard.gateway.dialects.refusals import unsupported_parameter
from modelyard.gateway.dialects.responses.content import NAME
from modelyard.gateway.dialects.responses.ids import digest
from modelyard.gateway.dialects.responses.tools import write_choice, write_tools
from modelyard.gateway.dialects.responses.write_input import InputWriter

MOST_USER = 64
"""Characters; OpenAI refuses longer ones, and other dialects have longer ones."""
_EFFORTS = ((4096, "low"), (16384, "medium"))
"""Up to so many tokens of thinking are that effort; more is `high`."""
_SAME_IN_CHAT = frozenset({
    "metadata", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
})  # fmt: skip
_REFUSED: dict[str, tuple[object, str]] = {
    "n": (1, "asks for several answers, and OpenAI responses has one"),
    "logprobs": (False, "asks for probabilities, which are not translated from OpenAI responses"),
    "logit_bias": ({}, "is not known to OpenAI responses, and the answer would be another"),
    "modalities": (["text"], "asks for more than text, which is not translated"),
}
"""Members of chat completions that change the answer, and the values that say nothing."""
_SERVICE_TIERS = {"standard_only": "default"}


def write_request(request: Request) -> Written:
    """Raises Invalid (`unsupported_content`, `unsupported_parameter`)."""
    if request.stop:
        raise unsupported_parameter("stop", "is not known to OpenAI responses")
    own, dropped = _extra(request)
    instructions, skipped = _instructions(request)
    items = InputWriter(request)
    tools, foreign = write_tools(request)
    choice, unchosen = write_choice(request, bool(tools))
    if request.top_k is not None:
        dropped.append("top_k")
    body: dict[str, Any] = {
        "model": request.model,
        "instructions": instructions,
        "input": items.write(request.messages[skipped:], skipped),
        "tools": tools or None,
        **choice,
        **_settings(request, dropped),
        "store": False,
        "include": _include(request),
    }
    body = {name: value for name, value in body.items() if value is not None}
    _merge(body, own)
    named = [*foreign, *unchosen, *dropped, *items.dropped]
    return Written(msgspec.json.encode(body), tuple(sorted(set(named))))


def _instructions(request: Request) -> tuple[str | None, int]:
    """The text of the first message where that is a system's, and how many messages it took."""
    first = request.messages[0] if request.messages else None
    if first is not None and first.role == "system" and len(first.parts) == 1:
        part = first.parts[0]
        if isinstance(part, Text) and part.text and not part.extra:
            return part.text, 1
    return None, 0


def _settings(request: Request, dropped: list[str]) -> dict[str, Any]:
    return {
        "parallel_tool_calls": request.parallel_tool_calls,
        "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stream": request.stream or None,
        "text": _text(request.response_format),
        "reasoning": _reasoning(request, dropped),
        "safety_identifier": short_user(request.user) or None,
        "service_tier": _SERVICE_TIERS.get(request.service_tier, request.service_tier) or None,
    }


def short_user(user: str) -> str:
    """An identifier that is too long is replaced by its digest: it names the same person still."""
    return user if len(user) <= MOST_USER else digest(user, MOST_USER)


def _text(form: ResponseFormat | None) -> dict[str, Any] | None:
    return None if form is None else {"format": written_format(form)}


def written_format(form: ResponseFormat) -> dict[str, Any]:
    """The form of the answer, flat as this dialect has it."""
    if form.kind != "json_schema":
        return {"type": form.kind}
    schema = form.schema if bytes(form.schema) else {}
    written = {"type": form.kind, "name": form.name or "answer", "schema": schema}
    described = {"description": form.description} if form.description else {}
    strict = {} if form.strict is None else {"strict": form.strict}
    return written | described | strict


def _reasoning(request: Request, dropped: list[str]) -> dict[str, Any] | None:
    """Tokens of thinking become the effort that comes nearest."""
    asked = request.reasoning
    if asked is None:
        return None
    effort = asked.effort
    if asked.budget_tokens is not None:
        dropped.append("reasoning.budget_tokens")
        effort = effort or _effort(asked.budget_tokens)
    summary = "" if asked.summary == "omitted" else asked.summary
    said = {"effort": effort, "summary": summary}
    return {name: value for name, value in said.items() if value} or None


def _include(request: Request) -> list[str] | None:
    """What lets thoughts come back in the next turn, for clients whose dialect can carry it."""
    wants = request.reasoning is not None and request.reasoning.effort != "none"
    return ["reasoning.encrypted_content"] if wants and request.dialect == "messages" else None


def _effort(budget_tokens: int) -> str:
    return next((effort for most, effort in _EFFORTS if budget_tokens <= most), "high")


def _extra(request: Request) -> tuple[Members, list[str]]:
    """The members that this dialect knows, and the names of the others. Raises Invalid for one
    that changes the answer."""
    if request.dialect == NAME:
        return request.extra, []
    known: Members = {}
    dropped = []
    for name, raw in request.extra.items():
        if request.dialect == "chat" and name in _REFUSED:
            _check(name, raw)
        elif request.dialect == "chat" and name in _SAME_IN_CHAT:
            known[name] = raw
        elif request.dialect == "chat" and name == "verbosity":
            known["text.verbosity"] = raw
        elif not _says_nothing(name, raw):
            dropped.append(name)
    return known, dropped


def _says_nothing(name: str, raw: msgspec.Raw) -> bool:
    """Whether leaving it out leaves everything as it was asked for: nothing is stored, and the
    usage is in every answer."""
    return name == "stream_options" or (name == "store" and bytes(raw) == b"false")


def _check(name: str, raw: msgspec.Raw) -> None:
    harmless, why = _REFUSED[name]
    if msgspec.json.decode(raw) not in (None, harmless):
        raise unsupported_parameter(name, why)


def _merge(body: dict[str, Any], extra: Members) -> None:
    """Members by their path: `text.verbosity` goes into `text`."""
    for path, raw in extra.items():
        name, _, inner = path.partition(".")
        if inner:
            body.setdefault(name, {})[inner] = raw
        else:
            body[name] = raw
