"""What an outside URL serves, asked before a service is made of it."""

import difflib
import os
from typing import Any

import httpx

from modelyard.errors import Invalid

TIMEOUT_S = 5.0
MOST_SHOWN = 12


def choose_model(url: str, secret: str, service: str) -> str:
    """The upstream's name for the model: its only one, or the one called like the service.

    Empty when the upstream cannot say; whoever asks it then gets its own answer. Raises Invalid
    with the names when there are several.
    """
    names = models_of(url, secret)
    if not names or service in names:
        return ""
    if len(names) == 1:
        return names[0]
    near = difflib.get_close_matches(service, names, n=1)
    first = near + [name for name in names if name not in near]
    shown = ", ".join(first[:MOST_SHOWN]) + (", …" if len(first) > MOST_SHOWN else "")
    raise Invalid(
        f"{url} serves {len(names)} models, none of them called {service!r}",
        hint=f"say which with --upstream-model: {shown}",
    )


def models_of(url: str, secret: str) -> list[str]:
    """The names in its `GET /v1/models`; none when it does not answer or answers otherwise."""
    base = url.rstrip("/").removesuffix("/v1")
    key = os.environ.get(secret.removeprefix("env:"), "") if secret else ""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{base}/v1/models", headers=headers, timeout=TIMEOUT_S)
        listed: Any = answer.json()["data"] if answer.status_code == 200 else []
        return [str(one["id"]) for one in listed]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return []
