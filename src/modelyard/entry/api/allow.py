"""Who may use a route: every route names one permission with `allow`."""

import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from fastapi import Request

from modelyard.domain.access import PERMISSIONS, Principal
from modelyard.entry.api.context import Context, context
from modelyard.entry.api.sessions import COOKIE
from modelyard.errors import Forbidden, Unauthenticated
from modelyard.lib import clock

_SAFE = ("GET", "HEAD")
_NOBODY = Principal(tenant="", key_id="", role="", name="")


def allow(permission: str) -> Callable[[Request], Principal]:
    """A dependency that gives the principal, or refuses. `public` gives nobody; `internal`
    accepts the token of the platform's own processes alone."""
    if permission not in PERMISSIONS:
        raise ValueError(f"no permission {permission!r}")

    def check(request: Request) -> Principal:
        here = context(request)
        if permission == "public":
            return _NOBODY
        if permission == "internal":
            return _internal(request, here)
        principal = principal_of(request)
        principal.require(permission)
        return principal

    check.permission = permission  # type: ignore[attr-defined]
    return check


def principal_of(request: Request) -> Principal:
    """Who asks: by bearer key, or by the cookie of a login. Raises Unauthenticated."""
    here = context(request)
    text = bearer(request)
    if text:
        return here.app.access.authenticate(text, clock.now_us())
    session = here.sessions.read(request.cookies.get(COOKIE, ""), clock.now_us())
    if session is None:
        raise Unauthenticated(
            "no key and no login",
            hint="bring a key as `Authorization: Bearer my_…`; for the pages run `modelyard open`",
        )
    if request.method not in _SAFE and not from_our_pages(request):
        raise Forbidden("this request comes from another site", code="cross_site")
    return here.app.access.principal(session.tenant, session.key_id, clock.now_us())


def bearer(request: Request) -> str:
    """The token of the Authorization header, or nothing."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def from_our_pages(request: Request) -> bool:
    """A browser sends the cookie with any page's form; only our own pages may use it."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.url.netloc:
        return False
    return origin is not None if site is None else site in ("same-origin", "none")


def _internal(request: Request, here: Context) -> Principal:
    if not hmac.compare_digest(bearer(request).encode(), here.internal_token.encode()):
        raise Unauthenticated("for the platform's own processes only")
    return _NOBODY
