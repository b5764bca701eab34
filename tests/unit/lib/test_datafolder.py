"""The data folder: secrets, the lock, and what other processes read."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from modelyard.errors import Conflict, Unavailable
from modelyard.lib.datafolder import DataFolder


def _secret_at_once(root: Path, start: object, made: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    made.put(DataFolder(root).secret("internal"))  # type: ignore[attr-defined]


def test_processes_that_start_together_agree_on_a_secret(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    context = multiprocessing.get_context("spawn")
    start, made = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=_secret_at_once, args=(folder.root, start, made)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    secrets = {made.get(timeout=30) for _ in processes}
    for process in processes:
        process.join()
        process.close()
    made.close()
    made.join_thread()
    assert secrets == {folder.secret("internal")}


def test_a_secret_is_private_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    assert len(folder.pepper()) == 32
    assert folder.pepper() != bytes.fromhex(folder.internal_token())
    kept = [path for path in folder.root.rglob("*") if path.is_file()]
    assert {path.name for path in kept} == {"pepper", "internal"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    with folder.lock(), pytest.raises(Conflict, match="in use by process"):
        folder.lock()
    folder.lock().close()


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot use the data folder") as raised:
        DataFolder(tmp_path / "file" / "data").create()
    assert "--data" in raised.value.hint
