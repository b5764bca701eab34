"""Models, their immutable versions and their aliases, over content-addressed blobs."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.domain.models import formats, manifest_digest, profiles, references
from modelyard.domain.models.references import Reference
from modelyard.domain.models.source import ModelSource
from modelyard.errors import Conflict, Invalid, NotFound
from modelyard.lib.digests import is_digest
from modelyard.ports.blobs import BlobStore
from modelyard.ports.engine import ModelFile, ResolvedModel
from modelyard.ports.meta import ABSENT, Change, Document, Key, MetaStore, all_of

MODEL = "Model"
VERSION = "ModelVersion"
_TRIES = 8
_ANY = -1
"""No expectation about an alias."""


class Registry:
    """Every method takes the tenant first."""

    def __init__(self, meta: MetaStore, blobs: BlobStore) -> None:
        self._meta = meta
        self._blobs = blobs

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Those of the digests whose content is not here. Raises Invalid for what is none."""
        for digest in digests:
            if not is_digest(digest):
                raise Invalid(f"{digest!r} is no digest; it looks like sha256:<64 hex>")
        return [digest for digest in digests if self._blobs.stat(digest) is None]

    def add_version(
        self,
        tenant: str,
        name: str,
        *,
        files: Sequence[Mapping[str, Any]],
        alias: str | None = None,
        card: str = "",
        profile: Mapping[str, Any] | None = None,
        actor: str,
        now_us: int,
    ) -> dict[str, Any]:
        """The new version, or the one with the same content; `created` says which.

        All blobs must be here. Raises Invalid when the files are no whole model.
        """
        references.check_name(name)
        if alias is not None:
            references.check_alias(alias)
        profiles.check_card(card)
        given = profiles.checked_profile(profile or {})
        self._check_present(files)
        content = formats.inspect([self._source(file) for file in files])
        body = self._body(name, content, files, card, actor, now_us)
        for _ in range(_TRIES):
            try:
                return self._commit_version(tenant, body, alias, given)
            except Conflict:
                continue
        raise Conflict(f"model {name} is being changed by others", hint="push it again")

    def _check_present(self, files: Sequence[Mapping[str, Any]]) -> None:
        absent = set(self.missing([str(file.get("digest", "")) for file in files]))
        if absent:
            named = [
                f"{file['path']} ({file['digest']})" for file in files if file["digest"] in absent
            ]
            more = f" and {len(named) - 5} more" if len(named) > 5 else ""
            raise NotFound(
                f"the content of these files is not here: {', '.join(named[:5])}{more}",
                hint="upload it first, or push again",
            )

    def _source(self, file: Mapping[str, Any]) -> ModelSource:
        digest = str(file["digest"])
        blob = self._blobs.stat(digest)
        if blob is None:
            raise NotFound(f"no blob {digest}", hint="upload it first, or push again")
        return ModelSource(str(file["path"]), blob.size_bytes, lambda: self._blobs.open(digest))

    def _body(
        self, name: str, content: formats.ModelContent, files: Sequence[Mapping[str, Any]],
        card: str, actor: str, now_us: int,
    ) -> dict[str, Any]:  # fmt: skip
        digests = {str(file["path"]): str(file["digest"]) for file in files}
        listed = [
            {"path": file.path, "digest": digests[file.path], "size_bytes": file.size_bytes}
            for file in content.files
        ]
        return {
            "name": name,
            "digest": manifest_digest(listed),
            "format": content.format,
            "files": listed,
            "metadata": content.metadata,
            "size_bytes": content.size_bytes,
            "card": card,
            "created_at_us": now_us,
            "actor": actor,
        }

    def _commit_version(
        self, tenant: str, body: dict[str, Any], alias: str | None, profile: dict[str, Any]
    ) -> dict[str, Any]:
        name = body["name"]
        document = self._meta.get(Key(tenant, MODEL, name))
        model = dict(document.body) if document else profiles.new_model(name, body["created_at_us"])
        known = self._same(tenant, name, body["digest"])
        version = known or {**body, "version": model["latest"] + 1}
        latest = max(model["latest"], version["version"])
        changed = profiles.with_profile({**model, "latest": latest}, profile, body["metadata"])
        if alias is not None:
            changed["aliases"] = {**model["aliases"], alias: version["version"]}
        changes = []
        if changed != model:
            expected = document.generation if document else ABSENT
            changes.append(Change(Key(tenant, MODEL, name), changed, expected))
        if known is None:
            key = _version_key(tenant, name, version["version"])
            changes.append(Change(key, version, ABSENT))
        if changes:
            verb = "push" if known is None else "push again"
            moved = f", alias {alias}" if alias else ""
            reason = f"{verb} {name}:{version['version']}{moved}"
            self._meta.commit(changes, body["actor"], reason)
        return {**version, "created": known is None}

    def _same(self, tenant: str, name: str, digest: str) -> dict[str, Any] | None:
        return next(
            (body for body in self._versions(tenant, name) if body["digest"] == digest), None
        )

    # --- reading ---------------------------------------------------------------------------

    def models(self, tenant: str) -> list[dict[str, Any]]:
        """All models by name."""
        return [dict(document.body) for document in all_of(self._meta, tenant, MODEL)]

    def model(self, tenant: str, name: str) -> dict[str, Any]:
        """`{model, generation, versions}`, versions newest first. Raises NotFound."""
        document = self._document(tenant, name)
        versions = sorted(
            self._versions(tenant, name), key=lambda body: body["version"], reverse=True
        )
        return {
            "model": dict(document.body),
            "generation": document.generation,
            "versions": versions,
        }

    def version(self, tenant: str, reference: str) -> dict[str, Any]:
        """The version that a reference means now. Raises NotFound, naming what there is."""
        parsed = references.parse(reference)
        model = self._document(tenant, parsed.name).body
        found = self._find(tenant, parsed, model)
        if found is None:
            raise NotFound(f"no version {reference!r}", hint=_there_is(parsed, model))
        return found

    def _find(
        self, tenant: str, reference: Reference, model: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        if reference.digest:
            return self._same(tenant, reference.name, reference.digest)
        number = reference.version or model["latest"]
        if reference.alias:
            number = model["aliases"].get(reference.alias, 0)
        document = self._meta.get(_version_key(tenant, reference.name, number))
        return dict(document.body) if document else None

    def resolve(self, tenant: str, reference: str) -> ResolvedModel:
        """The version with local paths of its files. Raises NotFound."""
        body = self.version(tenant, reference)
        files = tuple(self._local(body, file) for file in body["files"])
        return ResolvedModel(
            name=body["name"],
            version=body["version"],
            digest=body["digest"],
            format=body["format"],
            files=files,
            metadata=body["metadata"],
        )

    def _local(self, body: Mapping[str, Any], file: Mapping[str, Any]) -> ModelFile:
        path, digest = file["path"], file["digest"]
        try:
            return ModelFile(path, digest, file["size_bytes"], self._blobs.path(digest))
        except NotFound as error:
            raise NotFound(
                f"{path} of {body['name']}:{body['version']} is gone from the blob store: {digest}",
                hint="push the same files again: that brings its content back",
            ) from error

    # --- aliases ---------------------------------------------------------------------------

    def set_alias(
        self,
        tenant: str,
        name: str,
        alias: str,
        version: int | None,
        *,
        expected: int | None = _ANY,
        actor: str,
    ) -> dict[str, Any]:
        """Point an alias at a version, or remove it (None), by compare-and-swap; the model.

        `expected` is the version it must point at now, None: it must not exist, left out: any.
        Raises Conflict when it points elsewhere, NotFound for an unknown version, and for an
        alias to remove that does not exist.
        """
        references.check_alias(alias)
        for _ in range(_TRIES):
            document = self._document(tenant, name)
            model = dict(document.body)
            _check_expected(model, alias, expected)
            if version is None and alias not in model["aliases"]:
                raise NotFound(
                    f"no alias {name}@{alias}", hint=_there_is(Reference(name, alias=alias), model)
                )
            aliases = {key: value for key, value in model["aliases"].items() if key != alias}
            if version is not None:
                self.version(tenant, f"{name}:{version}")
                aliases[alias] = version
            changed = {**model, "aliases": aliases}
            if changed == model:
                return model
            what = (
                f"{name}@{alias} → {version}" if version is not None else f"remove {name}@{alias}"
            )
            try:
                self._meta.commit([Change(document.key, changed, document.generation)], actor, what)
            except Conflict:
                continue
            return changed
        raise Conflict(f"model {name} is being changed by others", hint="try again")

    # --- documents -------------------------------------------------------------------------

    def _document(self, tenant: str, name: str) -> Document:
        references.check_name(name)
        document = self._meta.get(Key(tenant, MODEL, name))
        if document is not None:
            return document
        known = [other.key.name for other in all_of(self._meta, tenant, MODEL)]
        near = difflib.get_close_matches(name, known, n=1)
        there = f"there are: {', '.join(known)}" if known else "push one: modelyard models push"
        raise NotFound(f"no model {name!r}", hint=f"did you mean {near[0]!r}?" if near else there)

    def _versions(self, tenant: str, name: str) -> list[dict[str, Any]]:
        """Keys are `name:0000000003`, so that a model's versions lie together and in order."""
        found: list[dict[str, Any]] = []
        after = f"{name}:"
        while True:
            page = self._meta.list(tenant, VERSION, after)
            for document in page.documents:
                if document.body["name"] != name:
                    return found
                found.append(dict(document.body))
            after = page.next_after
            if not after:
                return found


def _version_key(tenant: str, name: str, version: int) -> Key:
    return Key(tenant, VERSION, f"{name}:{version:010}")


def _there_is(reference: Reference, model: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(reference.alias, model["aliases"], n=1)
    meant = f"did you mean {reference.name}@{near[0]}? " if near else ""
    aliases = ", ".join(f"@{name} → {to}" for name, to in sorted(model["aliases"].items()))
    return (
        f"{meant}{reference.name} has versions 1 to {model['latest']}; aliases: {aliases or 'none'}"
    )


def _check_expected(model: Mapping[str, Any], alias: str, expected: int | None) -> None:
    now = model["aliases"].get(alias)
    if expected != _ANY and now != expected:
        state = f"points at version {now}" if now else "does not exist"
        wanted = f"version {expected}" if expected is not None else "nothing"
        raise Conflict(
            f"{model['name']}@{alias} {state}; {wanted} was expected",
            hint="somebody was faster: look at it and decide anew",
        )
