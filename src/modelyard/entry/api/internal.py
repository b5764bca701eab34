"""`/internal/*`: what the gateway processes ask for and bring. Never for users."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from modelyard.control.insight import Insight
from modelyard.domain import snapshot as snapshots
from modelyard.domain.access import Principal
from modelyard.domain.records import entries
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.lib import clock, frames
from modelyard.ports.records import Batch

router = APIRouter(prefix="/internal", include_in_schema=False)
Here = Annotated[Context, Depends(context)]
Process = Annotated[Principal, Depends(allow("internal"))]

MAX_WAIT_S = 60.0


@router.get("/snapshot")
async def snapshot(
    here: Here, _: Process, since: int = -1, epoch: str = "", wait_s: float = 0.0, gateway: str = ""
) -> Response:
    """The snapshot once it is not the one the caller has; 204 when none came in time."""
    if gateway:
        here.app.followers.asks(gateway, epoch, since, clock.monotonic_s())
    newer = await here.app.snapshots.newer(epoch, since, min(wait_s, MAX_WAIT_S))
    if newer is None:
        return Response(status_code=204)
    return Response(snapshots.encode(newer), media_type="application/json")


@router.post("/records/{source}")
async def append(
    source: str, request: Request, here: Here, _: Process, first: int = 0
) -> dict[str, int]:
    """Store the whole frames of a piece of a spool segment; answered once they are durable.

    `first` counts the entries before the piece; those that are stored already are skipped.
    """
    return await run_in_threadpool(store, here.app.insight, source, first, await request.body())


def store(insight: Insight, source: str, first: int, piece: bytes) -> dict[str, int]:
    """Take a piece apart and store it, in a thread: the event loop answers pages meanwhile."""
    payloads, size_bytes = frames.whole(piece)
    if payloads:
        records = [entries.decoded(payload) for payload in payloads]
        insight.ingest(Batch(source, first + len(records), records))
    return {"size_bytes": size_bytes, "rows": len(payloads)}
