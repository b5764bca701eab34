"""One function per page: ask the control classes, render a template."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from starlette.concurrency import run_in_threadpool

from modelyard.domain.access import PRIORITIES, ROLES, Principal, holds
from modelyard.entry import priced
from modelyard.entry.api.access import audit_entries
from modelyard.entry.api.allow import allow
from modelyard.entry.api.answers import respond
from modelyard.entry.api.context import Context, context
from modelyard.entry.api.providers import test_provider
from modelyard.entry.api.requests import filters_of, overview_of
from modelyard.entry.api.services import with_memory
from modelyard.entry.ui import shown, traffic, use_it
from modelyard.errors import ModelyardError, NotFound, Unauthenticated
from modelyard.lib import clock

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
Here = Annotated[Context, Depends(context)]
Public = Annotated[Principal, Depends(allow("public"))]

LOG_LINES = 300
PAGE_ROWS = 100
HOUR_US = 3600 * 1_000_000

_templates = Jinja2Templates(directory=Path(__file__).parent / "templates")
_templates.env.filters.update(shown.FILTERS)
_templates.env.trim_blocks = _templates.env.lstrip_blocks = True


class LoginNeeded(Exception):
    """A page was asked for without a login."""


def page_for(permission: str) -> Any:
    """Like `allow`, for people: without a login one is sent there."""
    inner = allow(permission)

    def check(request: Request) -> Principal:
        try:
            return inner(request)
        except Unauthenticated:
            raise LoginNeeded from None

    check.permission = permission  # type: ignore[attr-defined]
    return Depends(check)


def to_login(request: Request, _: Exception) -> Response:
    """To the login, and back to this page afterwards; htmx parts reload the whole page."""
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"hx-refresh": "true"})
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(path)}", 303)


def problem(request: Request, error: Exception) -> Response:
    """Errors as JSON for programs and as a page for people."""
    assert isinstance(error, ModelyardError)
    answer = respond(error)
    if request.url.path.startswith(("/api/", "/internal/")):
        return answer
    page = render(request, "problem.html", None, error=error)
    page.status_code = answer.status_code
    return page


def render(request: Request, template: str, who: Principal | None, **values: Any) -> Response:
    """A template with what all pages need."""
    here = context(request)
    common = {"who": who, "gateway_url": here.gateway_url, "path": request.url.path}
    return _templates.TemplateResponse(request, template, {**common, **values})


@router.get("/login")
def login(request: Request, _: Public, problem: str = "", next: str = "/") -> Response:
    """Where one comes in."""
    return render(request, "login.html", None, problem=problem, next=next)


@router.get("/")
def overview(
    request: Request, here: Here, who: Annotated[Principal, page_for("services.read")]
) -> Response:
    """Is everything well?"""
    since_us = clock.now_us() - HOUR_US
    minutes = here.app.insight.aggregate(who.tenant, {"since_us": since_us}, "", 60_000_000)
    data = overview_of(here, who.tenant)
    chart = shown.minute_bars(minutes, clock.now_us())
    return render(request, "overview.html", who, data=data, chart=chart)


@router.get("/services")
def services(
    request: Request, here: Here, who: Annotated[Principal, page_for("services.read")]
) -> Response:
    """What is served, how it is, and how requests reach it."""
    found, limits = here.app.services.list(who.tenant), _limits(here, who)
    names = {one["document"]["name"] for one in found}
    rows = [{**one, "traffic": traffic.of(one, names, limits)} for one in found]
    return render(request, "services.html", who, services=rows)


@router.get("/services/{name}")
def service(
    name: str, request: Request, here: Here, who: Annotated[Principal, page_for("services.read")]
) -> Response:
    """One service: its replicas, what it is made of, how to use it."""
    found = here.app.services.get(who.tenant, name)
    found["status"] = with_memory(here, found["status"])
    usage = _usage(here, name, _about(here, who.tenant, name))
    names = {one["document"]["name"] for one in here.app.services.list(who.tenant)}
    reached = traffic.of(found, names, _limits(here, who))
    values = {"name": name, "service": found, "usage": usage, "traffic": reached}
    return render(request, "service.html", who, **values)


def _limits(here: Context, who: Principal) -> list[dict[str, Any]]:
    """All limits, for those who may see them."""
    may = who.may("limits.read")
    return here.app.limits.list(who.tenant, clock.now_us()) if may else []


@router.get("/services/{name}/replicas/{replica}")
def replica_logs(
    name: str,
    replica: str,
    request: Request,
    here: Here,
    who: Annotated[Principal, page_for("logs.read")],
) -> Response:
    """What a replica has written."""
    here.app.services.get(who.tenant, name)
    lines = here.target.logs(replica, LOG_LINES)
    return render(request, "logs.html", who, name=name, replica=replica, lines=lines)


@router.get("/models")
def models(
    request: Request, here: Here, who: Annotated[Principal, page_for("models.read")]
) -> Response:
    """Which models there are."""
    return render(request, "models.html", who, models=here.app.registry.models(who.tenant))


@router.get("/models/{name}")
def model(
    name: str, request: Request, here: Here, who: Annotated[Principal, page_for("models.read")]
) -> Response:
    """One model: what it is for, how to use it, its versions."""
    found = here.app.registry.model(who.tenant, name)
    serving = [
        one["document"]["name"]
        for one in here.app.services.list(who.tenant)
        if one["status"] and one["status"]["model"] == name and one["status"]["model_version"]
    ]
    usage = _usage(here, serving[0], found["model"]) if serving else {}
    values = {"name": name, "serving": serving, "usage": usage, **found}
    return render(request, "model.html", who, **values)


@router.get("/requests")
def requests(
    request: Request,
    here: Here,
    who: Annotated[Principal, page_for("requests.read")],
    before_id: str = "",
) -> Response:
    """What happened to every request."""
    filters = filters_of(request)
    rows = here.app.insight.requests(who.tenant, filters, PAGE_ROWS, before_id)
    older = ""
    if len(rows) == PAGE_ROWS:
        older = "/requests?" + urlencode({**filters, "before_id": rows[-1]["request_id"]})
    live = not filters and not before_id
    values = {"rows": rows, "filters": filters, "older": older, "live": live}
    return render(request, "requests.html", who, **values)


@router.get("/requests/{request_id}")
def one_request(
    request_id: str,
    request: Request,
    here: Here,
    who: Annotated[Principal, page_for("requests.read")],
) -> Response:
    """Where the time of one request went."""
    found = here.app.insight.request(who.tenant, request_id)
    bars = shown.waterfall(found["request"], found["attempts"])
    return render(request, "request.html", who, record=found["request"], bars=bars)


@router.get("/keys")
def keys(
    request: Request, here: Here, who: Annotated[Principal, page_for("keys.read")]
) -> Response:
    """Who may call."""
    names = [one["document"]["name"] for one in here.app.services.list(who.tenant)]
    values = {"keys": here.app.access.keys(who.tenant), "services": names, "roles": sorted(ROLES)}
    return render(request, "keys.html", who, **values, priorities=PRIORITIES, now_us=clock.now_us())


@router.get("/limits")
def limits(
    request: Request, here: Here, who: Annotated[Principal, page_for("limits.read")]
) -> Response:
    """What callers may use."""
    now_us = clock.now_us()
    valid = [one for one in here.app.access.keys(who.tenant) if holds(one, now_us)]
    names = [one["document"]["name"] for one in here.app.services.list(who.tenant)]
    own = sum(bool(key["limits"]) for key in valid)
    values = {"limits": _limits(here, who), "services": names, "keys": valid, "own": own}
    return render(request, "limits.html", who, **values)


@router.get("/providers")
def providers(
    request: Request, here: Here, who: Annotated[Principal, page_for("providers.read")]
) -> Response:
    """Which outside upstreams there are, and whether they answer."""
    found = [shown.provider(one) for one in here.app.providers.list(who.tenant)]
    may_test = who.may("providers.write")
    return render(request, "providers.html", who, providers=found, may_test=may_test)


@router.post("/providers/{name}/test")
async def tested_provider(
    name: str, request: Request, here: Here, who: Annotated[Principal, page_for("providers.write")]
) -> Response:
    """Try a provider out: its rows anew. One that is gone reloads the page."""
    try:
        await test_provider(here, who, name)
        found = await run_in_threadpool(here.app.providers.get, who.tenant, name)
    except NotFound:
        return Response(status_code=204, headers={"hx-refresh": "true"})
    return render(request, "provider.html", who, one=shown.provider(found), may_test=True)


@router.get("/chat")
def chat(
    request: Request,
    here: Here,
    who: Annotated[Principal, page_for("inference.call")],
    service: str = "",
) -> Response:
    """Talk to a service."""
    names = [
        one["document"]["name"]
        for one in here.app.services.list(who.tenant)
        if not who.services or one["document"]["name"] in who.services
    ]
    chosen = service if service in names else (names[0] if names else "")
    about = _about(here, who.tenant, chosen)
    return render(request, "chat.html", who, services=names, chosen=chosen, about=about)


def _about(here: Context, tenant: str, service: str) -> dict[str, Any]:
    """What the model behind a service says of itself, and its price."""
    if not service:
        return {}
    found = here.app.services.get(tenant, service)
    price = priced.price(found)
    name = (found["status"] or {}).get("model", "")
    if not (found["status"] or {}).get("model_version"):
        return {"price": price}
    return {**here.app.registry.model(tenant, name)["model"], "price": price}


def _usage(here: Context, service: str, about: dict[str, Any]) -> dict[str, str]:
    """How to call a service, with the first question that its model suggests."""
    questions = about.get("suggested_questions") or ["Hello"]
    return use_it.texts(service, here.gateway_url, questions[0])


@router.get("/audit")
def audit(
    request: Request, here: Here, who: Annotated[Principal, page_for("audit.read")]
) -> Response:
    """Who changed what, and why."""
    return render(request, "audit.html", who, entries=audit_entries(here, who.tenant, 0, 200))
