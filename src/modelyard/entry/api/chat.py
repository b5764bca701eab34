"""`/api/chat`: the pages' way to the gateway, as the person who is logged in.

A page may only speak to its own origin, and a browser should hold no key. So this process keeps a
key per person for its lifetime and relays the bytes of the answer as they come.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Body, Depends
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from modelyard.domain.access import Principal
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.errors import Unavailable
from modelyard.lib import clock

router = APIRouter(prefix="/api", tags=["chat"])
Here = Annotated[Context, Depends(context)]
Caller = Annotated[Principal, Depends(allow("inference.call"))]

KEY_US = 30 * 24 * 3600 * 1_000_000
FRESH_KEY_S = 3.0
"""How long the gateways may take to learn a key that was just made."""
_PASSED = ("content-type", "x-request-id", "x-modelyard-revision", "x-modelyard-error-source")


class PageKeys:
    """The keys that chats of the pages use: one per person, made when first needed."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], str] = {}
        self._lock = asyncio.Lock()

    async def of(self, here: Context, who: Principal) -> str:
        """The key's text."""
        async with self._lock:
            place = (who.tenant, who.key_id)
            if place not in self._keys:
                self._keys[place] = await run_in_threadpool(_make_key, here, who)
            return self._keys[place]


def _make_key(here: Context, who: Principal) -> str:
    """A fresh key; those that a former process made for this login are revoked."""
    access, now_us = here.app.access, clock.now_us()
    label = f"chat page, login {who.key_id}"
    for known in access.keys(who.tenant):
        if known["label"] == label and not known["revoked_at_us"]:
            access.revoke(who.tenant, known["id"], "chat page", now_us)
    _, text = access.create_key(
        who.tenant,
        team=who.team,
        person=who.person or who.name,
        client="chat page",
        services=who.services,
        label=label,
        expires_at_us=now_us + KEY_US,
        actor=who.name,
        now_us=now_us,
    )
    return text


_keys = PageKeys()


@router.post("/chat")
async def chat(body: Annotated[dict[str, Any], Body()], here: Here, who: Caller) -> Any:
    """A chat completion through the gateway; the body is OpenAI's."""
    key = await _keys.of(here, who)
    client = httpx.AsyncClient(timeout=httpx.Timeout(600.0, connect=5.0))
    try:
        answer = await _send(client, here, body, key)
    except BaseException:
        await client.aclose()
        raise
    headers = {name: answer.headers[name] for name in _PASSED if name in answer.headers}
    return StreamingResponse(_relay(client, answer), answer.status_code, headers)


async def _send(
    client: httpx.AsyncClient, here: Context, body: dict[str, Any], key: str
) -> httpx.Response:
    """A key just made may still be unknown to the gateway: 401 is tried again for a moment."""
    deadline_s = clock.monotonic_s() + FRESH_KEY_S
    url = f"{here.gateway_url}/v1/chat/completions"
    while True:
        request = client.build_request(
            "POST", url, json=body, headers={"authorization": f"Bearer {key}"}
        )
        try:
            answer = await client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise Unavailable(f"the gateway does not answer: {error}", hint="try again") from error
        if answer.status_code != 401 or clock.monotonic_s() > deadline_s:
            return answer
        await answer.aclose()
        await asyncio.sleep(0.1)


async def _relay(client: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    """Ends with the answer or with the browser; either way upstream is let go."""
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()
        await client.aclose()
