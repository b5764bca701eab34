"""Which files make a model: real ones, broken ones, hostile ones, and any bytes at all."""

import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.domain.models import formats, gguf, manifest_digest, safetensors
from modelyard.domain.models.cursor import reader
from modelyard.domain.models.source import ModelSource
from modelyard.errors import Invalid

SHIPPED = Path(__file__).parents[3] / "examples" / "support-model"
GGUF = (SHIPPED / "support-bot-v2.gguf").read_bytes()
HEAD = GGUF[: 64 * 1024]
FOLDER = {path.name: path.read_bytes() for path in (SHIPPED / "v2-safetensors").iterdir()}


def source(name: str, data: bytes) -> ModelSource:
    return ModelSource(name, len(data), lambda: io.BytesIO(data))


def inspect(**files: bytes) -> formats.ModelContent:
    return formats.inspect([source(name, data) for name, data in files.items()])


def test_a_gguf_file_says_what_it_is() -> None:
    content = inspect(**{"m.gguf": GGUF})
    assert content.format == "gguf"
    found = content.metadata
    assert (found["architecture"], found["quantization"]) == ("llama", "Q8_0")
    assert (found["context_tokens"], found["layers"], found["heads"]) == (512, 4, 4)
    assert found["parameters"] == 3_541_248
    assert found["has_chat_template"]


def test_a_folder_of_safetensors_says_the_same() -> None:
    content = inspect(**FOLDER)
    assert content.format == "safetensors"
    found = content.metadata
    assert (found["architecture"], found["layers"], found["kv_heads"]) == (
        "LlamaForCausalLM", 4, 2,
    )  # fmt: skip
    assert found["parameters"] == 3_541_248
    assert {file.path for file in content.files} == set(FOLDER)


def test_hidden_files_are_left_out() -> None:
    content = inspect(**{"m.gguf": GGUF, ".git/config": b"x", ".DS_Store": b"x"})
    assert [file.path for file in content.files] == ["m.gguf"]


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return data.getvalue()


SHARD = {name: data for name, data in FOLDER.items() if name != "model.safetensors"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no files"),
        ({"m.gguf": b""}, "empty file"),
        ({"m.gguf": GGUF[:1_000_000]}, "truncated"),
        ({"m.gguf": GGUF[:100]}, "truncated"),
        ({"m.gguf": GGUF[:-1]}, "truncated"),
        ({"m.gguf": b"GGUF" + struct.pack("<I", 99) + bytes(100)}, "version 99"),
        ({"m.gguf": b"GGUF" + struct.pack(">I", 3) + bytes(100)}, "big-endian"),
        ({"m.gguf": b"GGUF" + struct.pack("<IQQ", 3, 2**40, 1)}, "tensors"),
        ({"m.gguf": b"GGUF" + struct.pack("<IQQ", 3, 1, 2**60)}, "key-values"),
        ({"m.gguf": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62)}, "m.gguf"),
        ({"m.gguf": b"<html>not found</html>"}, "m.gguf"),
        ({"m.bin": pickle.dumps({})}, "pickle"),
        ({"model": pickle.dumps({})}, "pickle"),
        ({"model.safetensors": pickle.dumps({}), **SHARD}, "pickle"),
        ({"m.zip": zipped()}, "pickle"),
        ({"notes.txt": b"hello"}, "no model found"),
        ({**FOLDER, "extra.pt": b"x"}, "pickle"),
        ({**FOLDER, "m.gguf": GGUF}, "twice"),
        ({**FOLDER, "model.safetensors": FOLDER["model.safetensors"][:-1]}, "model.safetensors"),
        ({"model.safetensors": struct.pack("<Q", 2**62) + b"{}", **SHARD}, "model.safetensors"),
        ({"model.safetensors": struct.pack("<Q", 5) + b"{}xyz", **SHARD}, "model.safetensors"),
        ({"model.safetensors": FOLDER["model.safetensors"]}, "config.json"),
        ({**FOLDER, "config.json": b"{"}, "config.json"),
        ({**FOLDER, "config.json": b"[" * 100_000}, "config.json"),
        ({n: d for n, d in FOLDER.items() if n != "tokenizer.json"}, "tokenizer"),
        ({"weights.gguf": b"version https://git-lfs.github.com/spec/v1\noid x"}, "git lfs"),
        ({"../m.gguf": GGUF}, "../m.gguf"),
        ({"/m.gguf": GGUF}, "/m.gguf"),
        ({"a\\m.gguf": GGUF}, "m.gguf"),
        ({"M.gguf": GGUF, "m.gguf": GGUF}, "same file"),
        ({"m-00001-of-00002.gguf": GGUF}, "m-00002-of-00002.gguf"),
    ],
)
def test_what_is_no_model_is_told_why(files: dict[str, bytes], said: str) -> None:
    with pytest.raises(Invalid) as raised:
        inspect(**files)
    assert said in raised.value.message + raised.value.hint
    assert len(raised.value.message) < 1000


@pytest.mark.parametrize(
    "data",
    [
        b"GGUF" + struct.pack("<IQQ", 3, 50_000, 50_000) + bytes(10_000),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a"
        + struct.pack("<IIQ", 9, 4, 2**40) + bytes(1000),
        struct.pack("<Q", 90_000_000) + b"{" + b" " * 1000,
    ],
)  # fmt: skip
def test_a_header_cannot_claim_memory(data: bytes) -> None:
    tracemalloc.start()
    for read_header in (gguf.read_header, safetensors.read_header):
        with pytest.raises(Invalid):
            read_header(reader(io.BytesIO(data)), len(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024


Header = Callable[[Any, int], object]
LEAN = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def survives(read_header: Header, data: bytes, size: int) -> None:
    try:
        read_header(reader(io.BytesIO(data)), size)
    except Invalid:
        return


@LEAN
@given(st.binary(max_size=300))
def test_any_bytes_behind_the_magic(data: bytes) -> None:
    survives(gguf.read_header, b"GGUF\x03\x00\x00\x00" + data, 8 + len(data))
    survives(gguf.read_header, data, len(data))
    survives(safetensors.read_header, data, len(data))
    framed = struct.pack("<Q", len(data)) + data
    survives(safetensors.read_header, framed, len(framed))


CHANGES = st.lists(st.tuples(st.integers(0, len(HEAD) - 1), st.integers(0, 255)), max_size=6)


@LEAN
@given(CHANGES, st.integers(0, len(HEAD)))
def test_a_real_gguf_header_with_flipped_bytes(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(HEAD)
    for at, value in changes:
        data[at % 2000 if value % 2 else at] = value
    survives(gguf.read_header, bytes(data), len(GGUF))
    survives(gguf.read_header, bytes(data[:cut]), cut)


@LEAN
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6))
def test_a_real_safetensors_header_with_flipped_bytes(changes: list[tuple[int, int]]) -> None:
    whole = FOLDER["model.safetensors"]
    data = bytearray(whole[: 64 * 1024])
    for at, value in changes:
        data[at] = value
    survives(safetensors.read_header, bytes(data), len(whole))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TENSOR = st.fixed_dictionaries({"dtype": JSON, "shape": JSON, "data_offsets": JSON}) | JSON


@LEAN
@given(st.dictionaries(st.text(), TENSOR, max_size=4), st.integers(0, 50))
def test_any_json_as_a_safetensors_header(value: dict[str, Any], data_bytes: int) -> None:
    try:
        header = json.dumps(value).encode()
    except (ValueError, UnicodeEncodeError):
        return
    framed = struct.pack("<Q", len(header)) + header + bytes(data_bytes)
    survives(safetensors.read_header, framed, len(framed))


def test_the_digest_of_a_version_depends_on_its_files_alone() -> None:
    files = [{"path": "b", "digest": "sha256:1", "size_bytes": 1},
             {"path": "a", "digest": "sha256:2", "size_bytes": 2}]  # fmt: skip
    digest = manifest_digest(files)
    assert digest == manifest_digest(list(reversed(files)))
    assert digest != manifest_digest(files[:1])
    assert digest != manifest_digest([{**files[0], "digest": "sha256:3"}, files[1]])
    assert digest.startswith("sha256:")
    assert len(digest) == 71
