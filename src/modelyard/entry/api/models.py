"""`/api/models` and `/api/blobs`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from modelyard.domain.access import Principal
from modelyard.entry.api import uploads
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.errors import Invalid, NotFound
from modelyard.lib import clock
from modelyard.lib.digests import is_digest

router = APIRouter(prefix="/api", tags=["models"])
Here = Annotated[Context, Depends(context)]
Reader = Annotated[Principal, Depends(allow("models.read"))]
Writer = Annotated[Principal, Depends(allow("models.write"))]

_ANY = -1


class File(BaseModel):
    """A file of a version; its content is a blob that was uploaded before."""

    path: str
    digest: str
    size_bytes: int = 0


class NewVersion(BaseModel):
    """What a push ends with."""

    files: list[File] = Field(min_length=1)
    alias: str | None = None
    card: str = ""
    profile: dict[str, Any] = {}


class AliasMove(BaseModel):
    """`expected` is where the alias must point now: a version, null for nowhere, or left out."""

    version: int
    expected: int | None = _ANY


class Digests(BaseModel):
    """Digests to look for. With their sizes, what cannot fit is refused before it is sent."""

    digests: list[str] = Field(max_length=10_000)
    sizes: dict[str, Annotated[int, Field(ge=0)]] = {}


@router.get("/models")
def models(here: Here, who: Reader) -> dict[str, Any]:
    """All models."""
    return {"models": here.app.registry.models(who.tenant)}


@router.get("/models/{name}")
def model(name: str, here: Here, who: Reader) -> dict[str, Any]:
    """One model with all its versions, newest first."""
    return here.app.registry.model(who.tenant, name)


@router.get("/models/{name}/versions/{ref}")
def version(name: str, ref: str, here: Here, who: Reader) -> dict[str, Any]:
    """One version: a number, an alias, a digest or `latest`."""
    if ref == "latest":
        return here.app.registry.version(who.tenant, name)
    mark = ":" if ref.isdigit() else "@"
    return here.app.registry.version(who.tenant, f"{name}{mark}{ref}")


@router.post("/models/{name}/versions")
def add_version(name: str, body: NewVersion, here: Here, who: Writer) -> dict[str, Any]:
    """Make a version of uploaded blobs; the same content again is the same version."""
    return here.app.registry.add_version(
        who.tenant,
        name,
        files=[file.model_dump() for file in body.files],
        alias=body.alias,
        card=body.card,
        profile=body.profile,
        actor=who.name,
        now_us=clock.now_us(),
    )


@router.put("/models/{name}/aliases/{alias}")
def set_alias(name: str, alias: str, body: AliasMove, here: Here, who: Writer) -> dict[str, Any]:
    """Point an alias at a version."""
    expectation = {} if body.expected == _ANY else {"expected": body.expected}
    return here.app.registry.set_alias(
        who.tenant, name, alias, body.version, actor=who.name, **expectation
    )


@router.delete("/models/{name}/aliases/{alias}")
def remove_alias(name: str, alias: str, here: Here, who: Writer) -> dict[str, Any]:
    """Remove an alias."""
    return here.app.registry.set_alias(who.tenant, name, alias, None, actor=who.name)


@router.post("/blobs/missing")
def missing(body: Digests, here: Here, _: Writer) -> dict[str, Any]:
    """Which of these are not here yet, after checking that there is room for them."""
    absent = here.app.registry.missing(body.digests)
    uploads.check_room(here, [body.sizes.get(digest, 0) for digest in set(absent)])
    return {"missing": absent}


@router.put("/blobs/{digest}")
async def put_blob(digest: str, request: Request, here: Here, _: Writer) -> dict[str, Any]:
    """Upload one blob; the body is its content."""
    if not is_digest(digest):
        raise Invalid(f"{digest!r} is no digest; it looks like sha256:<64 hex>")
    uploads.check_room(here, [int(request.headers.get("content-length") or 0)])
    blob = await uploads.receive(here, request.stream(), digest)
    return {"digest": blob.digest, "size_bytes": blob.size_bytes}


@router.get("/blobs/{digest}")
def get_blob(digest: str, here: Here, _: Reader) -> FileResponse:
    """The content of a blob, with ranges."""
    return FileResponse(here.app.blobs.path(digest), media_type="application/octet-stream")


@router.head("/blobs/{digest}")
def head_blob(digest: str, here: Here, _: Reader) -> Response:
    """Whether a blob is here, and its size."""
    blob = here.app.blobs.stat(digest)
    if blob is None:
        raise NotFound(f"no blob {digest}")
    return Response(headers={"content-length": str(blob.size_bytes)})
