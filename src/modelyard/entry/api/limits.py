"""`/api/limits`: what callers may use together, or each of them."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends

from modelyard.domain.access import Principal
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.lib import clock

router = APIRouter(prefix="/api/limits", tags=["limits"])
Here = Annotated[Context, Depends(context)]
Reader = Annotated[Principal, Depends(allow("limits.read"))]
Writer = Annotated[Principal, Depends(allow("limits.write"))]


@router.get("")
def limits(here: Here, who: Reader) -> dict[str, Any]:
    """All limits: `{document, generation, problem}`."""
    return {"limits": here.app.limits.list(who.tenant, clock.now_us())}


@router.get("/{name}")
def limit(name: str, here: Here, who: Reader) -> dict[str, Any]:
    """One limit."""
    return here.app.limits.get(who.tenant, name, clock.now_us())


@router.post("")
def set_limit(
    document: Annotated[dict[str, Any], Body()], here: Here, who: Writer
) -> dict[str, Any]:
    """Store a Limit document; the whole document takes the place of a former one."""
    return here.app.limits.apply(who.tenant, document, who.name)._asdict()


@router.delete("/{name}")
def delete(name: str, here: Here, who: Writer) -> dict[str, Any]:
    """Remove a limit: nothing is bounded by it any more."""
    here.app.limits.delete(who.tenant, name, who.name)
    return {"name": name, "deleted": True}
