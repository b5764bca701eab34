"""Every route path and every command names a permission that exists."""

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import Mount

from modelyard.domain.access import PERMISSIONS, ROLES
from modelyard.entry.api import create_api
from modelyard.entry.cli.main import cli
from modelyard.entry.ui import add_pages
from modelyard.gateway import catalog, own
from modelyard.testing.control import NOWHERE, MemoryTarget, memory_app

PUBLIC = {"/healthz", "/api/openapi.json", "/login", "/login/{token}", "/api/logout", "/logout",
          "/favicon.ico"}  # fmt: skip


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FastAPI]:
    app = memory_app(tmp_path / "data")
    api = create_api(app, MemoryTarget(), NOWHERE, NOWHERE)
    add_pages(api)
    yield api
    app.close()


def routes_of(routes: Iterable[object]) -> Iterator[APIRoute]:
    """Also those of included routers, which newer FastAPI keeps whole."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if isinstance(route, APIRoute):
            yield route
        elif inner is not None:
            yield from routes_of(inner.routes)


def permissions_of(dependant: Dependant) -> set[str]:
    found = {getattr(dependant.call, "permission", "")} - {""}
    return found.union(*(permissions_of(inner) for inner in dependant.dependencies))


def test_every_route_names_one_permission(api: FastAPI) -> None:
    routes = list(routes_of(api.routes))
    assert len(routes) > 30
    for route in routes:
        named = permissions_of(route.dependant)
        assert len(named) == 1, (route.path, named)
        assert named <= set(PERMISSIONS), route.path
        assert "local" not in named, route.path


def test_only_these_routes_need_no_key(api: FastAPI) -> None:
    routes = list(routes_of(api.routes))
    public = {route.path for route in routes if permissions_of(route.dependant) == {"public"}}
    assert public <= PUBLIC
    assert {route.path for route in api.routes if isinstance(route, Mount)} == {"/static"}


def test_what_changes_something_needs_more_than_a_read_permission(api: FastAPI) -> None:
    for route in routes_of(api.routes):
        if {"GET", "HEAD"} & set(route.methods or ()):
            continue
        (named,) = permissions_of(route.dependant)
        assert not named.endswith(".read") or named == "self.read" or "missing" in route.path


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, context)
        else:
            yield name, command


def test_every_command_names_a_permission() -> None:
    found = list(commands(cli, click.Context(cli)))
    assert len(found) > 20
    for name, command in found:
        assert getattr(command.callback, "permission", None) in PERMISSIONS, name
        assert inspect.getdoc(command.callback), name


def test_every_route_path_of_the_gateway_names_a_permission() -> None:
    assert {one.permission for one in own.PATHS.values()} <= set(PERMISSIONS)
    assert catalog.PERMISSION in PERMISSIONS
    public = {path for path, one in own.PATHS.items() if one.permission == "public"}
    assert public == {b"/", b"/healthz", b"/readyz", b"/metrics"}


def test_roles_hold_only_permissions_that_exist() -> None:
    assert {"admin", "caller"} <= set(ROLES)
    for role, held in ROLES.items():
        assert held <= set(PERMISSIONS), role
        assert "internal" not in held, role
