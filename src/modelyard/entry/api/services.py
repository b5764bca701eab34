"""`/api/apply` and `/api/services`."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends

from modelyard import app as composition
from modelyard.domain import services as documents
from modelyard.domain.access import Principal
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.errors import Invalid, NotFound, Unavailable
from modelyard.ports.engine import ResolvedModel

router = APIRouter(prefix="/api", tags=["services"])
Here = Annotated[Context, Depends(context)]
Reader = Annotated[Principal, Depends(allow("services.read"))]
Writer = Annotated[Principal, Depends(allow("services.write"))]
LogReader = Annotated[Principal, Depends(allow("logs.read"))]

MAX_LOG_LINES = 2000


@router.post("/apply")
def apply(document: Annotated[dict[str, Any], Body()], here: Here, who: Writer) -> dict[str, Any]:
    """Store a service document. What cannot work is refused now, not later in a status."""
    spec = documents.parse(document).spec
    model = _resolved(here, who.tenant, spec.model) if spec.model else None
    composition.engine(spec.engine.name).plan(model, spec.engine.model_dump(exclude={"name"}))
    return here.app.services.apply(who.tenant, document, who.name)._asdict()


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
def delete(name: str, here: Here, who: Writer) -> dict[str, Any]:
    """Remove a service; its replicas finish what they work on."""
    here.app.services.delete(who.tenant, name, who.name)
    return {"name": name, "deleted": True}


@router.get("/services/{name}/replicas/{replica}/logs")
def logs(name: str, replica: str, here: Here, who: LogReader, lines: int = 200) -> dict[str, Any]:
    """The end of a replica's output."""
    status = here.app.services.get(who.tenant, name)["status"] or {}
    if replica not in [one["id"] for one in status.get("replicas", [])]:
        raise NotFound(f"service {name} has no replica {replica!r}")
    return {"lines": list(here.target.logs(replica, min(max(1, lines), MAX_LOG_LINES)))}


def _resolved(here: Context, tenant: str, reference: str) -> ResolvedModel:
    try:
        return here.app.registry.resolve(tenant, reference)
    except NotFound as error:  # the document is what is wrong, not the address
        raise Invalid(f"spec.model: {error.message}", hint=error.hint) from None


def with_memory(here: Context, status: dict[str, Any] | None) -> dict[str, Any] | None:
    """The status with the memory that each replica holds now."""
    if not status or not status["replicas"]:
        return status
    try:
        memory = {state.id: state.memory_bytes for state in here.target.replicas()}
    except Unavailable:
        return status  # what is stored is worth more than an error about this detail
    replicas = [{**one, "memory_bytes": memory.get(one["id"], 0)} for one in status["replicas"]]
    return {**status, "replicas": replicas}
