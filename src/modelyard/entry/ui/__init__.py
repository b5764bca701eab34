"""The pages: server-rendered, parts refreshed by htmx, live rows by server-sent events."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from modelyard.entry.ui.pages import LoginNeeded, problem, router, to_login
from modelyard.errors import ModelyardError

_HERE = Path(__file__).parent


def add_pages(api: FastAPI) -> None:
    """Add the pages to the application."""
    api.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    api.include_router(router)
    api.add_exception_handler(LoginNeeded, to_login)
    api.add_exception_handler(ModelyardError, problem)
