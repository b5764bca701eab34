"""Whether providers answer, asked now and then in a thread of its own: one that does not answer
holds up nothing, least of all a changed key on its way to the gateways."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from modelyard.control.providers import Tried
from modelyard.domain.snapshot import Endpoint
from modelyard.lib import clock

EVERY_S = 30.0
TIMEOUT_S = 5.0
FORGET_S = 3 * EVERY_S


class _Call(NamedTuple):
    """What a question is made of: services that use the same key ask it once."""

    url: str
    auth: str
    api_key: str
    headers: tuple[tuple[str, str], ...]
    kind: str


class Asker:
    """Call it as often as you like: it asks each key once in `EVERY_S`, and a new one at once."""

    def __init__(self) -> None:
        self._asked_s: dict[_Call, float] = {}
        self._found: dict[_Call, str] = {}
        self._last: dict[str, str] = {}
        """By endpoint id: what is said while a changed key has not been asked yet."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, endpoints: Sequence[Endpoint]) -> Mapping[str, str]:
        """What is wrong with each, by its id, empty where it is well; without those of which
        nothing is known yet."""
        now_s = clock.monotonic_s()
        for endpoint in endpoints:
            call = _call(endpoint)
            if now_s - self._asked_s.get(call, -EVERY_S) >= EVERY_S:
                self._asked_s[call] = now_s
                self._start(endpoint, call)
            if call in self._found:
                self._last[endpoint.id] = self._found[call]
        self._forget(now_s)
        return {one.id: self._last[one.id] for one in endpoints if one.id in self._last}

    def _start(self, endpoint: Endpoint, call: _Call) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="asking", daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._ask(endpoint, call), self._loop)

    async def _ask(self, endpoint: Endpoint, call: _Call) -> None:
        # Imported when there is a provider: its HTTP client is the largest part of a process.
        from modelyard.control.tryout import try_out

        quiet = msgspec.structs.replace(endpoint, upstream_model="")  # it costs no token
        (tried,) = await try_out([quiet], TIMEOUT_S)
        self._found[call] = tried.said if _is_sick(tried) else ""

    def _forget(self, now_s: float) -> None:
        """Keys that nobody asks about any more."""
        old = [call for call, at_s in self._asked_s.items() if now_s - at_s > FORGET_S]
        for call in old:
            del self._asked_s[call]
            self._found.pop(call, None)


def _call(endpoint: Endpoint) -> _Call:
    return _Call(
        endpoint.url, endpoint.auth, endpoint.api_key, endpoint.headers, endpoint.provider_kind
    )


def _is_sick(tried: Tried) -> bool:
    """One that lists no models, or wants no more of them to be asked for, may answer well."""
    return not tried.ok and (tried.status in (0, 401, 403) or tried.status >= 500)
