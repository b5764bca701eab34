"""The control plane over HTTP: one router per noun, errors in one form, headers for the pages."""

from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request, Response
from starlette.middleware.base import RequestResponseEndpoint

from modelyard import __version__
from modelyard.app import App
from modelyard.entry.api import access, answers, chat, internal, models, requests, services
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context
from modelyard.entry.api.sessions import Sessions
from modelyard.errors import Forbidden
from modelyard.ports.engine import Target

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def create_api(app: App, target: Target, gateway_url: str, control_url: str) -> FastAPI:
    """The application of the control process, without the pages."""
    api = FastAPI(
        title="Modelyard",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    api.state.context = Context(
        app=app,
        target=target,
        gateway_url=gateway_url,
        control_url=control_url,
        sessions=Sessions(app.folder.secret("sessions")),
        internal_token=app.folder.internal_token(),
    )
    answers.install(api)
    for part in (access, models, services, requests, chat, internal):
        api.include_router(part.router)

    @api.get("/healthz", include_in_schema=False, dependencies=[Depends(allow("public"))])
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    _guard(api, app.settings.control.host)
    return api


def _guard(api: FastAPI, host: str) -> None:
    """Headers on every answer; and on loopback no name but loopback's, which stops a foreign
    page that has made its own name point here (DNS rebinding)."""
    policy = (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )

    @api.middleware("http")
    async def guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
        name = urlsplit(f"//{request.headers.get('host', '')}").hostname
        if host in _LOOPBACK and name not in _LOOPBACK:
            return answers.respond(
                Forbidden(
                    f"this platform listens on {host} and does not answer for {name!r}",
                    hint="start it with --host to serve other names",
                )
            )
        response = await call_next(request)
        response.headers["content-security-policy"] = policy
        response.headers["x-content-type-options"] = "nosniff"
        response.headers["referrer-policy"] = "no-referrer"
        if not request.url.path.startswith("/static/"):
            response.headers.setdefault("cache-control", "no-store")
        return response
