"""Provider documents and the keys that belong to them: checked, stored, listed, removed.

A stored key is bound to the origin of the provider that it was given for. A document that would
send it elsewhere is refused until the key is given again; the reconciler refuses it, too.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelyard.control import documents
from modelyard.control.documents import Applied, provider_spec_of
from modelyard.control.upstreams import Keyed, endpoints_of, resolved
from modelyard.domain.documents import PROVIDER as KIND
from modelyard.domain.documents import SERVICE, providers, upstreams
from modelyard.domain.documents.providers import ProviderDocument, ProviderSpec
from modelyard.domain.providers.kinds import STORE, Upstream
from modelyard.domain.snapshot import Endpoint
from modelyard.errors import Conflict, Invalid, ModelyardError
from modelyard.ports.meta import ABSENT, Change, Document, Key, MetaStore, all_of
from modelyard.ports.secrets import Secrets, SecretStore, usable

STATUS_KIND = "ProviderStatus"
"""What is known of a provider beside its document: its last test, when its keys were given."""
_TRIES = 5


class Tried(NamedTuple):
    """What came of one call with one key."""

    ok: bool
    said: str
    """What failed and what to do; when it is well, how many models there are."""
    latency_us: int = 0
    models: tuple[str, ...] = ()
    """Those that it lists."""
    status: int = 0
    """Of the answer; 0 when there was none."""


Target = tuple[str, Endpoint | str]
"""A key by its reference, with how to call the provider with it, or why that cannot be."""


class Providers:
    """One tenant's providers at a time; every method takes the tenant first."""

    def __init__(self, meta: MetaStore, secrets: Secrets, store: SecretStore) -> None:
        self._meta = meta
        self._secrets = secrets
        self._store = store
        self._changing = threading.Lock()
        """A key is stored before its document: meanwhile nobody tidies up."""

    # --- changes ---------------------------------------------------------------------------

    def apply(
        self,
        tenant: str,
        data: Any,
        actor: str,
        *,
        keys: Mapping[str, str] | None = None,
        now_us: int = 0,
    ) -> Applied:
        """Store the document if it differs from what is there, and the `keys` by their names in
        the store. Raises Invalid with all mistakes, a key that is nowhere among them."""
        document = providers.parse(data)
        given = {name: usable(value, f"key {name}") for name, value in (keys or {}).items()}
        with self._changing:
            self._check_given(tenant, document, given)
            self.check(tenant, document, given)
            applied = self._store_all(tenant, document, given, actor)
        if given:
            self._note_keys(tenant, document.name, sorted(given), actor, now_us)
        self.tidy(tenant)
        return applied

    def _store_all(
        self, tenant: str, document: ProviderDocument, given: Mapping[str, str], actor: str
    ) -> Applied:
        """Keys first, so that the document never names one that is not there."""
        former = {name: self._kept(tenant, name) for name in given}
        for name, value in given.items():
            self._store.put(tenant, name, value, document.spec.origin)
        try:
            (applied,) = documents.apply(self._meta, tenant, [document], actor)
        except ModelyardError:
            self._restore(tenant, former)
            raise
        return applied

    def check(
        self, tenant: str, document: ProviderDocument, given: Mapping[str, str] | None = None
    ) -> None:
        """Whether each key has a value that may be sent to this provider; those `given` have.
        Raises Invalid with all that have not."""
        spec = document.spec
        wrong = [
            (number, problem)
            for number, key in enumerate(spec.keys)
            if key.secret.removeprefix(STORE) not in (given or {})
            and (problem := self._refusal(tenant, key.secret, spec.origin)) is not None
        ]
        if wrong:
            text = "; ".join(f"spec.keys.{number}: {one.message}" for number, one in wrong)
            raise Invalid(text, hint=wrong[0][1].hint, code=wrong[0][1].code)

    def delete(self, tenant: str, name: str, actor: str, *, force: bool = False) -> None:
        """Remove it and its stored keys. Raises NotFound, and Conflict when services name it,
        unless `force`: then those upstreams of theirs have no endpoint."""
        documents.get(self._meta, Key(tenant, KIND, name))
        users = [] if force else documents.users(self._meta, tenant).get(name)
        if users:
            raise Conflict(
                f"provider {name} is used by service {', '.join(users)}",
                hint="change those first, or delete it with force",
                code="referred_to",
            )
        documents.delete(self._meta, Key(tenant, KIND, name), actor)
        if self._status(tenant, name):
            documents.delete(self._meta, Key(tenant, STATUS_KIND, name), actor)
        self.tidy(tenant)

    def tidy(self, tenant: str) -> None:
        """Forget stored keys that no provider names any more."""
        with self._changing:
            specs = map(provider_spec_of, all_of(self._meta, tenant, KIND))
            named = {name for spec in specs if spec for name in spec.stored}
            for name in set(self._store.names(tenant)) - named:
                self._store.delete(tenant, name)

    # --- what there is ---------------------------------------------------------------------

    def get(self, tenant: str, name: str) -> dict[str, Any]:
        """`{document, generation, kind, url, origin, problem, keys, services, test}`: never a
        key's value, but whether there is one."""
        document = documents.get(self._meta, Key(tenant, KIND, name))
        return self._view(document, documents.users(self._meta, tenant))

    def _view(self, document: Document, users: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        tenant, _, name = document.key
        spec = provider_spec_of(document)
        status = self._status(tenant, name)
        keys = resolved(self._secrets, tenant, spec) if spec and spec.keys else []
        return {
            "document": dict(document.body),
            "generation": document.generation,
            "kind": spec.kind if spec else "",
            "url": spec.base if spec else "",
            "origin": spec.origin if spec else "",
            "problem": "" if spec else "its document cannot be read any more: apply it again",
            "keys": [_shown(key, status) for key in keys],
            "services": list(users.get(name, ())),
            "test": status.get("test"),
        }

    # --- trying out ------------------------------------------------------------------------

    def targets(self, tenant: str, name: str) -> Sequence[Target]:
        """Each key of a provider; the model of its endpoint is one that services use of it, or
        else one that it allows. Raises NotFound, Invalid."""
        document = documents.get(self._meta, Key(tenant, KIND, name))
        spec = provider_spec_of(document)
        if spec is None:
            raise Invalid(f"provider {name} cannot be read any more", hint="apply it again")
        wanted = Upstream(name, self._model(tenant, name, spec))
        return [
            (key.reference, key.problem or endpoints_of(name, wanted, spec, [key])[0])
            for key in resolved(self._secrets, tenant, spec)
        ]

    def tested(
        self, tenant: str, name: str, tried: Sequence[tuple[str, Tried]], actor: str, now_us: int
    ) -> dict[str, Any]:
        """Keep what a test found: `{ok, at_us, keys: [{key, ok, said, latency_us}]}`."""
        rows = [
            {"key": key, "ok": one.ok, "said": one.said, "latency_us": one.latency_us}
            for key, one in tried
        ]
        test = {"ok": all(one.ok for _, one in tried), "at_us": now_us, "keys": rows}
        self._note(tenant, name, {"test": test}, actor, f"test provider {name}")
        return test

    def list(self, tenant: str) -> list[dict[str, Any]]:
        """All providers by name, each as `get` gives it."""
        users = documents.users(self._meta, tenant)
        return [self._view(document, users) for document in all_of(self._meta, tenant, KIND)]

    # --- inside ----------------------------------------------------------------------------

    def _check_given(
        self, tenant: str, document: ProviderDocument, given: Mapping[str, str]
    ) -> None:
        """Only keys that the document names, and that no other provider shows elsewhere."""
        for name in given:
            if name not in document.spec.stored:
                raise Invalid(
                    f"key {name} is given, but no key of the document is {STORE}{name}",
                    hint=f"write it into spec.keys as {{secret: {STORE}{name}}}",
                )
            if other := self._elsewhere(tenant, document, name):
                raise Invalid(
                    f"{STORE}{name} is a key of provider {other}, at another address",
                    hint="give this key a name of its own",
                )

    def _elsewhere(self, tenant: str, document: ProviderDocument, secret: str) -> str:
        """Another provider that shows the same stored key at another origin."""
        for other in all_of(self._meta, tenant, KIND):
            spec = provider_spec_of(other)
            if spec is None or other.key.name == document.name or secret not in spec.stored:
                continue
            if spec.origin != document.spec.origin:
                return other.key.name
        return ""

    def _refusal(self, tenant: str, reference: str, origin: str) -> ModelyardError | None:
        try:
            self._secrets.resolve(reference, tenant=tenant, origin=origin)
        except ModelyardError as error:
            return error
        return None

    def _kept(self, tenant: str, name: str) -> tuple[str, str] | None:
        """What the store has under that name: value and origin."""
        try:
            origin = self._store.origin(tenant, name)
            return self._store.resolve(f"{STORE}{name}", tenant=tenant, origin=origin), origin
        except ModelyardError:
            return None

    def _restore(self, tenant: str, former: Mapping[str, tuple[str, str] | None]) -> None:
        for name, kept in former.items():
            if kept is None:
                self._store.delete(tenant, name)
            else:
                self._store.put(tenant, name, *kept)

    def _model(self, tenant: str, name: str, spec: ProviderSpec) -> str:
        """A model of the provider that may be asked for one token."""
        for service in documents.specs_of(all_of(self._meta, tenant, SERVICE)).values():
            if service is None or name not in upstreams.providers_of(service):
                continue
            for _, one in upstreams.named_by(service):
                if one.provider == name:
                    return one.model
        return spec.models[0] if spec.models else ""

    def _status(self, tenant: str, name: str) -> dict[str, Any]:
        found = self._meta.get(Key(tenant, STATUS_KIND, name))
        return dict(found.body) if found else {}

    def _note(
        self, tenant: str, name: str, fields: Mapping[str, Any], actor: str, reason: str
    ) -> None:
        """Into what is known beside the document. Who was faster is not overwritten."""
        key = Key(tenant, STATUS_KIND, name)
        for _ in range(_TRIES):
            found = self._meta.get(key)
            body = {**(found.body if found else {}), **fields}
            change = Change(key, body, found.generation if found else ABSENT)
            try:
                self._meta.commit([change], actor, reason)
            except Conflict:
                continue
            return
        raise Conflict(f"provider {name} is being changed by others", hint="try again")

    def _note_keys(
        self, tenant: str, name: str, given: Sequence[str], actor: str, now_us: int
    ) -> None:
        """Who gave which key and when; the former test says nothing of it."""
        known = self._status(tenant, name).get("keys") or {}
        keys = {**known, **{one: {"at_us": now_us, "by": actor} for one in given}}
        reason = f"set key {', '.join(given)} of provider {name}"
        self._note(tenant, name, {"keys": keys, "test": None}, actor, reason)


def _shown(key: Keyed, status: Mapping[str, Any]) -> dict[str, Any]:
    """A key without its value."""
    given = (status.get("keys") or {}).get(key.reference.removeprefix(STORE)) or {}
    return {
        "secret": key.reference,
        "weight": key.weight,
        "problem": key.problem,
        "at_us": given.get("at_us", 0),
        "by": given.get("by", ""),
    }
