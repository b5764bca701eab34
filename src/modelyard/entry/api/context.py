"""What the routes of the control process share."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import Request

from modelyard.app import App
from modelyard.entry.api.page_keys import PageKeys
from modelyard.entry.api.sessions import Sessions
from modelyard.ports.engine import Target

WRITERS = 8


@dataclass(frozen=True)
class Context:
    """`target` reaches the replicas; `writers` are the threads that uploads are written by, so
    that slow uploads hold up nothing else; `stopping` is set when the process ends."""

    app: App
    target: Target
    gateway_url: str
    control_url: str
    sessions: Sessions
    internal_token: str
    page_keys: PageKeys
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    writers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WRITERS))

    def stop(self) -> None:
        """Let long answers (live events, snapshot polls) end now; in the event loop."""
        self.stopping.set()
        self.app.insight.wake()
        self.app.snapshots.stop()


def context(request: Request) -> Context:
    """The context of the application that serves this request."""
    state: Any = request.app.state
    return cast(Context, state.context)
