"""Trying a provider out: one cheap call with a key, and what failed in plain words.

Nothing that a provider answers is repeated: some put a part of the key into their errors.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import httpx

from modelyard.control.providers import Tried
from modelyard.domain.providers.addresses import origin_of, path_of
from modelyard.domain.providers.endpoints import credentials
from modelyard.domain.providers.kinds import KINDS
from modelyard.domain.snapshot import Endpoint
from modelyard.lib import clock

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MODELS = "/v1/models"
_NO_PATH = (404, 405)
_HEADERS = {"user-agent": "modelyard", "accept": "application/json"}


class _Answer(NamedTuple):
    status: int
    location: str
    value: Any
    """The JSON of the answer; None where it is none."""


async def try_out(endpoints: Sequence[Endpoint], timeout_s: float = TIMEOUT_S) -> list[Tried]:
    """Each key of a provider, all at once. An endpoint's `upstream_model` is asked for one token
    where there is no list of models; empty: it is not asked."""
    async with _client(timeout_s) as http:
        return list(await asyncio.gather(*(_timed(http, one, timeout_s) for one in endpoints)))


async def list_models(endpoint: Endpoint, timeout_s: float = TIMEOUT_S) -> Tried:
    """The models that a provider lists to a key."""
    async with _client(timeout_s) as http:
        return await _bounded(_list(http, endpoint), endpoint, timeout_s)


@asynccontextmanager
async def _client(timeout_s: float) -> AsyncIterator[httpx.AsyncClient]:
    """As the gateways call: no proxy, no `.netrc`, the system's authorities, no redirect."""
    async with httpx.AsyncClient(
        timeout=timeout_s,
        trust_env=False,
        follow_redirects=False,
        headers=_HEADERS,
        verify=ssl.create_default_context(),
    ) as http:
        yield http


async def _timed(http: httpx.AsyncClient, endpoint: Endpoint, timeout_s: float) -> Tried:
    began_s = clock.monotonic_s()
    tried = await _bounded(_check(http, endpoint), endpoint, timeout_s)
    return tried._replace(latency_us=int((clock.monotonic_s() - began_s) * 1_000_000))


async def _bounded(work: Any, endpoint: Endpoint, timeout_s: float) -> Tried:
    try:
        async with asyncio.timeout(timeout_s):
            tried: Tried = await work
            return tried
    except (TimeoutError, httpx.TimeoutException):
        return Tried(False, f"{_host(endpoint)} gave no answer within {timeout_s:g} s")
    except httpx.HTTPError as error:
        return Tried(False, _unreached(error, endpoint))
    except httpx.InvalidURL:
        return Tried(False, f"{_host(endpoint)} is no host that can be called: {_URL}")


async def _check(http: httpx.AsyncClient, endpoint: Endpoint) -> Tried:
    """The call that needs a valid key, then the list of models where that is another one."""
    check = KINDS[endpoint.provider_kind].check
    if check != "/models":
        path = urlsplit(endpoint.url).path.rstrip("/") + check
        answer = await _call(http, endpoint, "GET", path)
        if problem := _problem(answer, endpoint):
            return Tried(False, problem, status=answer.status)
    listed = await _list(http, endpoint)
    if listed.status in _NO_PATH and endpoint.upstream_model:
        return await _ask_one_token(http, endpoint)
    return listed


async def _list(http: httpx.AsyncClient, endpoint: Endpoint) -> Tried:
    answer = await _call(http, endpoint, "GET", path_of(endpoint.url, endpoint.paths, MODELS))
    if problem := _problem(answer, endpoint):
        return Tried(False, problem, status=answer.status)
    data = answer.value.get("data") if isinstance(answer.value, dict) else None
    if not isinstance(data, list):
        said = f"{_host(endpoint)} answered 200, but with no list of models: {_URL}"
        return Tried(False, said, status=200)
    names = [one.get("id") for one in data if isinstance(one, dict)]
    models = tuple(name for name in names if isinstance(name, str))
    said = f"it lists {len(models)} model{'' if len(models) == 1 else 's'}"
    return Tried(True, said, models=models, status=200)


async def _ask_one_token(http: httpx.AsyncClient, endpoint: Endpoint) -> Tried:
    """For providers that list no models."""
    body: dict[str, Any] = {
        "model": endpoint.upstream_model,
        "messages": [{"role": "user", "content": "hi"}],
    }
    speaks_chat = "chat" in endpoint.dialects
    route = "/v1/chat/completions" if speaks_chat else "/v1/messages"
    body[endpoint.max_tokens_name if speaks_chat else "max_tokens"] = 1
    path = path_of(endpoint.url, endpoint.paths, route)
    answer = await _call(http, endpoint, "POST", path, body)
    if problem := _problem(answer, endpoint):
        return Tried(False, problem, status=answer.status)
    return Tried(True, f"it lists no models, and {endpoint.upstream_model} answers", status=200)


async def _call(
    http: httpx.AsyncClient, endpoint: Endpoint, method: str, path: str, body: Any = None
) -> _Answer:
    headers = [*endpoint.headers]
    if endpoint.api_key:
        headers.append(credentials(endpoint.auth, endpoint.api_key))
    url = origin_of(endpoint.url) + path
    async with http.stream(method, url, headers=headers, json=body) as answer:
        pieces: list[bytes] = []
        size = 0
        async for piece in answer.aiter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                break
        location = urljoin(url, answer.headers.get("location", ""))
        return _Answer(answer.status_code, location, _json(b"".join(pieces)))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


# --- words ----------------------------------------------------------------------------------

_URL = "is spec.url right?"
_WORDS = {
    401: "the provider refuses the key (401): it is wrong or revoked; give another",
    403: "the key may not do this (403): it lacks a right, or the account or region is barred",
    429: "too many requests, or nothing left on the account (429)",
}


def _problem(answer: _Answer, endpoint: Endpoint) -> str:
    """What an answer means for whoever set the provider up; empty when it is well."""
    status = answer.status
    if status in _NO_PATH:
        return _no_path(endpoint)
    if status in _WORDS:
        return _WORDS[status]
    if 300 <= status < 400:
        return f"it redirects ({status}) to {_origin(answer.location)}, which is not followed: " + (
            "give that as spec.url if you trust it"
        )
    if status >= 500:
        return f"the provider fails ({status}); try again later"
    if status != 200:
        return f"the provider answered {status}"
    if answer.value is None:
        return f"{_host(endpoint)} answered 200, but not with JSON: {_URL}"
    return ""


def _no_path(endpoint: Endpoint) -> str:
    return f"there is nothing at {endpoint.url} (404): {_URL}"


def _unreached(error: httpx.HTTPError, endpoint: Endpoint) -> str:
    host = _host(endpoint)
    causes = list(_causes(error))
    if any(isinstance(one, socket.gaierror) for one in causes):
        return f"the host {host} is not known (DNS): {_URL}"
    tls = next((one for one in causes if isinstance(one, ssl.SSLError)), None)
    if tls is not None:
        reason = getattr(tls, "verify_message", "") or tls.reason or "no TLS there"
        return f"TLS with {host} failed: {reason}"
    if any(isinstance(one, ConnectionRefusedError) for one in causes):
        return f"nothing listens at {host} (connection refused): {_URL}"
    system = next((one for one in causes if isinstance(one, OSError) and one.strerror), None)
    if system is not None:
        return f"{host} cannot be reached: {system.strerror}"
    return f"{host} broke off the connection, or does not speak HTTP"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that led to it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _host(endpoint: Endpoint) -> str:
    return urlsplit(endpoint.url).netloc


def _origin(url: str) -> str:
    try:
        return origin_of(url)
    except ValueError:
        return "somewhere else"
