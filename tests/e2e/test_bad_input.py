"""Bad input of every kind on a real platform: a clear message, the next step, nothing half-made."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.platform import SHIPPED, Platform, platform

GOOD = SHIPPED / "support-bot-v2.gguf"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("bad") / "data") as one:
        one.serve_echo()
        yield one


def modelyard(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MODELYARD_")}
    return subprocess.run(
        [sys.executable, "-m", "modelyard.entry.cli.main", *words],
        env={**environment, "MODELYARD_DATA": str(data)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def _wrong(folder: Path) -> Path:
    path = folder / "notes.txt"
    path.write_text("hello\n")
    return path


def _renamed(folder: Path) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(b"\x1f\x8b\x08\x00" + bytes(100))
    return path


def _truncated(folder: Path) -> Path:
    path = folder / "cut.gguf"
    path.write_bytes(GOOD.read_bytes()[:1_000_000])
    return path


def _cut_in_the_header(folder: Path) -> Path:
    path = folder / "head.gguf"
    path.write_bytes(GOOD.read_bytes()[:1000])
    return path


def _pickled(folder: Path) -> Path:
    path = folder / "weights.bin"
    path.write_bytes(pickle.dumps({"weight": [1.0]}))
    return path


def _without_tokenizer(folder: Path) -> Path:
    path = folder / "half"
    path.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(SHIPPED / "v2-safetensors" / name, path / name)
    return path


def _empty(folder: Path) -> Path:
    path = folder / "empty"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_wrong, "seems to be a text"),
        (_renamed, "gzip archive, whose content cannot be checked"),
        (_truncated, "truncated"),
        (_cut_in_the_header, "truncated"),
        (_pickled, "pickle"),
        (_without_tokenizer, "no tokenizer"),
        (_empty, "no files"),
    ],
)
def test_a_file_that_is_no_model(
    running: Platform, tmp_path: Path, make: object, said: str
) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    blobs = sorted(running.data.glob("blobs/**/*"))
    done = modelyard(running.data, "models", "push", str(path), "--name", "bad")
    assert done.returncode == 2
    message, hint = done.stderr.strip().splitlines()[-2:]
    assert message.startswith("error: ")
    assert said in message
    assert hint.startswith("  ")
    assert "Traceback" not in done.stderr
    assert [one for one in running.client.models() if one["name"] == "bad"] == []
    assert sorted(running.data.glob("blobs/**/*")) == blobs


def test_a_second_up_on_the_same_folder(running: Platform) -> None:
    done = modelyard(running.data, "up", "--port", "0", "--control-port", "0")
    assert done.returncode == 2
    assert f"in use by process {running.ready['pid']}" in done.stderr
    assert "--data DIR" in done.stderr
    assert running.client.whoami()["role"] == "admin"


def test_a_port_that_is_taken(running: Platform, tmp_path: Path) -> None:
    port = running.gateway_url.rsplit(":", 1)[1]
    done = modelyard(tmp_path / "other", "up", "--port", port, "--control-port", "0")
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "--port" in done.stderr
    assert not (tmp_path / "other" / "run.json").exists()


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "said"),
    [
        (b'{"model":"nobody","messages":[]}', {}, 404, "model_not_found", "GET /v1/models"),
        (b'{"model":"echo",', {}, 400, "invalid_json", "not valid JSON"),
        (b"[]", {}, 400, None, "object"),
        (b" " * (50 * 1024 * 1024), {}, 413, "body_too_large", "max_body_bytes"),
        (b"{}", {"authorization": "Bearer my_a_b"}, 401, "invalid_api_key", "keys create"),
    ],
    ids=["unknown-model", "bad-json", "no-object", "50-MB", "bad-key"],
)
def test_a_request_that_cannot_be_answered(
    running: Platform, body: bytes, headers: dict[str, str], status: int, code: str, said: str
) -> None:
    with httpx.Client(base_url=running.gateway_url, timeout=30) as http:
        known = {"authorization": f"Bearer {running.key}", **headers}
        answer = http.post("/v1/chat/completions", content=body, headers=known)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert said in error["message"]
        assert code is None or error["code"] == code
        assert http.get("/healthz").status_code == 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=31m", "tmpfs", str(folder)]
    done = (
        subprocess.run(command, capture_output=True, text=True) if sys.platform == "linux" else None
    )
    if done is None or done.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(small_disk: Path) -> None:
    with platform(small_disk / "data") as one:
        big = SHIPPED / "v2-safetensors"
        done = modelyard(one.data, "models", "push", str(big), "--name", "big")
        assert done.returncode == 2
        assert "the disk is full" in done.stderr
        assert "free space" in done.stderr
        assert one.client.models() == []
        done = modelyard(one.data, "models", "push", str(GOOD), "--name", "fits")
        assert done.returncode == 0, done.stderr
        kept = [path for path in one.data.glob("blobs/**/*") if path.is_file()]
        assert GOOD.stat().st_size in [path.stat().st_size for path in kept]
