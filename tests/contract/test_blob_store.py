"""What every blob store promises."""

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from modelyard.adapters.blob.local import STALE_S, LocalBlobStore
from modelyard.errors import Invalid, NotFound
from modelyard.ports.blobs import BlobStore
from modelyard.testing.stores import MemoryBlobStore

DATA = b"hello " * 1000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
OTHER = "sha256:" + "0" * 64


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "local":
        yield LocalBlobStore(tmp_path / "blobs")
        return
    memory = MemoryBlobStore()
    yield memory
    memory.close()


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("expected", ["", DIGEST])
def test_what_is_put_can_be_read(store: BlobStore, expected: str) -> None:
    blob = store.put(pieces(DATA), expected)
    assert blob == (DIGEST, len(DATA))
    assert store.stat(DIGEST) == blob
    with store.open(DIGEST) as file:
        assert file.read() == DATA
    assert store.path(DIGEST).read_bytes() == DATA


def test_an_empty_blob_is_one(store: BlobStore) -> None:
    blob = store.put([])
    assert blob.size_bytes == 0
    assert store.path(blob.digest).read_bytes() == b""


def test_putting_again_changes_nothing(store: BlobStore) -> None:
    store.put(pieces(DATA))
    assert store.put(pieces(DATA, 13), DIGEST).digest == DIGEST
    assert store.path(DIGEST).read_bytes() == DATA


@pytest.mark.parametrize("expected", [OTHER, "sha256:abc", "md5:" + "0" * 32, "x"])
def test_content_that_is_not_what_was_promised(store: BlobStore, expected: str) -> None:
    with pytest.raises(Invalid):
        store.put(pieces(DATA), expected)
    assert store.stat(DIGEST) is None
    assert store.stat(expected) is None


@pytest.mark.parametrize("digest", [OTHER, "", "sha256:../../etc/passwd", "nonsense"])
def test_what_is_not_here(store: BlobStore, digest: str) -> None:
    assert store.stat(digest) is None
    with pytest.raises(NotFound):
        store.open(digest)
    with pytest.raises(NotFound):
        store.path(digest)
    store.delete(digest)


def test_what_was_deleted_is_gone(store: BlobStore) -> None:
    store.put(pieces(DATA))
    store.delete(DIGEST)
    assert store.stat(DIGEST) is None
    store.put(pieces(DATA))
    assert store.stat(DIGEST) is not None


def broken() -> Iterator[bytes]:
    yield DATA
    raise ConnectionResetError("the sender is gone")


def test_a_sender_that_breaks_off_leaves_nothing(store: BlobStore) -> None:
    with pytest.raises(Exception, match=r"gone|cannot store"):
        store.put(broken())
    assert store.stat(DIGEST) is None


def test_many_threads_may_put_the_same(store: BlobStore) -> None:
    threads = [threading.Thread(target=store.put, args=(pieces(DATA),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.path(DIGEST).read_bytes() == DATA


# --- what only a folder can show ------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [broken(), pieces(DATA)])
def test_a_failed_put_leaves_no_file(tmp_path: Path, content: Iterable[bytes]) -> None:
    store = LocalBlobStore(tmp_path)
    with pytest.raises(Exception, match=r"gone|cannot store|not sha256"):
        store.put(content, OTHER)
    assert files(tmp_path) == []


def test_blobs_are_read_only_and_stay(tmp_path: Path) -> None:
    LocalBlobStore(tmp_path).put(pieces(DATA))
    again = LocalBlobStore(tmp_path)
    path = again.path(DIGEST)
    assert path.stat().st_mode & 0o222 == 0
    assert path.read_bytes() == DATA


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    LocalBlobStore(tmp_path)
    old, young = tmp_path / "incoming" / "old", tmp_path / "incoming" / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    long_ago = path.stat().st_mtime - STALE_S - 10
    os.utime(old, (long_ago, long_ago))
    LocalBlobStore(tmp_path)
    assert files(tmp_path) == [young]
