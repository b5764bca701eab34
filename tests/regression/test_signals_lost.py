"""Regression 15: signals that are missing or wrong do not become an outage.

What gateways get wrong: a document that names what is not there is applied in silence, or takes
the service down; and when the engines' metrics cannot be read, everything counts as full.
"""

import asyncio
from typing import Any

import pytest
from tests.platform import Platform
from tests.regression.clients import body, lines, served

from modelyard.errors import Invalid, NotFound
from modelyard.testing.echo import EchoServer

pytestmark = pytest.mark.anyio
URL = "http://127.0.0.1:9/v1"


def document(name: str, kind: str = "Service", **spec: Any) -> dict[str, Any]:
    """A document; a service runs outside unless it says otherwise."""
    if kind == "Service":
        spec = {"engine": {"name": "openai", "urls": [URL]}, **spec}
    return {"apiVersion": "modelyard/v1", "kind": kind, "name": name, "spec": spec}


DANGLING: dict[str, tuple[dict[str, Any], str]] = {
    "fallback": (document("steady", fallback=["nobody"]), "spec.fallback"),
    "shadow": (document("steady", shadow={"service": "nobody"}), "spec.shadow"),
    "cache": (document("steady", cache={"ttl_s": 60, "semantic": {"service": "nobody"}}),
              "spec.cache.semantic"),
    "itself": (document("steady", fallback=["steady"]), "spec.fallback"),
    "limit of a service": (
        document("tight", "Limit", service="nobody", requests_per_minute=1), "spec.service"),
    "limit of a key": (
        document("tight", "Limit", key="nobody", requests_per_minute=1), "spec.key"),
}  # fmt: skip


class Mute(EchoServer):
    """An engine whose metrics nobody can read: the connection breaks instead."""

    def _metrics(self) -> bytes:
        self.asked_for_metrics += 1
        raise ConnectionError

    asked_for_metrics = 0


class Confused(Mute):
    """An engine whose metrics are nonsense."""

    def _metrics(self) -> bytes:
        self.asked_for_metrics += 1
        return b"vllm:num_requests_waiting{ NaN\nvllm:kv_cache_usage_perc 9e99\n\xff\n"


@pytest.mark.parametrize("what", DANGLING)
async def test_a_document_that_dangles_is_refused_and_nothing_changes(
    three: Platform, what: str
) -> None:
    wrong, place = DANGLING[what]
    key, client = three.key.encode(), three.client
    async with served(three, "steady", EchoServer()), lines(three) as found:
        stored = await asyncio.to_thread(client.service, "steady")
        with pytest.raises(Invalid) as refused:
            await asyncio.to_thread(client.apply_all, [document("beside"), wrong])
        assert place in refused.value.message
        assert wrong["name"] in refused.value.message
        assert (await asyncio.to_thread(client.service, "steady"))["document"] == stored["document"]
        with pytest.raises(NotFound):  # all or nothing
            await asyncio.to_thread(client.service, "beside")
        replies = [await line.ask(body("steady"), key) for line in found]
        assert [reply.status for reply in replies] == [200] * len(found)


@pytest.mark.parametrize("healthy", [0, 1])
async def test_metrics_that_cannot_be_read_stop_no_request(three: Platform, healthy: int) -> None:
    """Dead for one replica, then for all: it goes on with what it counts itself."""
    servers = [Mute(), Confused(), *(EchoServer() for _ in range(healthy))]
    key = three.key.encode()
    async with served(three, "blind", *servers), lines(three, 2) as found:
        for number in range(120):
            reply = await found[number % len(found)].ask(body("blind", stream=True), key)
            assert (reply.status, reply.done) == (200, 1)
        assert sum(len(server.calls) for server in servers) == 120
