"""Models, their immutable versions and their aliases, over content-addressed blobs."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.domain.models import formats, manifest_digest, references
from modelyard.domain.models.references import Reference
from modelyard.domain.models.source import ModelSource
from modelyard.errors import Conflict, Invalid, NotFound
from modelyard.lib.digests import is_digest
from modelyard.ports.blobs import BlobStore
from modelyard.ports.engine import ModelFile, ResolvedModel
from modelyard.ports.meta import ABSENT, Change, Document, Key, MetaStore

MODEL = "Model"
VERSION = "ModelVersion"
MAX_CARD_BYTES = 64 * 1024
_TRIES = 8
_ANY = -1
"""No expectation about an alias."""
_PROFILE = ("description", "purpose", "suggested_questions", "license")


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
        if len(card.encode()) > MAX_CARD_BYTES:
            raise Invalid(f"the card has more than {MAX_CARD_BYTES} bytes")
        content = formats.inspect([self._source(file) for file in files])
        body = self._body(name, content, files, card, actor, now_us)
        for _ in range(_TRIES):
            try:
                return self._commit_version(tenant, body, alias, dict(profile or {}))
            except Conflict:
                continue
        raise Conflict(f"model {name} is being changed by others", hint="push it again")

    def _source(self, file: Mapping[str, Any]) -> ModelSource:
        path, digest = str(file.get("path", "")), str(file.get("digest", ""))
        blob = self._blobs.stat(digest)
        if blob is None:
            raise NotFound(f"{path}: its content {digest} is not here", hint="upload it first")
        return ModelSource(path, blob.size_bytes, lambda: self._blobs.open(digest))

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
        model = dict(document.body) if document else _new_model(name, body["created_at_us"])
        known = self._same(tenant, name, body["digest"])
        version = known or {**body, "version": model["latest"] + 1}
        changed = _with_profile({**model, "latest": max(model["latest"], version["version"])},
                                profile, body["metadata"])  # fmt: skip
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
        return [dict(document.body) for document in self._all(tenant, MODEL)]

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
            aliases = ", ".join(f"@{name}" for name in sorted(model["aliases"])) or "none"
            raise NotFound(
                f"no version {reference!r}",
                hint=f"{parsed.name} has versions up to {model['latest']}; aliases: {aliases}",
            )
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
        files = tuple(
            ModelFile(
                file["path"], file["digest"], file["size_bytes"], self._blobs.path(file["digest"])
            )
            for file in body["files"]
        )
        return ResolvedModel(
            name=body["name"],
            version=body["version"],
            digest=body["digest"],
            format=body["format"],
            files=files,
            metadata=body["metadata"],
        )

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
        Raises Conflict when it points elsewhere, NotFound for an unknown version.
        """
        references.check_alias(alias)
        for _ in range(_TRIES):
            document = self._document(tenant, name)
            model = dict(document.body)
            _check_expected(model, alias, expected)
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
        known = [other.key.name for other in self._all(tenant, MODEL)]
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

    def _all(self, tenant: str, kind: str) -> list[Document]:
        documents: list[Document] = []
        after = ""
        while True:
            page = self._meta.list(tenant, kind, after)
            documents += page.documents
            after = page.next_after
            if not after:
                return documents


def _version_key(tenant: str, name: str, version: int) -> Key:
    return Key(tenant, VERSION, f"{name}:{version:010}")


def _new_model(name: str, now_us: int) -> dict[str, Any]:
    return {
        "name": name,
        "description": "",
        "purpose": "",
        "suggested_questions": [],
        "license": "",
        "aliases": {},
        "latest": 0,
        "created_at_us": now_us,
    }


def _with_profile(
    model: dict[str, Any], profile: Mapping[str, Any], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    unknown = set(profile) - set(_PROFILE)
    if unknown:
        raise Invalid(f"profile: unknown {min(unknown)!r}", hint=f"known: {', '.join(_PROFILE)}")
    questions = profile.get("suggested_questions", [])
    texts = [profile[name] for name in profile if name != "suggested_questions"]
    if not isinstance(questions, list) or not all(isinstance(t, str) for t in (*texts, *questions)):
        raise Invalid("profile: texts, and a list of texts as suggested_questions")
    filled = {name: value for name, value in profile.items() if value}
    license_ = model["license"] or str(metadata.get("license", ""))
    return {**model, "license": license_, **filled}


def _check_expected(model: Mapping[str, Any], alias: str, expected: int | None) -> None:
    now = model["aliases"].get(alias)
    if expected != _ANY and now != expected:
        state = f"points at version {now}" if now else "does not exist"
        raise Conflict(
            f"{model['name']}@{alias} {state}, not {expected}",
            hint="somebody was faster: look at it and decide anew",
        )
