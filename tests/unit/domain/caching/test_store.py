"""Bounded in bytes, fair between tenants, by virtual time."""

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.caching.store import OVERHEAD_BYTES, FairStore

MAX = 100 * OVERHEAD_BYTES


def put(store: FairStore[str], tenant: str, key: str, value: str = "v", at_s: float = 0.0) -> bool:
    return store.put(tenant, key.encode(), value, 0, at_s, 60.0)


def got(store: FairStore[str], tenant: str, key: str, at_s: float = 0.0) -> str | None:
    entry = store.get(tenant, key.encode(), at_s, 60.0)
    return entry.value if entry is not None else None


def test_an_entry_lives_as_long_as_it_was_told_and_no_longer() -> None:
    store: FairStore[str] = FairStore(MAX)
    put(store, "a", "k", at_s=10.0)
    assert got(store, "a", "k", 69.9) == "v"
    assert store.get("a", b"k", 69.9, max_age_s=5.0) is None, "the document says less now"
    assert got(store, "a", "k", 69.9) == "v"
    assert got(store, "a", "k", 70.0) is None
    assert (store.size_bytes, len(store)) == (0, 0)


def test_tenants_do_not_see_each_other() -> None:
    store: FairStore[str] = FairStore(MAX)
    put(store, "a", "k", "of a")
    put(store, "b", "k", "of b")
    assert (got(store, "a", "k"), got(store, "b", "k"), got(store, "c", "k")) == (
        "of a", "of b", None,
    )  # fmt: skip
    store.remove("a", b"k")
    assert (got(store, "a", "k"), got(store, "b", "k")) == (None, "of b")


def test_the_least_recently_used_go_first() -> None:
    store: FairStore[str] = FairStore(MAX)
    for number in range(100):
        put(store, "a", str(number))
    assert got(store, "a", "0") == "v"
    put(store, "a", "new")
    assert (got(store, "a", "0"), got(store, "a", "1"), got(store, "a", "new")) == ("v", None, "v")


def test_a_flood_of_one_tenant_leaves_the_share_of_the_others() -> None:
    store: FairStore[str] = FairStore(MAX)
    for number in range(50):
        put(store, "quiet", str(number))
    for number in range(1000):
        put(store, "loud", str(number))
    assert all(got(store, "quiet", str(number)) for number in range(50))
    for number in range(50, 100):  # and what a tenant had before others came is given up
        put(store, "third", str(number))
    assert sum(got(store, "third", str(number)) is not None for number in range(50, 100)) >= 33


def test_what_is_too_large_or_has_no_time_is_not_kept() -> None:
    store: FairStore[str] = FairStore(MAX)
    put(store, "a", "k", "old")
    assert not store.put("a", b"k", "new", MAX // 8, 0.0, 60.0)
    assert got(store, "a", "k") is None, "the older answer is not right any more"
    assert not store.put("a", b"k", "new", 1, 0.0, 0.0)


def test_expired_entries_make_room_before_they_are_asked_for() -> None:
    store: FairStore[str] = FairStore(MAX)
    for number in range(50):
        put(store, "a", str(number))
    put(store, "a", "new", at_s=100.0)
    assert len(store) == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"), st.sampled_from("klmnopqr"), st.integers(0, 3000),
            st.integers(0, 50),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_the_bound_holds_and_no_share_is_touched(
    steps: list[tuple[str, str, int, int]],
) -> None:
    limit = 20 * OVERHEAD_BYTES
    store: FairStore[tuple[str, str]] = FairStore(limit)
    held: dict[str, dict[str, int]] = {}
    now_s = 0.0
    for tenant, key, size, wait_s in steps:
        now_s += wait_s
        before = {other: dict(keys) for other, keys in held.items() if other != tenant}
        store.put(tenant, key.encode(), (tenant, key), size, now_s, 1e9)
        assert 0 <= store.size_bytes <= limit
        held = {}
        for owner in "abcd":
            for name in "klmnopqr":
                entry = store.get(owner, name.encode(), now_s, 1e9)
                if entry is not None:
                    assert entry.value == (owner, name)
                    held.setdefault(owner, {})[name] = entry.size_bytes
        assert store.size_bytes == sum(sum(keys.values()) for keys in held.values())
        for other, keys in before.items():
            if sum(keys.values()) <= limit / 4:
                assert held.get(other) == keys, "within an equal share nothing is pushed out"
