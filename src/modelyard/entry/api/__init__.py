"""The control plane over HTTP: one router per noun, errors in one form, headers for the pages."""

from typing import Any

from fastapi import Depends, FastAPI

from modelyard import __version__
from modelyard.app import App
from modelyard.entry.api import (
    access,
    answers,
    apply,
    chat,
    gateways,
    internal,
    limits,
    models,
    providers,
    requests,
    services,
)
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context
from modelyard.entry.api.guard import Guard
from modelyard.entry.api.page_keys import PageKeys
from modelyard.entry.api.sessions import Sessions
from modelyard.ports.engine import Target

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Of what is no file: ten thousand digests and a model card need less than one."""


def create_api(app: App, target: Target, gateway_url: str, control_url: str) -> FastAPI:
    """The application of the control process, without the pages."""
    api = FastAPI(
        title="Modelyard",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    api.state.context = Context(
        app=app,
        target=target,
        gateway_url=gateway_url,
        control_url=control_url,
        sessions=Sessions(app.folder.secret("sessions")),
        internal_token=app.folder.internal_token(),
        page_keys=PageKeys(app.access),
    )
    answers.install(api)
    # The busiest is found first.
    for part in (
        *(internal, access, apply, models, services, limits, providers),
        *(requests, chat, gateways),
    ):
        api.include_router(part.router)

    limit = max(MAX_BODY_BYTES, app.settings.gateway.max_body_bytes)
    api.add_middleware(Guard, host=app.settings.control.host, max_body_bytes=limit)

    @api.get("/healthz", include_in_schema=False, dependencies=[Depends(allow("public"))])
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/api/openapi.json", include_in_schema=False, dependencies=[Depends(allow("public"))])
    def openapi() -> dict[str, Any]:
        return api.openapi()

    return api
