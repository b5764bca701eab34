"""Around every answer: security headers, the host check, a size limit, no traceback to anybody."""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.entry.api import answers
from modelyard.errors import Forbidden, ModelyardError, TooLarge

POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_UNLIMITED = ("/api/blobs/sha256:", "/internal/")
"""Model files have a limit of their own; our own processes are known before they are read."""


class Guard:
    """ASGI middleware. `host` is the address listened on: on loopback no other name is answered,
    which stops a foreign page that has made its own name point here (DNS rebinding)."""

    def __init__(self, app: ASGIApp, host: str, max_body_bytes: int) -> None:
        self._app = app
        self._local_only = is_loopback(host)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _harden(message, scope["path"])
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, self._limited(scope, receive), sending)
        except ModelyardError as error:
            await answers.respond(error)(scope, receive, sending)
        except ClientDisconnect:
            return  # nobody is there to be told
        except Exception as error:
            answer = answers.unexpected(scope["path"], error)
            if started:
                raise  # the answer is cut off, which is all that can still be said
            await answer(scope, receive, sending)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._local_only and not is_loopback(name := _host_name(headers.get("host", ""))):
            raise Forbidden(
                f"this platform listens on this machine only and does not answer for {name!r}",
                hint="start it with --host to serve other names",
            )
        size = int(headers.get("content-length") or 0)
        if size > self._max_body_bytes and not scope["path"].startswith(_UNLIMITED):
            raise TooLarge(f"{size:,} bytes; at most {self._max_body_bytes:,} here")

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """The same for bodies that do not say their length."""
        if scope["path"].startswith(_UNLIMITED):
            return receive
        size = 0

        async def receiving() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body_bytes:
                raise HTTPException(413, f"more than {self._max_body_bytes:,} bytes")
            return message

        return receiving


def is_loopback(name: str) -> bool:
    """Whether a name or address can only mean this machine."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _harden(message: Message, path: str) -> None:
    headers = MutableHeaders(raw=message.setdefault("headers", []))
    headers["content-security-policy"] = POLICY
    headers["x-content-type-options"] = "nosniff"
    headers["referrer-policy"] = "same-origin"  # with none, browsers hide the origin of our forms
    if not path.startswith("/static/"):
        headers.setdefault("cache-control", "no-store")
