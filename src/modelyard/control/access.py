"""Access keys: made, shown once, known by their HMAC, revoked."""

import secrets
import string
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.domain.access import PRIORITIES, ROLES, Principal, holds, key_digest, key_text
from modelyard.domain.documents import ACCESS_KEY as KIND
from modelyard.domain.documents import NAME, checked
from modelyard.domain.documents.limits import BoundsSpec
from modelyard.errors import Conflict, Invalid, NotFound, Unauthenticated
from modelyard.lib import ids
from modelyard.ports.meta import ABSENT, DEFAULT_TENANT, Change, Document, Key, MetaStore, all_of

NORMAL = "normal"
MAX_TEXT = 128
MAX_SERVICES = 500
MAX_TIME_US = 2**53
"""Beyond what any clock shows; larger numbers would not fit into the snapshot."""
_ALPHABET = string.ascii_letters + string.digits
_SECRET_LETTERS = 40
"""238 bits."""
_BAD_KEY = "this key is not valid"
_KEY_HINT = "bring a key as `Authorization: Bearer my_…`; an admin makes one: modelyard keys create"


class Access:
    """`pepper` keys the HMAC: the store alone does not let anybody test guesses."""

    def __init__(self, meta: MetaStore, pepper: bytes) -> None:
        self._meta = meta
        self._pepper = pepper

    def create_key(
        self,
        tenant: str,
        *,
        role: str = "caller",
        team: str = "",
        person: str = "",
        client: str = "",
        services: Sequence[str] = (),
        label: str = "",
        expires_at_us: int = 0,
        limits: Mapping[str, Any] | None = None,
        priority: str = NORMAL,
        trusted: bool = False,
        actor: str,
        now_us: int,
    ) -> tuple[dict[str, Any], str]:
        """The key's document without its digest, and its text, which is kept nowhere."""
        if role not in ROLES:
            raise Invalid(f"no role {role!r}", hint=f"roles: {', '.join(ROLES)}")
        _check_expiry(expires_at_us, now_us)
        texts = {"team": team, "person": person, "client": client, "label": label}
        _check_texts(texts)
        _check_services(services)
        _check_priority(priority)
        key_id = ids.short_id(12)
        text = key_text(key_id, "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LETTERS)))
        body = {
            "id": key_id,
            "digest": key_digest(self._pepper, text),
            "role": role,
            **texts,
            "services": sorted(set(services)),
            "created_at_us": now_us,
            "expires_at_us": expires_at_us,
            "revoked_at_us": 0,
            "limits": _limits({}, limits or {}),
            "priority": priority,
            "trusted": trusted,
        }
        change = Change(Key(tenant, KIND, key_id), body, ABSENT)
        self._meta.commit([change], actor, f"create key {key_id} ({role})")
        return _shown(body), text

    def first_admin_key(self, now_us: int) -> str | None:
        """The text of a fresh admin key when there is no key at all, else None."""
        if self._meta.list("*", KIND, limit=1).documents:
            return None
        _, text = self.create_key(
            DEFAULT_TENANT, role="admin", label="first admin key", actor="modelyard", now_us=now_us
        )
        return text

    def authenticate(self, text: str, now_us: int) -> Principal:
        """Who this key stands for. Raises Unauthenticated, never saying why."""
        parts = text.split("_")
        document = None
        if len(parts) == 3 and parts[0] == "my":
            document = self._find(parts[1])
        digest = key_digest(self._pepper, text)
        if document is None or not secrets.compare_digest(document.body["digest"], digest):
            raise Unauthenticated(_BAD_KEY, hint=_KEY_HINT)
        return self._principal(document, now_us)

    def principal(self, tenant: str, key_id: str, now_us: int) -> Principal:
        """The principal of a key that was authenticated before, if it still holds."""
        document = self._meta.get(Key(tenant, KIND, key_id))
        if document is None:
            raise Unauthenticated(_BAD_KEY, hint=_KEY_HINT)
        return self._principal(document, now_us)

    def _find(self, key_id: str) -> Document | None:
        """A key's text does not tell its tenant; ids are unique over all of them."""
        document = self._meta.get(Key(DEFAULT_TENANT, KIND, key_id))
        if document is not None:
            return document
        return next((one for one in all_of(self._meta, "*", KIND) if one.key.name == key_id), None)

    def _principal(self, document: Document, now_us: int) -> Principal:
        body = document.body
        if not is_valid(document, now_us):
            raise Unauthenticated(_BAD_KEY, hint=_KEY_HINT)
        return Principal(
            tenant=document.key.tenant,
            key_id=body["id"],
            role=body["role"],
            name=body["person"] or body["label"] or body["id"],
            team=body["team"],
            person=body["person"],
            services=tuple(body["services"]),
        )

    def keys(self, tenant: str) -> list[dict[str, Any]]:
        """All keys, newest first, revoked ones too; never their digests."""
        found = [_shown(dict(document.body)) for document in all_of(self._meta, tenant, KIND)]
        return sorted(found, key=lambda body: body["created_at_us"], reverse=True)

    def revoke(self, tenant: str, key_id: str, actor: str, now_us: int) -> dict[str, Any]:
        """It opens nothing any more, at once; revoking twice changes nothing. Raises Conflict for
        the last admin key, without which nobody could make another one."""
        document = self._document(tenant, key_id)
        body = dict(document.body)
        if body["revoked_at_us"]:
            return _shown(body)
        if body["role"] == "admin" and not self._other_admin(tenant, key_id, now_us):
            raise Conflict(
                f"key {key_id} is the last admin key", hint="create another admin key first"
            )
        body["revoked_at_us"] = now_us
        change = Change(document.key, body, document.generation)
        self._meta.commit([change], actor, f"revoke key {key_id}")
        return _shown(body)

    def limit(
        self,
        tenant: str,
        key_id: str,
        *,
        limits: Mapping[str, Any],
        priority: str = "",
        actor: str,
    ) -> dict[str, Any]:
        """Change what a key may use: bounds that are given take the place of the former ones,
        None takes one away, the others stay. Counts that run go on."""
        document = self._document(tenant, key_id)
        body = dict(document.body)
        body["limits"] = _limits(body.get("limits") or {}, limits)
        body["priority"] = priority or body.get("priority", NORMAL)
        _check_priority(body["priority"])
        if body != document.body:
            change = Change(document.key, body, document.generation)
            self._meta.commit([change], actor, f"limit key {key_id}")
        return _shown(body)

    def _document(self, tenant: str, key_id: str) -> Document:
        document = self._meta.get(Key(tenant, KIND, key_id))
        if document is None:
            raise NotFound(f"no key {key_id!r}", hint="modelyard keys list shows their ids")
        return document

    def _other_admin(self, tenant: str, key_id: str, now_us: int) -> bool:
        return any(
            one.body["role"] == "admin" and one.key.name != key_id and is_valid(one, now_us)
            for one in all_of(self._meta, tenant, KIND)
        )


def is_valid(document: Document, now_us: int) -> bool:
    """Whether a key is neither revoked nor expired."""
    return holds(document.body, now_us)


def _limits(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds of a key as they are stored: only what is bounded."""
    merged = {name: value for name, value in {**before, **given}.items() if value is not None}
    bounds = checked(BoundsSpec, merged, "limits", "0 is no bound: leave it out")
    return bounds.model_dump(mode="json", exclude_unset=True)


def _check_priority(priority: str) -> None:
    if priority not in PRIORITIES:
        raise Invalid(f"no priority {priority!r}", hint=f"priorities: {', '.join(PRIORITIES)}")


def _check_expiry(expires_at_us: int, now_us: int) -> None:
    if expires_at_us and expires_at_us <= now_us:
        raise Invalid("the key would have expired already", hint="give a time to come")
    if expires_at_us > MAX_TIME_US:
        raise Invalid("the key would expire too far ahead", hint="0 means never")


def _check_texts(texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        if len(text) > MAX_TEXT or not text.isprintable():
            raise Invalid(f"{name}: at most {MAX_TEXT} printable characters")


def _check_services(services: Sequence[str]) -> None:
    wrong = next((name for name in services if NAME.fullmatch(name) is None), None)
    if wrong is not None:
        raise Invalid(f"{wrong!r} is no name of a service", hint="give names such as support")
    if len(services) > MAX_SERVICES:
        raise Invalid(f"at most {MAX_SERVICES} services", hint="none means all of them")


def _shown(body: dict[str, Any]) -> dict[str, Any]:
    """Without the digest; keys of older versions have no limits and are not trusted."""
    whole = {"limits": {}, "priority": NORMAL, "trusted": False, **body}
    return {name: value for name, value in whole.items() if name != "digest"}
