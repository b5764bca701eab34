"""`/api/chat`: the pages' way to the gateway, as the person who is logged in.

A page may only speak to its own origin, and a browser should hold no key. So this process relays
the bytes of the answer as they come, under a key of its own for that person.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated

import httpx
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse
from starlette.requests import ClientDisconnect

from modelyard.domain.access import Principal
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.errors import Unavailable
from modelyard.lib import clock
from modelyard.lib.tls import calling

router = APIRouter(prefix="/api", tags=["chat"])
Here = Annotated[Context, Depends(context)]
Caller = Annotated[Principal, Depends(allow("inference.call"))]

LEARN_S = 3.0
"""How long gateways may take at most to learn of a key that was just made."""
_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
_SENT = ("x-modelyard-session",)
_PASSED = ("content-type", "x-request-id", "x-modelyard-revision", "x-modelyard-error-source")


@router.post("/chat", response_class=Response)
async def chat(request: Request, here: Here, who: Caller) -> Response:
    """A chat completion through the gateway; the body is OpenAI's, and so is the answer."""
    body = await request.body()
    key = await here.page_keys.of(who)
    client = _client(here)
    sending = asyncio.ensure_future(_send(client, here, body, _headers(request, key)))
    try:
        answer = await _unless_gone(request, sending)
    except BaseException:
        await client.aclose()
        raise
    headers = {name: answer.headers[name] for name in _PASSED if name in answer.headers}
    return StreamingResponse(_relay(client, answer), answer.status_code, headers)


def _client(here: Context) -> httpx.AsyncClient:
    """To our own gateway and nowhere else: no proxy, no `.netrc`, no certificate but its own."""
    trusted = calling(here.app.settings.gateway.tls.certificate)
    return httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, verify=trusted or False)


def _headers(request: Request, key: str) -> dict[str, str]:
    headers = {name: request.headers[name] for name in _SENT if name in request.headers}
    return {**headers, "authorization": f"Bearer {key}", "content-type": "application/json"}


async def _send(
    client: httpx.AsyncClient, here: Context, body: bytes, headers: Mapping[str, str]
) -> httpx.Response:
    """A key just made may still be unknown to the gateway: 401 is tried again for a moment."""
    deadline_s = clock.monotonic_s() + LEARN_S
    url = f"{here.gateway_url}/v1/chat/completions"
    while True:
        request = client.build_request("POST", url, content=body, headers=headers)
        try:
            answer = await client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise Unavailable(f"the gateway does not answer: {error}", hint="try again") from error
        if answer.status_code != 401 or clock.monotonic_s() > deadline_s:
            return answer
        await answer.aclose()
        await asyncio.sleep(0.2)


async def _unless_gone(request: Request, sending: asyncio.Task[httpx.Response]) -> httpx.Response:
    """The answer's head. When the browser goes away before it comes, sending is cancelled, and
    with it the work upstream."""
    gone = asyncio.ensure_future(request.receive())  # the body is read: only a farewell can come
    try:
        await asyncio.wait([sending, gone], return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            raise ClientDisconnect
        return sending.result()
    finally:
        for task in (gone, sending):
            task.cancel()
        await asyncio.gather(gone, sending, return_exceptions=True)


async def _relay(client: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    """Ends with the answer or with the browser; either way upstream is let go."""
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()
        await client.aclose()
