"""What the routes of the control process share."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import Request

from modelyard.app import App
from modelyard.entry.api.sessions import Sessions
from modelyard.ports.engine import Target


@dataclass(frozen=True)
class Context:
    """`target` reaches the replicas; `stopping` is set when the process ends."""

    app: App
    target: Target
    gateway_url: str
    control_url: str
    sessions: Sessions
    internal_token: str
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


def context(request: Request) -> Context:
    """The context of the application that serves this request."""
    state: Any = request.app.state
    return cast(Context, state.context)
