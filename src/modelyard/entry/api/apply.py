"""`/api/apply`: documents of any kind, one or many, all or none."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends

from modelyard import app as composition
from modelyard.control import documents
from modelyard.domain.access import Principal
from modelyard.domain.documents import LIMIT, PROVIDER, kinds
from modelyard.domain.documents.providers import ProviderDocument
from modelyard.domain.services import ServiceDocument, Variant
from modelyard.entry.api.allow import allow
from modelyard.entry.api.context import Context, context
from modelyard.errors import Invalid, NotFound

router = APIRouter(prefix="/api", tags=["documents"])
Here = Annotated[Context, Depends(context)]
Writer = Annotated[Principal, Depends(allow("services.write"))]


@router.post("/apply")
def apply(document: Annotated[dict[str, Any], Body()], here: Here, who: Writer) -> dict[str, Any]:
    """Store a document, or with `{"documents": [...]}` many that may name each other: all or none.
    What cannot work is refused now, not later in a status. Limits need `limits.write`, too, and
    providers `providers.write`."""
    many = document.get("documents") if "apiVersion" not in document else None
    if many is None:
        return apply_all(here, who, [document])[0]
    if not isinstance(many, list):
        raise Invalid("documents: must be a list of documents")
    return {"applied": apply_all(here, who, many)}


def apply_all(here: Context, who: Principal, data: Sequence[Any]) -> list[dict[str, Any]]:
    """What became of each: `{kind, name, changed, generation}`."""
    parsed = [_named(number, len(data), one) for number, one in enumerate(data)]
    if any(one.kind == LIMIT for one in parsed):
        who.require("limits.write")
    if any(one.kind == PROVIDER for one in parsed):
        who.require("providers.write")
    for one in parsed:
        if isinstance(one, ServiceDocument):
            _check_runs(here, who.tenant, one, f"service {one.name}: " if len(data) > 1 else "")
        elif isinstance(one, ProviderDocument):
            _check_keys(here, who.tenant, one, f"provider {one.name}: " if len(data) > 1 else "")
    applied = documents.apply(here.app.meta, who.tenant, parsed, who.name)
    if any(one.kind == PROVIDER for one in parsed):
        here.app.providers.tidy(who.tenant)
    return [one._asdict() for one in applied]


def _named(number: int, of: int, data: Any) -> kinds.Written:
    """A document whose mistakes say which of several it is."""
    try:
        return kinds.parse(data)
    except Invalid as error:
        name = data.get("name") if isinstance(data, dict) else None
        label = f"document {number + 1} ({name}): " if of > 1 else ""
        raise Invalid(label + error.message, hint=error.hint) from None


def _check_keys(here: Context, tenant: str, document: ProviderDocument, label: str) -> None:
    """Whether its keys are there, and may be sent to its address."""
    try:
        here.app.providers.check(tenant, document)
    except Invalid as error:
        raise Invalid(label + error.message, hint=error.hint, code=error.code) from None


def _check_runs(here: Context, tenant: str, document: ServiceDocument, label: str) -> None:
    """Whether there is the model, and an engine that can run it so."""
    _check_variant(here, tenant, document.spec.stable, label)
    if document.spec.second is not None:
        try:
            _check_variant(here, tenant, document.spec.second, label + "spec.canary: ")
        except Invalid as error:
            takes_none = document.spec.model and "takes no spec.model" in error.message
            hint = 'write `model: ""` in the canary' if takes_none else error.hint
            raise Invalid(error.message, hint=hint) from None


def _check_variant(here: Context, tenant: str, variant: Variant, label: str) -> None:
    try:
        model = here.app.registry.resolve(tenant, variant.model) if variant.model else None
    except NotFound as error:  # the document is what is wrong, not the address
        raise Invalid(f"{label}spec.model: {error.message}", hint=error.hint) from None
    try:
        composition.engine(variant.engine.name).plan(model, variant.engine.options)
    except Invalid as error:
        raise Invalid(label + error.message, hint=error.hint) from None
