"""`/api/providers`: outside upstreams, their keys (never shown), and whether they answer."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from starlette.concurrency import run_in_threadpool

from modelyard.control import tryout
from modelyard.control.providers import Target, Tried
from modelyard.domain.access import Principal
from modelyard.domain.snapshot import Endpoint
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.errors import Invalid, Upstream
from modelyard.lib import clock

router = APIRouter(prefix="/api/providers", tags=["providers"])
Here = Annotated[Context, Depends(context)]
Reader = Annotated[Principal, Depends(allow("providers.read"))]
Writer = Annotated[Principal, Depends(allow("providers.write"))]


@router.get("")
def providers(here: Here, who: Reader) -> dict[str, Any]:
    """All providers: `{document, generation, kind, url, origin, problem, keys, services, test}`."""
    return {"providers": here.app.providers.list(who.tenant)}


@router.get("/{name}")
def provider(name: str, here: Here, who: Reader) -> dict[str, Any]:
    """One provider. Of its keys one learns where they are and whether they are there."""
    return here.app.providers.get(who.tenant, name)


@router.post("")
def set_provider(
    body: Annotated[dict[str, Any], Body()], here: Here, who: Writer
) -> dict[str, Any]:
    """Store a Provider document; or with `{"document": {...}, "keys": {NAME: VALUE}}` also values
    of keys that it names as `store:NAME`. They are kept for its address and never shown again."""
    document, keys = (body, {}) if "apiVersion" in body else _parts(body)
    applied = here.app.providers.apply(
        who.tenant, document, who.name, keys=keys, now_us=clock.now_us()
    )
    return applied._asdict()


@router.delete("/{name}")
def delete(name: str, here: Here, who: Writer, force: bool = False) -> dict[str, Any]:
    """Remove a provider and its stored keys. One that services name is kept, unless `force`."""
    here.app.providers.delete(who.tenant, name, who.name, force=force)
    return {"name": name, "deleted": True}


@router.post("/{name}/test")
async def test(name: str, here: Here, who: Writer) -> dict[str, Any]:
    """Call the provider with each of its keys, within 10 s, following no redirect:
    `{ok, at_us, keys: [{key, ok, said, latency_us}]}`."""
    return await test_provider(here, who, name)


@router.get("/{name}/models")
async def models(name: str, here: Here, who: Reader) -> dict[str, Any]:
    """What the provider lists to the first of its keys that it accepts."""
    targets = await run_in_threadpool(here.app.providers.targets, who.tenant, name)
    said = ""
    for key, target in targets:
        tried = await _listed(target)
        if tried.ok:
            return {"models": sorted(tried.models)}
        said = f"provider {name}, key {key or 'none'}: {tried.said}"
    raise Upstream(said, hint=f"modelyard providers test {name} tries every key")


async def test_provider(here: Context, who: Principal, name: str) -> dict[str, Any]:
    """What `POST /api/providers/NAME/test` says."""
    targets = await run_in_threadpool(here.app.providers.targets, who.tenant, name)
    tried = await _try_all(targets)
    return await run_in_threadpool(
        here.app.providers.tested, who.tenant, name, tried, who.name, clock.now_us()
    )


async def _try_all(targets: Sequence[Target]) -> list[tuple[str, Tried]]:
    """A key that has no value is a test that failed; the others are tried at once."""
    reached = [target for _, target in targets if isinstance(target, Endpoint)]
    found = iter(await tryout.try_out(reached))
    return [
        (key, Tried(False, target) if isinstance(target, str) else next(found))
        for key, target in targets
    ]


async def _listed(target: Endpoint | str) -> Tried:
    return Tried(False, target) if isinstance(target, str) else await tryout.list_models(target)


def _parts(body: dict[str, Any]) -> tuple[Any, dict[str, str]]:
    keys = body.get("keys") or {}
    if not isinstance(keys, dict) or not all(isinstance(value, str) for value in keys.values()):
        raise Invalid("keys: must map names in the store to the keys themselves")
    if unknown := set(body) - {"document", "keys"}:
        raise Invalid(f"{', '.join(sorted(unknown))}: unknown field; known: document, keys")
    return body.get("document"), keys
