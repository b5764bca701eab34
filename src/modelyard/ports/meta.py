"""MetaStore: where documents live. Four methods, no adapter code per feature.

A document is small (≤ 256 KiB), versioned and audited. Its key starts with the tenant, so that no
list and no cache can ever mix two tenants. `generation` counts commits of the whole store; a
document carries the generation of the commit that last changed it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from modelyard.errors import Conflict, Invalid, TooLarge

MAX_DOCUMENT_BYTES = 256 * 1024
ABSENT = 0
"""The expected generation of a document that must not exist yet."""
MAX_COMMITS = 1000
"""As many at most in one answer of `watch`."""

DEFAULT_TENANT = "default"


class Key(NamedTuple):
    """`tenant/Kind/name`; the name may hold anything but a slash."""

    tenant: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.kind}/{self.name}"


class Document(NamedTuple):
    """A stored document. `body` is plain JSON; treat it as read-only."""

    key: Key
    generation: int
    updated_at_us: int
    body: Mapping[str, Any]


class Change(NamedTuple):
    """Put (`body`) or delete (`body is None`) of one document, if it is at `expected` now."""

    key: Key
    body: Mapping[str, Any] | None
    expected: int


class Commit(NamedTuple):
    """One entry of the store's history, which is the audit log's first cut."""

    generation: int
    at_us: int
    actor: str
    reason: str
    keys: tuple[Key, ...]


class Page(NamedTuple):
    """Documents in key order, and the name to continue after (empty: no more)."""

    documents: list[Document]
    next_after: str


class MetaStore(Protocol):
    """Safe for use by many threads and processes at once."""

    @property
    def epoch(self) -> str:
        """Made with the store and anew by a restored backup: generations of two epochs must not
        be compared."""
        ...

    def get(self, key: Key) -> Document | None:
        """The document, or None."""
        ...

    def list(self, tenant: str, kind: str, after: str = "", limit: int = 1000) -> Page:
        """Documents of a kind by name. `tenant="*"` means all tenants; `after`
        is then `tenant/name`, as `next_after` gives it."""
        ...

    def watch(self, since: int, timeout_s: float) -> Sequence[Commit]:
        """Commits after generation `since`, oldest first (at most 1000). Waits up to
        `timeout_s` for the first; an empty answer means that nothing happened."""
        ...

    def commit(self, changes: Sequence[Change], actor: str, reason: str) -> int:
        """Apply all changes or none; the new generation of the store.

        Raises Conflict when a document is not at its expected generation (naming it), TooLarge
        over MAX_DOCUMENT_BYTES, Invalid when there is no change, no actor or no reason,
        Unavailable when the store cannot be written (disk full says so).
        """
        ...


def all_of(store: MetaStore, tenant: str, kind: str) -> list[Document]:
    """Every document of a kind, page by page."""
    documents: list[Document] = []
    after = ""
    while True:
        page = store.list(tenant, kind, after)
        documents += page.documents
        after = page.next_after
        if not after:
            return documents


def newest(store: MetaStore, since: int = 0) -> int:
    """The generation of the store, which is known to be `since` or later. Found by doubling and
    halving steps: a history may hold millions of commits."""
    step = MAX_COMMITS
    while store.watch(since + step, 0.0):
        since, step = since + step, step * 2
    while step > MAX_COMMITS:
        step //= 2
        if store.watch(since + step, 0.0):
            since += step
    commits = store.watch(since, 0.0)
    return commits[-1].generation if commits else since


def check_changes(changes: Sequence[Change], actor: str, reason: str) -> list[str | None]:
    """What every adapter demands of a commit before it begins: the encoded bodies.

    Raises Invalid and TooLarge as `MetaStore.commit` says.
    """
    if not changes:
        raise Invalid("a commit needs at least one change")
    if not actor or not reason:
        raise Invalid("a commit names its actor and its reason")
    if len({change.key for change in changes}) != len(changes):
        raise Invalid("a commit names each document once")
    return [_encoded(change) for change in changes]


def _encoded(change: Change) -> str | None:
    if any("/" in part or not part for part in change.key[:2]) or "/" in change.key.name:
        raise Invalid(f"document key {change.key} must be tenant/Kind/name")
    if change.body is None:
        return None
    try:
        text = json.dumps(change.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError) as error:  # NaN, half a surrogate pair, no JSON type
        raise Invalid(f"document {change.key} holds what JSON cannot: {error}") from None
    if size > MAX_DOCUMENT_BYTES:
        raise TooLarge(f"document {change.key} has {size} bytes; at most {MAX_DOCUMENT_BYTES}")
    return text


def conflict(change: Change, found: int) -> Conflict:
    """The error for a document that is not where the change expects it."""
    if change.expected == ABSENT:
        return Conflict(f"{change.key} exists already", hint="read it and change that")
    state = f"at generation {found}" if found else "gone"
    return Conflict(
        f"{change.key} is {state}, not at generation {change.expected}",
        hint="somebody was faster: read it again and decide anew",
    )
