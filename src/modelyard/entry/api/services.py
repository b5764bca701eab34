"""`/api/services`."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from modelyard.domain.access import Principal
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.errors import NotFound, Unavailable

router = APIRouter(prefix="/api", tags=["services"])
Here = Annotated[Context, Depends(context)]
Reader = Annotated[Principal, Depends(allow("services.read"))]
Writer = Annotated[Principal, Depends(allow("services.write"))]
LogReader = Annotated[Principal, Depends(allow("logs.read"))]

MAX_LOG_LINES = 2000


@router.get("/services")
def services(here: Here, who: Reader) -> dict[str, Any]:
    """All services with their status."""
    return {"services": here.app.services.list(who.tenant)}


@router.get("/services/{name}")
def service(name: str, here: Here, who: Reader) -> dict[str, Any]:
    """One service: its document and status, with what its replicas hold now."""
    found = here.app.services.get(who.tenant, name)
    return {**found, "status": with_memory(here, found["status"])}


@router.delete("/services/{name}")
def delete(name: str, here: Here, who: Writer, force: bool = False) -> dict[str, Any]:
    """Remove a service; its replicas finish what they work on. One that other documents name is
    kept, unless `force`."""
    here.app.services.delete(who.tenant, name, who.name, force=force)
    return {"name": name, "deleted": True}


@router.get("/services/{name}/replicas/{replica}/logs")
def logs(name: str, replica: str, here: Here, who: LogReader, lines: int = 200) -> dict[str, Any]:
    """The end of a replica's output."""
    status = here.app.services.get(who.tenant, name)["status"] or {}
    if replica not in [one["id"] for one in replicas_of(status)]:
        raise NotFound(f"service {name} has no replica {replica!r}")
    return {"lines": list(here.target.logs(replica, min(max(1, lines), MAX_LOG_LINES)))}


def with_memory(here: Context, status: dict[str, Any] | None) -> dict[str, Any] | None:
    """The status with the memory that each replica holds now, the canary's too."""
    if not status or not replicas_of(status):
        return status
    try:
        memory = {state.id: state.memory_bytes for state in here.target.replicas()}
    except Unavailable:
        return status  # what is stored is worth more than an error about this detail
    canary = status.get("canary")
    shown = _measured(status, memory)
    return {**shown, "canary": _measured(canary, memory)} if canary else shown


def replicas_of(status: dict[str, Any]) -> list[dict[str, Any]]:
    """The replicas of the stable revision and of its canary."""
    canary = status.get("canary") or {}
    return [*status.get("replicas", ()), *canary.get("replicas", ())]


def _measured(part: dict[str, Any], memory: Mapping[str, int]) -> dict[str, Any]:
    replicas = [{**one, "memory_bytes": memory.get(one["id"], 0)} for one in part["replicas"]]
    return {**part, "replicas": replicas}
