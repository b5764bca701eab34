"""`/api/whoami`, `/api/keys`, `/api/audit`, and the logins of the pages."""

from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from modelyard.control.audit import history
from modelyard.control.reconcile import ACTOR as RECONCILER
from modelyard.domain.access import ROLES, Principal
from modelyard.entry.api.allow import allow, from_our_pages
from modelyard.entry.api.context import Context, context
from modelyard.entry.api.sessions import COOKIE, SESSION_US
from modelyard.errors import Forbidden, Unauthenticated
from modelyard.lib import clock

router = APIRouter(tags=["access"])
Here = Annotated[Context, Depends(context)]
Public = Annotated[Principal, Depends(allow("public"))]
Self = Annotated[Principal, Depends(allow("self.read"))]
KeyReader = Annotated[Principal, Depends(allow("keys.read"))]
KeyWriter = Annotated[Principal, Depends(allow("keys.write"))]
Auditor = Annotated[Principal, Depends(allow("audit.read"))]


class NewKey(BaseModel, extra="forbid"):
    """What a key is for. Team, person and client go into every record made with it."""

    role: str = "caller"
    team: str = ""
    person: str = ""
    client: str = ""
    services: list[str] = []
    label: str = ""
    expires_at_us: int = 0
    limits: dict[str, Any] = {}
    """`requests_per_minute`, `tokens_per_minute`, `concurrency`, `budget: {usd, per}`,
    `unknown_price`; what is not given is not bounded."""
    priority: str = "normal"
    """Class in the queue of a service: `interactive`, `normal`, `background`."""
    trusted: bool = False
    """Whether it may say for which person and team it asks."""


class KeyLimits(BaseModel, extra="forbid"):
    """What changes; a bound that is null is taken away, one that is absent stays."""

    limits: dict[str, Any] = {}
    priority: str = ""


@router.get("/api/whoami")
def whoami(who: Self) -> dict[str, Any]:
    """Who one is and what one may do."""
    return {**who._asdict(), "permissions": sorted(ROLES[who.role])}


@router.get("/api/keys")
def keys(here: Here, who: KeyReader) -> dict[str, Any]:
    """All keys, without what opens anything."""
    return {"keys": here.app.access.keys(who.tenant)}


@router.post("/api/keys")
def create_key(body: NewKey, here: Here, who: KeyWriter) -> dict[str, Any]:
    """A new key; its text is in this answer and nowhere else."""
    document, text = here.app.access.create_key(
        who.tenant, **body.model_dump(), actor=who.name, now_us=clock.now_us()
    )
    return {**document, "key": text}


@router.patch("/api/keys/{key_id}")
def limit_key(key_id: str, body: KeyLimits, here: Here, who: KeyWriter) -> dict[str, Any]:
    """Change what a key may use; counts that run go on."""
    return here.app.access.limit(who.tenant, key_id, **body.model_dump(), actor=who.name)


@router.delete("/api/keys/{key_id}")
def revoke_key(key_id: str, here: Here, who: KeyWriter) -> dict[str, Any]:
    """The key opens nothing any more."""
    return here.app.access.revoke(who.tenant, key_id, who.name, clock.now_us())


@router.get("/api/audit")
def audit(
    here: Here, who: Auditor, since: int = 0, limit: int = 100, all: bool = False
) -> dict[str, Any]:
    """Who changed what and why, newest first; `all` shows the reconciler's status changes too."""
    return {"entries": audit_entries(here, who.tenant, since, limit, everything=all)}


def audit_entries(
    here: Context, tenant: str, since: int, limit: int, everything: bool = False
) -> list[dict[str, Any]]:
    """The latest commits that touched a tenant's documents, newest first."""
    without_actor = "" if everything else RECONCILER
    return history(here.app.meta, tenant, since=since, limit=limit, without_actor=without_actor)


@router.post("/api/login-links")
def login_link(here: Here, who: Self) -> dict[str, Any]:
    """A link that logs a browser in as this key: once, within ten minutes."""
    token = here.sessions.make_link(who.tenant, who.key_id, clock.now_us())
    return {"url": f"{here.control_url}/login/{token}"}


@router.get("/login/{token}", include_in_schema=False)
def login_with_link(
    token: str, request: Request, here: Here, _: Public, next: str = "/"
) -> RedirectResponse:
    """Turn a link into a cookie."""
    session = here.sessions.use_link(token, clock.now_us())
    if session is None:
        return RedirectResponse("/login?problem=link", 303)
    return _logged_in(here, request, session.tenant, session.key_id, _local(next))


@router.post("/login", include_in_schema=False)
async def login_with_key(request: Request, here: Here, _: Public) -> RedirectResponse:
    """Turn a typed key into a cookie."""
    _refuse_other_sites(request)
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    target = _local(form.get("next", ["/"])[0])
    key = form.get("key", [""])[0].strip()
    try:
        who = await run_in_threadpool(here.app.access.authenticate, key, clock.now_us())
    except Unauthenticated:
        return RedirectResponse(f"/login?problem=key&next={quote(target)}", 303)
    return _logged_in(here, request, who.tenant, who.key_id, target)


@router.post("/logout", include_in_schema=False)
def logout(request: Request, _: Public) -> RedirectResponse:
    """Forget the cookie."""
    _refuse_other_sites(request)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


def _local(path: str) -> str:
    """A path on this host; anything else that a link or form may hold leads to the overview."""
    plain = path.isprintable() and path.isascii() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"


def _refuse_other_sites(request: Request) -> None:
    """Nobody is logged in or out by a foreign page; programs, which say no origin, may."""
    says = "origin" in request.headers or "sec-fetch-site" in request.headers
    if says and not from_our_pages(request):
        raise Forbidden("this form comes from another site", code="cross_site")


def _logged_in(
    here: Context, request: Request, tenant: str, key_id: str, target: str
) -> RedirectResponse:
    response = RedirectResponse(target, 303)
    response.set_cookie(
        COOKIE,
        here.sessions.cookie(tenant, key_id, clock.now_us()),
        max_age=SESSION_US // 1_000_000,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response
