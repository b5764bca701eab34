"""Keys: shown once, kept as a digest, revoked at once."""

import json

import pytest

from modelyard.control.access import KIND, Access
from modelyard.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from modelyard.ports.meta import DEFAULT_TENANT, Change, Key, newest
from modelyard.testing.stores import MemoryMetaStore

NOW_US = 1_000_000


@pytest.fixture
def meta() -> MemoryMetaStore:
    return MemoryMetaStore()


@pytest.fixture
def access(meta: MemoryMetaStore) -> Access:
    return Access(meta, b"pepper")


def make(access: Access, **fields: object) -> tuple[dict[str, object], str]:
    return access.create_key(
        DEFAULT_TENANT, actor="ada", now_us=NOW_US, **fields  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_key_opens_what_it_was_made_for(access: Access) -> None:
    body, text = make(access, team="blue", person="eve", services=("b", "a", "a"))
    who = access.authenticate(text, NOW_US)
    assert (who.key_id, who.role, who.team, who.person) == (body["id"], "caller", "blue", "eve")
    assert who.services == ("a", "b")
    assert who.may("inference.call")
    with pytest.raises(Forbidden):
        who.require("keys.write")


def test_the_secret_is_nowhere(access: Access, meta: MemoryMetaStore) -> None:
    body, text = make(access)
    prefix, key_id, secret = text.split("_")
    assert (prefix, key_id) == ("my", body["id"])
    assert len(secret) >= 32
    stored = meta.get(Key(DEFAULT_TENANT, KIND, key_id))
    assert stored is not None
    assert secret not in json.dumps(dict(stored.body))
    assert "digest" not in body
    assert all("digest" not in one for one in access.keys(DEFAULT_TENANT))
    assert len({make(access)[1] for _ in range(50)}) == 50


def test_only_the_whole_key_under_the_same_pepper(access: Access, meta: MemoryMetaStore) -> None:
    _, text = make(access)
    wrong = ["", "my", text[:-1], text + "x", text.upper(), " " + text, "my_a_b", text + "_x",
             text.replace("my_", "xy_"), "é", "\ud800"]  # fmt: skip
    for one in wrong:
        with pytest.raises(Unauthenticated):
            access.authenticate(one, NOW_US)
    with pytest.raises(Unauthenticated):
        Access(meta, b"other pepper").authenticate(text, NOW_US)


def test_keys_end(access: Access) -> None:
    _, text = make(access, expires_at_us=NOW_US + 10)
    access.authenticate(text, NOW_US + 9)
    with pytest.raises(Unauthenticated):
        access.authenticate(text, NOW_US + 10)
    with pytest.raises(Invalid):
        make(access, expires_at_us=NOW_US)


def test_a_revoked_key_opens_nothing(access: Access) -> None:
    body, text = make(access)
    access.revoke(DEFAULT_TENANT, str(body["id"]), "ada", NOW_US + 1)
    with pytest.raises(Unauthenticated):
        access.authenticate(text, NOW_US + 2)
    again = access.revoke(DEFAULT_TENANT, str(body["id"]), "ada", NOW_US + 5)
    assert again["revoked_at_us"] == NOW_US + 1
    with pytest.raises(NotFound):
        access.revoke(DEFAULT_TENANT, "nobody", "ada", NOW_US)


def test_the_last_admin_key_stays(access: Access) -> None:
    text = access.first_admin_key(NOW_US)
    assert text is not None
    assert access.first_admin_key(NOW_US) is None
    admin = access.authenticate(text, NOW_US)
    with pytest.raises(Conflict, match="last admin key"):
        access.revoke(DEFAULT_TENANT, admin.key_id, "ada", NOW_US)
    make(access, role="admin")
    access.revoke(DEFAULT_TENANT, admin.key_id, "ada", NOW_US)


def test_keys_of_another_tenant(access: Access) -> None:
    body, text = access.create_key("acme", role="admin", actor="ada", now_us=NOW_US)
    assert access.authenticate(text, NOW_US).tenant == "acme"
    assert access.keys(DEFAULT_TENANT) == []
    with pytest.raises(NotFound):
        access.revoke(DEFAULT_TENANT, str(body["id"]), "ada", NOW_US)


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "king"},
        {"team": "x" * 10_000},
        {"person": "a\nb"},
        {"services": ("No Name",)},
        {"expires_at_us": 10**30},
        {"priority": "urgent"},
        {"limits": {"requests_per_minute": 0}},
        {"limits": {"rpm": 5}},
        {"limits": {"budget": {"usd": -1}}},
    ],
)
def test_what_is_no_key(access: Access, meta: MemoryMetaStore, fields: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        make(access, **fields)
    assert newest(meta) == 0


def test_what_a_key_may_use_changes_piece_by_piece(access: Access, meta: MemoryMetaStore) -> None:
    body, _ = make(access, limits={"requests_per_minute": 100}, priority="interactive")
    key_id = str(body["id"])
    assert body["limits"] == {"requests_per_minute": 100}

    def change(priority: str = "", **limits: object) -> dict[str, object]:
        return access.limit(DEFAULT_TENANT, key_id, limits=limits, priority=priority, actor="ada")

    changed = change(budget={"usd": 5}, concurrency=2)
    assert changed["limits"] == {
        "requests_per_minute": 100, "budget": {"usd": 5.0}, "concurrency": 2,
    }  # fmt: skip
    assert changed["priority"] == "interactive"
    assert meta.watch(0, 0.0)[-1].reason == f"limit key {key_id}"
    generation = newest(meta)
    change(concurrency=2)
    assert newest(meta) == generation, "what is so already is no change"
    changed = change(priority="background", budget=None, requests_per_minute=None)
    assert (changed["limits"], changed["priority"]) == ({"concurrency": 2}, "background")
    with pytest.raises(Invalid, match=r"limits\.concurrency"):
        change(concurrency=0)
    with pytest.raises(NotFound):
        access.limit(DEFAULT_TENANT, "nobody", limits={}, actor="ada")


def test_a_key_from_before_there_were_limits(access: Access, meta: MemoryMetaStore) -> None:
    body, text = make(access)
    key = Key(DEFAULT_TENANT, KIND, str(body["id"]))
    stored = meta.get(key)
    assert stored is not None
    old = {name: stored.body[name] for name in stored.body if name not in ("limits", "priority")}
    meta.commit([Change(key, old, stored.generation)], "ada", "as it was")
    assert access.authenticate(text, NOW_US).key_id == body["id"]
    (shown,) = access.keys(DEFAULT_TENANT)
    assert (shown["limits"], shown["priority"]) == ({}, "normal")
    access.limit(DEFAULT_TENANT, key.name, limits={"concurrency": 1}, actor="ada")
    assert access.keys(DEFAULT_TENANT)[0]["limits"] == {"concurrency": 1}
