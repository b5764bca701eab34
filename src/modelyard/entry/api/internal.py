"""`/internal/*`: what the gateway processes ask for and bring. Never for users."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from modelyard.domain import snapshot as snapshots
from modelyard.domain.access import Principal
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.errors import Invalid
from modelyard.ports.records import Batch

router = APIRouter(prefix="/internal", include_in_schema=False)
Here = Annotated[Context, Depends(context)]
Process = Annotated[Principal, Depends(allow("internal"))]

MAX_WAIT_S = 60.0


class _Records(msgspec.Struct):
    source: str
    sequence: int
    rows: list[tuple[str, dict[str, Any]]]


@router.get("/snapshot")
async def snapshot(
    here: Here, _: Process, since: int = -1, epoch: str = "", wait_s: float = 0.0
) -> Response:
    """The snapshot once it is not the one the caller has; 204 when none came in time."""
    newer = await here.app.snapshots.newer(epoch, since, min(wait_s, MAX_WAIT_S))
    if newer is None:
        return Response(status_code=204)
    return Response(snapshots.encode(newer), media_type="application/json")


@router.post("/records")
async def append(request: Request, here: Here, _: Process) -> dict[str, int]:
    """Store a batch; answered once it is durable."""
    try:
        batch = msgspec.json.decode(await request.body(), type=_Records)
    except msgspec.DecodeError as error:
        raise Invalid(f"records: {error}") from None
    rows = Batch(batch.source, batch.sequence, batch.rows)
    await run_in_threadpool(here.app.insight.ingest, rows)
    return {"acknowledged": batch.sequence}


@router.get("/records/{source}")
def acknowledged(source: str, here: Here, _: Process) -> dict[str, int]:
    """How much of a source is stored."""
    return {"acknowledged": here.app.insight.acknowledged(source)}
