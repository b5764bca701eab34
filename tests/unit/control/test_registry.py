"""Versions and aliases: immutable, content-addressed, moved by compare-and-swap."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.control.registry import Registry
from modelyard.errors import Conflict, Invalid, NotFound
from modelyard.ports.meta import newest
from modelyard.testing.stores import MemoryBlobStore, MemoryMetaStore

SHIPPED = Path(__file__).parents[3] / "examples" / "support-model"
T = "default"


class Bench:
    """A registry on memory stores."""

    def __init__(self) -> None:
        self.meta = MemoryMetaStore()
        self.blobs = MemoryBlobStore()
        self.registry = Registry(self.meta, self.blobs)

    def upload(self, version: int) -> dict[str, Any]:
        data = (SHIPPED / f"support-bot-v{version}.gguf").read_bytes()
        blob = self.blobs.put([data])
        return {"path": "model.gguf", "digest": blob.digest, "size_bytes": blob.size_bytes}

    def push(self, version: int, name: str = "bot", **more: Any) -> dict[str, Any]:
        return self.registry.add_version(
            T, name, files=[self.upload(version)], actor="ada", now_us=5, **more
        )


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    one.blobs.close()


def test_a_version_holds_what_the_file_says(bench: Bench) -> None:
    pushed = bench.push(1, card="# Card")
    assert (pushed["version"], pushed["created"], pushed["actor"]) == (1, True, "ada")
    assert pushed["metadata"]["architecture"] == "llama"
    kept = bench.registry.version(T, "bot:1")
    assert kept["digest"] == pushed["digest"]
    assert kept["card"] == "# Card"


def test_the_same_content_is_the_same_version(bench: Bench) -> None:
    first, second, again = bench.push(1), bench.push(2), bench.push(1)
    assert (again["version"], again["created"]) == (1, False)
    assert again["digest"] == first["digest"] != second["digest"]
    assert [one["version"] for one in bench.registry.model(T, "bot")["versions"]] == [2, 1]


def test_references_lead_to_versions(bench: Bench) -> None:
    first = bench.push(1, alias="production")
    bench.push(2)
    assert bench.registry.version(T, "bot")["version"] == 2
    assert bench.registry.version(T, "bot@production")["version"] == 1
    assert bench.registry.version(T, f"bot@{first['digest']}")["version"] == 1
    model = bench.registry.resolve(T, "bot@production")
    assert (model.name, model.version, model.digest) == ("bot", 1, first["digest"])
    data = model.files[0].local.read_bytes()
    assert "sha256:" + hashlib.sha256(data).hexdigest() == model.files[0].digest


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("bto", "did you mean 'bot'?"),
        ("bot:9", ""),
        ("bot@staging", "production"),
        ("bot@sha256:" + "0" * 64, ""),
    ],
)
def test_what_is_not_there_names_what_is(bench: Bench, reference: str, said: str) -> None:
    bench.push(1, alias="production")
    with pytest.raises(NotFound) as raised:
        bench.registry.version(T, reference)
    assert said in raised.value.hint
    assert raised.value.hint


def test_tenants_do_not_see_each_other(bench: Bench) -> None:
    bench.push(1)
    assert bench.registry.models("acme") == []
    with pytest.raises(NotFound):
        bench.registry.version("acme", "bot:1")


def test_an_alias_moves_only_from_where_it_is_expected(bench: Bench) -> None:
    bench.push(1, alias="production")
    bench.push(2)
    with pytest.raises(Conflict):
        bench.registry.set_alias(T, "bot", "production", 2, expected=2, actor="ada")
    with pytest.raises(Conflict):
        bench.registry.set_alias(T, "bot", "production", 2, expected=None, actor="ada")
    bench.registry.set_alias(T, "bot", "production", 2, expected=1, actor="ada")
    assert bench.registry.version(T, "bot@production")["version"] == 2
    bench.registry.set_alias(T, "bot", "production", None, actor="ada")
    with pytest.raises(NotFound):
        bench.registry.version(T, "bot@production")
    with pytest.raises(NotFound):
        bench.registry.set_alias(T, "bot", "production", 9, actor="ada")


def test_of_many_who_move_an_alias_at_once_one_wins(bench: Bench) -> None:
    bench.push(1, alias="production")
    bench.push(2)
    bench.push(3)
    results: list[str] = []

    def move(version: int) -> None:
        try:
            bench.registry.set_alias(T, "bot", "production", version, expected=1, actor="ada")
            results.append("moved")
        except Conflict:
            results.append("conflict")

    threads = [threading.Thread(target=move, args=(2 + n % 2,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("moved") == 1


def test_pushes_at_once_lose_nothing(bench: Bench) -> None:
    files = {version: bench.upload(version) for version in (1, 2, 3)}

    def push(version: int) -> None:
        bench.registry.add_version(T, "bot", files=[files[version]], actor="ada", now_us=1)

    threads = [threading.Thread(target=push, args=(version,)) for version in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = bench.registry.model(T, "bot")["versions"]
    assert sorted(one["version"] for one in versions) == [1, 2, 3]
    assert len({one["digest"] for one in versions}) == 3


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "No Name"}, Invalid),
        ({"alias": "1"}, Invalid),
        ({"card": "x" * 70_000}, Exception),
        ({"profile": {"purpos": "x"}}, Invalid),
        ({"profile": {"suggested_questions": "x"}}, Invalid),
        ({"files": []}, Invalid),
        ({"files": [{"path": "m.gguf", "digest": "sha256:" + "0" * 64, "size_bytes": 1}]},
         NotFound),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_nothing(
    bench: Bench, change: dict[str, Any], error: type[Exception]
) -> None:
    known = {"name": "bot", "files": [bench.upload(1)], "actor": "ada", "now_us": 1}
    with pytest.raises(error):
        bench.registry.add_version(T, **{**known, **change})
    assert newest(bench.meta) == 0


def test_a_blob_that_is_no_model_is_refused(bench: Bench) -> None:
    blob = bench.blobs.put([b"hello"])
    file = {"path": "model.gguf", "digest": blob.digest, "size_bytes": 5}
    with pytest.raises(Invalid, match=r"model\.gguf"):
        bench.registry.add_version(T, "bot", files=[file], actor="ada", now_us=1)
    assert bench.registry.models(T) == []


def test_what_is_missing(bench: Bench) -> None:
    here = bench.upload(1)["digest"]
    gone = "sha256:" + "0" * 64
    assert bench.registry.missing([here, gone]) == [gone]
    with pytest.raises(Invalid):
        bench.registry.missing(["nonsense"])
