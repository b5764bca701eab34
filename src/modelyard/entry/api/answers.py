"""Errors as HTTP: the class decides the status, the body is always the same."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from modelyard import errors
from modelyard.lib import ids

STATUS: dict[type[errors.ModelyardError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.Blocked: 403,
    errors.Limited: 429,
    errors.Upstream: 502,
    errors.Unavailable: 503,
    errors.TimedOut: 504,
}

_PLAIN: dict[int, type[errors.ModelyardError]] = {400: errors.Invalid, 413: errors.TooLarge}

_NO_OBJECT = errors.Invalid(
    "the body is not a JSON object", hint="send one with `content-type: application/json`"
)

log = logging.getLogger(__name__)


def error_body(error: errors.ModelyardError) -> dict[str, Any]:
    """What a client gets."""
    detail = {"code": error.code, "message": error.message, "hint": error.hint}
    return {"error": {**detail, "kind": error.kind}}


def respond(error: errors.ModelyardError) -> JSONResponse:
    """The error as a response."""
    headers = {}
    if isinstance(error, errors.Limited):
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error_body(error), STATUS.get(type(error), 500), headers)


def unexpected(path: str, error: Exception) -> JSONResponse:
    """The answer to a mistake of ours: a number to find it by, and no more."""
    number = ids.short_id()
    log.error("error %s at %s", number, path, exc_info=error)
    message = f"something is wrong on our side (error {number})"
    hint = "the log of the control process has the details under this number"
    body = {"code": "internal", "kind": "error", "message": message, "hint": hint}
    return JSONResponse({"error": body}, 500)


def install(api: FastAPI) -> None:
    """Make every error of the application answer in the one form."""

    @api.exception_handler(errors.ModelyardError)
    async def ours(_: Request, error: errors.ModelyardError) -> JSONResponse:
        return respond(error)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        details = error.errors()
        if any(detail["loc"] == ("body",) for detail in details):
            return respond(_NO_OBJECT)
        lines = [_line(detail) for detail in details]
        return respond(
            errors.Invalid("; ".join(lines), hint="/api/openapi.json says what it takes")
        )

    @api.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return respond(errors.NotFound(f"no such address: {request.url.path}"))
        kind = _PLAIN.get(error.status_code)
        if kind is not None:
            return respond(kind(str(error.detail)))
        body = {"code": "http", "kind": "error", "message": str(error.detail), "hint": ""}
        return JSONResponse({"error": body}, error.status_code, error.headers)


def _line(detail: Any) -> str:
    if detail["type"] == "json_invalid":
        reason = detail["ctx"]["error"]
        return f"the body is not valid JSON at character {detail['loc'][-1]}: {reason}"
    place = ".".join(map(str, detail["loc"][1:]))
    text = f"{place}: {detail['msg']}" if place else str(detail["msg"])
    return text.encode("utf-8", "replace").decode()
