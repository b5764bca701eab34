"""`/api/whoami`, `/api/keys`, `/api/audit`, and the logins of the pages."""

from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from modelyard.control.reconcile import ACTOR as RECONCILER
from modelyard.domain.access import ROLES, Principal
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.entry.api.sessions import COOKIE, SESSION_US
from modelyard.errors import Unauthenticated
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


@router.delete("/api/keys/{key_id}")
def revoke_key(key_id: str, here: Here, who: KeyWriter) -> dict[str, Any]:
    """The key opens nothing any more."""
    return here.app.access.revoke(who.tenant, key_id, who.name, clock.now_us())


@router.get("/api/audit")
def audit(
    here: Here, who: Auditor, since: int = 0, limit: int = 100, all: bool = False
) -> dict[str, Any]:
    """Who changed what and why, newest first; `all` shows the reconciler's status changes too."""
    entries: list[dict[str, Any]] = []
    last = since
    while commits := here.app.meta.watch(last, 0.0):
        last = commits[-1].generation
        for commit in commits:
            keys = [str(key) for key in commit.keys if key.tenant == who.tenant]
            if keys and (all or commit.actor != RECONCILER):
                entries.append({**commit._asdict(), "keys": keys})
        entries = entries[-limit:]
    return {"entries": entries[::-1]}


@router.post("/api/login-links")
def login_link(here: Here, who: Self) -> dict[str, Any]:
    """A link that logs a browser in as this key: once, within ten minutes."""
    token = here.sessions.make_link(who.tenant, who.key_id, clock.now_us())
    return {"url": f"{here.control_url}/login?token={token}"}


@router.get("/login/{token}", include_in_schema=False)
def login_with_link(token: str, request: Request, here: Here, _: Public) -> RedirectResponse:
    """Turn a link into a cookie."""
    session = here.sessions.use_link(token, clock.now_us())
    if session is None:
        return RedirectResponse("/login?problem=link", 303)
    return _logged_in(here, request, session.tenant, session.key_id, "/")


@router.post("/login", include_in_schema=False)
async def login_with_key(request: Request, here: Here, _: Public) -> RedirectResponse:
    """Turn a typed key into a cookie."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    wanted = form.get("next", ["/"])[0]
    target = wanted if wanted.startswith("/") and not wanted.startswith(("//", "/\\")) else "/"
    try:
        who = here.app.access.authenticate(form.get("key", [""])[0].strip(), clock.now_us())
    except Unauthenticated:
        return RedirectResponse(f"/login?problem=key&next={quote(target)}", 303)
    return _logged_in(here, request, who.tenant, who.key_id, target)


@router.post("/logout", include_in_schema=False)
def logout(_: Public) -> RedirectResponse:
    """Forget the cookie."""
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


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
