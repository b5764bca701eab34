"""The keys with which the pages call services: one per login, made when first needed.

A browser should hold no key. The text of these stays in this process; when it starts again, the
former ones are revoked and made anew.
"""

import asyncio
from typing import Any

from starlette.concurrency import run_in_threadpool

from modelyard.control.access import Access
from modelyard.domain.access import Principal
from modelyard.errors import Unauthenticated
from modelyard.lib import clock

KEY_US = 30 * 24 * 3600 * 1_000_000
ACTOR = "chat page"
LEARN_S = 0.1
"""What the gateways usually need to learn of a key that was just made."""


class PageKeys:
    """`of` may be called at once by many requests of one event loop."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._texts: dict[tuple[str, str], str] = {}
        self._lock = asyncio.Lock()

    async def of(self, who: Principal) -> str:
        """The text of a key that is valid now."""
        place = (who.tenant, who.key_id)
        async with self._lock:
            text = self._texts.get(place, "")
            if not text or not await run_in_threadpool(self._is_valid, text):
                text = self._texts[place] = await run_in_threadpool(self._make, who)
                await asyncio.sleep(LEARN_S)
        return text

    def _is_valid(self, text: str) -> bool:
        try:
            self._access.authenticate(text, clock.now_us())
        except Unauthenticated:
            return False
        return True

    def _make(self, who: Principal) -> str:
        """A fresh key with the limits of the login's; those that a former process made for this
        login are revoked."""
        now_us = clock.now_us()
        label = f"chat page, login {who.key_id}"
        login: dict[str, Any] = {}
        for known in self._access.keys(who.tenant):
            login = known if known["id"] == who.key_id else login
            if known["label"] == label and not known["revoked_at_us"]:
                self._access.revoke(who.tenant, known["id"], ACTOR, now_us)
        _, text = self._access.create_key(
            who.tenant,
            team=who.team,
            person=who.person or who.name,
            client=ACTOR,
            services=who.services,
            label=label,
            expires_at_us=now_us + KEY_US,
            limits=login.get("limits"),
            priority=login.get("priority", "normal"),
            actor=who.name,
            now_us=now_us,
        )
        return text
