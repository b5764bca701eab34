"""`/api/requests`, `/api/live`, `/api/metrics/requests`, `/api/overview`."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from modelyard.domain.access import Principal
from modelyard.domain.records import Outcome
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.lib import clock

router = APIRouter(prefix="/api", tags=["requests"])
Here = Annotated[Context, Depends(context)]
Reader = Annotated[Principal, Depends(allow("requests.read"))]
Watcher = Annotated[Principal, Depends(allow("services.read"))]

HOUR_US = 3600 * 1_000_000
HEARTBEAT_S = 5.0
FAILED = (Outcome.FAILED.value, Outcome.GATEWAY_LOST.value)
_NOT_FILTERS = ("limit", "before_id", "group_by", "bucket_us")


@router.get("/requests")
def requests(
    request: Request, here: Here, who: Reader, limit: int = 100, before_id: str = ""
) -> dict[str, Any]:
    """Request records, newest first. Every column filters by equality; also `since_us`,
    `until_us`, `min_duration_us`, `min_ttft_us`. Go on with `before_id` = the last row's id."""
    rows = here.app.insight.requests(who.tenant, filters_of(request), limit, before_id)
    return {"requests": rows}


@router.get("/requests/{request_id}")
def one_request(request_id: str, here: Here, who: Reader) -> dict[str, Any]:
    """One record with its attempts."""
    return here.app.insight.request(who.tenant, request_id)


@router.get("/live")
async def live(here: Here, who: Reader) -> StreamingResponse:
    """Server-sent events: one `request` per new record; `lost` says how many rows a listener has
    missed so far because it read too slowly."""
    headers = {"x-accel-buffering": "no"}
    events = _events(here, who.tenant)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(here: Context, tenant: str) -> AsyncIterator[bytes]:
    """Ends when the process does; cancelled when the listener has gone."""
    with here.app.insight.listen(tenant) as listener:
        yield b": connected\n\n"
        told = 0
        while not here.stopping.is_set():
            rows = await listener.take(HEARTBEAT_S)
            pieces = [b"event: request\ndata: %b\n\n" % msgspec.json.encode(row) for row in rows]
            if listener.lost > told:
                told = listener.lost
                pieces.append(b'event: lost\ndata: {"rows": %d}\n\n' % told)
            yield b"".join(pieces) or b": still here\n\n"


@router.get("/metrics/requests")
def metrics(
    request: Request, here: Here, who: Reader, group_by: str = "", bucket_us: int = 0
) -> dict[str, Any]:
    """Counts, sums and percentiles by a column and by time; the filters of `/api/requests`."""
    rows = here.app.insight.aggregate(who.tenant, filters_of(request), group_by, bucket_us)
    return {"rows": rows}


@router.get("/overview")
def overview(here: Here, who: Watcher) -> dict[str, Any]:
    """The state of everything in one answer: services, the last hour, the latest failures."""
    return overview_of(here, who.tenant)


def overview_of(here: Context, tenant: str) -> dict[str, Any]:
    """What `/api/overview` says."""
    since_us = clock.now_us() - HOUR_US
    insight = here.app.insight
    by_service = {
        row["group"]: row for row in insight.aggregate(tenant, {"since_us": since_us}, "service")
    }
    total = insight.aggregate(tenant, {"since_us": since_us})
    failures = insight.requests(tenant, {"since_us": since_us, "outcome": FAILED}, 5)
    services = here.app.services.list(tenant)
    return {
        "services": [
            {
                "name": service["document"]["name"],
                "phase": (service["status"] or {}).get("phase", "starting"),
                "message": (service["status"] or {}).get("message", ""),
                "model_version": (service["status"] or {}).get("model_version", ""),
                "ready": len((service["status"] or {}).get("endpoints", [])),
                "hour": by_service.get(service["document"]["name"]),
            }
            for service in services
        ],
        "hour": total[0] if total else None,
        "failures": failures,
        "gateway_url": here.gateway_url,
        "control_url": here.control_url,
    }


def filters_of(request: Request) -> dict[str, Any]:
    """The query parameters that are filters; empty ones do not filter."""
    return {
        name: value
        for name, value in request.query_params.items()
        if value and name not in _NOT_FILTERS
    }
