"""One program for an SDK's sync and its async client; run by the SDK's own Python, so it imports
nothing of ours."""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any


class Way:
    """`sync` or `async`: what a call of the client gives is awaited where it must be."""

    def __init__(self, name: str, errors: type[Exception]) -> None:
        self.is_async = name == "async"
        self._errors = errors
        self._runner = asyncio.Runner()

    def __call__(self, value: Any) -> Any:
        """The value itself."""
        return self._runner.run(_awaited(value)) if inspect.isawaitable(value) else value

    def all(self, stream: Any) -> list[Any]:
        """All that a stream says."""
        stream = self(stream)
        return self._runner.run(_listed(stream)) if self.is_async else list(stream)

    def refusal(self, call: Callable[[], Any]) -> Any:
        """The error that a call ends with, or a stream of its before the end."""
        try:
            given = self(call())
            if hasattr(given, "response"):
                self.all(given)
        except self._errors as error:
            return error
        raise AssertionError(f"nothing was refused: {given}")

    def patiently(self, hold: Callable[[], Any], call: Callable[[], Any]) -> tuple[Any, bool]:
        """What a call gives whose only place is taken for a while, and whether it has waited."""
        held = hold()
        timer = threading.Timer(0.4, held.close)
        timer.start()
        began_s = time.monotonic()
        given = self(call())
        timer.join()
        return given, time.monotonic() - began_s >= 1.0

    def close(self, client: Any) -> None:
        """Close the client, then the loop."""
        self(client.close())
        self._runner.close()


async def _awaited(value: Any) -> Any:
    return await value


async def _listed(stream: Any) -> list[Any]:
    return [one async for one in stream]
