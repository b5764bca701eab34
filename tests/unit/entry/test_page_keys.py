"""The keys with which the pages call services."""

import pytest

from modelyard.control.access import Access
from modelyard.entry.api.page_keys import PageKeys
from modelyard.lib import clock
from modelyard.testing.stores import MemoryMetaStore

pytestmark = pytest.mark.anyio


async def test_the_chat_page_goes_by_the_limits_of_the_login() -> None:
    access = Access(MemoryMetaStore(), b"pepper")
    login, text = access.create_key(
        "default", actor="ada", now_us=clock.now_us(), role="admin",
        limits={"requests_per_minute": 5}, priority="background",
    )  # fmt: skip
    who = access.authenticate(text, clock.now_us())
    made = await PageKeys(access).of(who)
    page_key = next(one for one in access.keys("default") if one["id"] == made.split("_")[1])
    assert page_key["id"] != login["id"]
    assert page_key["limits"] == {"requests_per_minute": 5}
    assert page_key["priority"] == "background"
