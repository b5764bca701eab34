"""`/api/gateways`: which gateway processes there are, and how new the snapshot is that each has."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from modelyard.domain.access import Principal
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.lib import clock

router = APIRouter(prefix="/api/gateways", tags=["gateways"])
Here = Annotated[Context, Depends(context)]
Reader = Annotated[Principal, Depends(allow("services.read"))]


@router.get("")
def gateways(here: Here, _: Reader) -> dict[str, Any]:
    """The newest generation, and of each process the one that it serves from; -1 is none, or one
    of before a backup was restored."""
    newest = here.app.snapshots.current(clock.now_us())
    found = [
        {"name": one.name, "generation": one.generation if one.epoch == newest.epoch else -1}
        for one in here.app.followers.present(clock.monotonic_s())
    ]
    return {"generation": newest.generation, "gateways": found}
