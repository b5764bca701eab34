"""The audit log: who changed what and why, read from the history of the document store."""

from typing import Any

from modelyard.errors import Invalid
from modelyard.ports.meta import MAX_COMMITS, Commit, MetaStore, newest

MAX_ENTRIES = 1000


def history(
    meta: MetaStore, tenant: str, *, since: int = 0, limit: int = 100, without_actor: str = ""
) -> list[dict[str, Any]]:
    """The latest commits after generation `since` that touched documents of a tenant, newest
    first; those of `without_actor` are left out. Reads backwards, so a long history costs
    nothing."""
    if not 1 <= limit <= MAX_ENTRIES:
        raise Invalid(f"limit must be from 1 to {MAX_ENTRIES}")
    entries: list[dict[str, Any]] = []
    until = newest(meta)
    while until > max(0, since) and len(entries) < limit:
        start = max(0, since, until - MAX_COMMITS)
        for commit in reversed(meta.watch(start, 0.0)):
            keys = [str(key) for key in commit.keys if key.tenant == tenant]
            if keys and commit.generation <= until and commit.actor != without_actor:
                entries.append(_entry(commit, keys))
        until = start
    return entries[:limit]


def _entry(commit: Commit, keys: list[str]) -> dict[str, Any]:
    return {**commit._asdict(), "keys": keys}
