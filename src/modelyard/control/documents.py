"""Documents as they are stored: one or many at once, all or none, checked against each other.

The check and the commit are two steps, so two people who apply at the same moment may still make
a reference that leads nowhere. That is found again when the snapshot is compiled, which leaves
the part out, and by the reconciler, which says so in the status.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from modelyard.domain import services
from modelyard.domain.documents import (
    ACCESS_KEY,
    LIMIT,
    PROVIDER,
    SERVICE,
    kinds,
    limits,
    providers,
    references,
    upstreams,
)
from modelyard.domain.documents.limits import LimitDocument
from modelyard.domain.documents.providers import ProviderDocument, ProviderSpec
from modelyard.domain.services import ServiceDocument, ServiceSpec
from modelyard.errors import Conflict, Invalid, NotFound
from modelyard.ports.meta import ABSENT, Change, Document, Key, MetaStore, all_of

MAX_DOCUMENTS = 1000
"""Of one apply."""
_TRIES = 5
_SHOWN = 12
"""Names in a hint or a reason; more do not help anybody."""


class Applied(NamedTuple):
    """What `apply` did with a document; `generation` is the document's."""

    kind: str
    name: str
    changed: bool
    generation: int


def apply(
    meta: MetaStore, tenant: str, documents: Sequence[kinds.Written], actor: str
) -> list[Applied]:
    """Store those that differ from what is there, in one commit. They may name each other in any
    order. Raises Invalid with all mistakes, and then nothing is stored."""
    bodies = {Key(tenant, one.kind, one.name): _body(one) for one in documents}
    if not 0 < len(documents) <= MAX_DOCUMENTS:
        raise Invalid(f"{len(documents)} documents; from 1 to {MAX_DOCUMENTS} at once")
    if len(bodies) < len(documents):
        names = [(one.kind, one.name) for one in documents]
        kind, name = next(pair for pair in names if names.count(pair) > 1)
        raise Invalid(f"{kind.lower()} {name} is given twice", hint="leave one of them out")
    _check(meta, tenant, documents)
    for _ in range(_TRIES):
        known = {key: meta.get(key) for key in bodies}
        changes = [
            Change(key, body, found.generation if found else ABSENT)
            for key, body in bodies.items()
            if (found := known[key]) is None or found.body != body
        ]
        try:
            generation = meta.commit(changes, actor, _reason(changes)) if changes else 0
        except Conflict:
            continue
        changed = {change.key for change in changes}
        return [_applied(key, found, key in changed, generation) for key, found in known.items()]
    raise Conflict("these documents are being changed by others", hint="apply them again")


def delete(meta: MetaStore, key: Key, actor: str) -> None:
    """Remove a document. Raises NotFound, naming those there are."""
    for _ in range(_TRIES):
        change = Change(key, None, get(meta, key).generation)
        try:
            meta.commit([change], actor, f"delete {key.kind.lower()} {key.name}")
        except Conflict:
            continue
        return
    raise Conflict(f"{key.kind.lower()} {key.name} is being changed by others", hint="try again")


def get(meta: MetaStore, key: Key) -> Document:
    """A document. Raises NotFound, naming the nearest and those there are."""
    document = meta.get(key)
    if document is None:
        noun = key.kind.lower()
        known = [other.key.name for other in meta.list(key.tenant, key.kind).documents]
        raise NotFound(f"no {noun} {key.name!r}", hint=there_are(key.name, known))
    return document


def there_are(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not known."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = f"there are: {', '.join(names[:_SHOWN])}{more}" if names else "apply one first"
    return meant + shown


def specs_of(documents: Iterable[Document]) -> dict[str, ServiceSpec | None]:
    """Service documents of one tenant by name; None for one that cannot be read any more."""
    return {document.key.name: spec_of(document) for document in documents}


def spec_of(document: Document) -> ServiceSpec | None:
    """The spec of a stored service; None where it cannot be read any more."""
    try:
        return services.parse(dict(document.body)).spec
    except Invalid:
        return None


def referrers(meta: MetaStore, tenant: str, service: str) -> list[str]:
    """Who names a service: `service web (spec.fallback)`, `limit blue`."""
    specs = specs_of(all_of(meta, tenant, SERVICE))
    found = [
        f"service {name} (spec.{reference.place})"
        for name, spec in specs.items()
        if spec is not None and name != service
        for reference in references.references(spec)
        if reference.service == service
    ]
    counted = [
        f"limit {document.key.name}"
        for document in all_of(meta, tenant, LIMIT)
        if document.body["spec"].get("service") == service
    ]
    return found + counted


def users(meta: MetaStore, tenant: str) -> dict[str, list[str]]:
    """By provider, the services that need it, for themselves or for their canary."""
    found: dict[str, list[str]] = {}
    for name, spec in specs_of(all_of(meta, tenant, SERVICE)).items():
        for provider in upstreams.providers_of(spec) if spec else ():
            found.setdefault(provider, []).append(name)
    return found


def provider_spec_of(document: Document) -> ProviderSpec | None:
    """The spec of a stored provider; None where it cannot be read any more."""
    try:
        return providers.parse(dict(document.body)).spec
    except Invalid:
        return None


# --- checks ---------------------------------------------------------------------------------


def _check(meta: MetaStore, tenant: str, documents: Sequence[kinds.Written]) -> None:
    """Every name that these documents say is stored or among them. Raises Invalid."""
    if not any(map(_names_others, documents)):
        return
    batch = {one.name: one.spec for one in documents if isinstance(one, ServiceDocument)}
    specs = {**specs_of(all_of(meta, tenant, SERVICE)), **batch}
    wrong = references.problems(specs)
    lines: list[tuple[str, str]] = []
    for one in documents:
        label = f"{one.kind.lower()} {one.name}: " if len(documents) > 1 else ""
        if isinstance(one, ServiceDocument):
            found = [
                (problem.text, problem.reference.service) for problem in wrong.get(one.name, ())
            ]
        elif isinstance(one, LimitDocument):
            found = _unknown(meta, tenant, one.spec, specs)
        else:
            continue
        lines += [(label + text, name) for text, name in found]
    _check_upstreams(meta, tenant, documents, [text for text, _ in lines])
    if lines:
        missing = next((name for _, name in lines if name not in specs), "")
        hint = there_are(missing, specs) if missing else "take one of these references out"
        raise Invalid("; ".join(text for text, _ in lines), hint=_hint(lines, hint))


def _check_upstreams(
    meta: MetaStore, tenant: str, documents: Sequence[kinds.Written], before: list[str]
) -> None:
    """Every provider that these services name is stored or among the documents, and lets its
    models be used. Raises Invalid, with what was wrong `before`."""
    batch = {one.name: one.spec for one in documents if isinstance(one, ProviderDocument)}
    stored = {one.key.name: provider_spec_of(one) for one in all_of(meta, tenant, PROVIDER)}
    known = {**stored, **batch}
    lines = [
        (f"service {one.name}: {text}" if len(documents) > 1 else text, name)
        for one in documents
        if isinstance(one, ServiceDocument)
        for text, name in upstreams.problems(one.spec, known)
    ]
    if not lines:
        return
    missing = next((name for _, name in lines if name), "")
    add = f"add it: modelyard providers add {missing} --kind KIND"
    hint = there_are(missing, known) if known else add
    text = "; ".join([*before, *(text for text, _ in lines)])
    raise Invalid(text, hint=hint if missing else "change the model, or spec.models there")


def _hint(lines: Sequence[tuple[str, str]], services_hint: str) -> str:
    keys_only = all("spec.key" in text for text, _ in lines)
    return "modelyard keys list shows their ids" if keys_only else services_hint


def _names_others(document: kinds.Written) -> bool:
    if isinstance(document, ServiceDocument):
        named = references.references(document.spec)
        return any(True for _ in (*upstreams.engines(document.spec), *named))
    if isinstance(document, LimitDocument):
        return bool(document.spec.key or document.spec.service)
    return False


def _unknown(
    meta: MetaStore, tenant: str, spec: limits.LimitSpec, known: Mapping[str, object]
) -> list[tuple[str, str]]:
    """What a Limit names and nobody knows, with the name."""
    found = []
    if spec.service and spec.service not in known:
        found.append((f"spec.service: no service {spec.service!r}", spec.service))
    if spec.key and ("/" in spec.key or meta.get(Key(tenant, ACCESS_KEY, spec.key)) is None):
        found.append((f"spec.key: no key {spec.key!r}", spec.key))
    return found


def _body(document: kinds.Written) -> dict[str, Any]:
    return document.model_dump(by_alias=True, mode="json", exclude_unset=True)


def _reason(changes: Sequence[Change]) -> str:
    """`create service web, change limit blue`."""
    parts = [
        f"{'change' if change.expected else 'create'} {change.key.kind.lower()} {change.key.name}"
        for change in changes
    ]
    more = f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more


def _applied(key: Key, found: Document | None, changed: bool, generation: int) -> Applied:
    at = generation if changed or found is None else found.generation
    return Applied(key.kind, key.name, changed, at)
