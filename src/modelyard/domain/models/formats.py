"""Which files make a model, and whether they are whole: the gate that every version passes.

The client asks before it uploads, with local files; the server asks again, with stored blobs.
Only formats that hold data are let in: what runs code when it is loaded is refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, Protocol

from modelyard.domain.models import gguf, gguf_metadata, huggingface, safetensors, sniff
from modelyard.domain.models.cursor import reader
from modelyard.domain.models.paths import check_paths, hidden
from modelyard.errors import Invalid

ACCEPTED = "a GGUF file, or a folder with *.safetensors, config.json and a tokenizer"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".keras", ".npy",
            ".npz")  # fmt: skip
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


class Source(Protocol):
    """A file that may become part of a version."""

    @property
    def path(self) -> str:
        """Relative to the pushed folder; of a single file its name."""
        ...

    @property
    def size_bytes(self) -> int:
        """Its size."""
        ...

    def open(self) -> BinaryIO:
        """The content from its start, seekable."""
        ...


class ModelContent(NamedTuple):
    """`files` are the sources to keep, by path: hidden ones are left out."""

    format: str
    files: tuple[Source, ...]
    metadata: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)


def inspect(sources: Sequence[Source]) -> ModelContent:
    """Decide the format and check the whole. Raises Invalid that says what to do."""
    kept = sorted((file for file in sources if not hidden(file.path)), key=lambda file: file.path)
    if not kept:
        raise Invalid("there are no files", hint=f"accepted: {ACCEPTED}")
    check_paths(file.path for file in kept)
    kinds = {file.path: _kind(file) for file in kept}
    files = {file.path: file for file in kept}
    _refuse_code(kinds)
    ggufs = [file for file in kept if _is(file.path, ".gguf", kinds, sniff.GGUF)]
    weights = [file for file in kept if _is(file.path, ".safetensors", kinds, sniff.SAFETENSORS)]
    if ggufs and weights:
        raise Invalid(
            f"the folder holds the model twice: {ggufs[0].path} and {weights[0].path}",
            hint="push the GGUF file alone, or a folder without it",
        )
    if ggufs:
        return ModelContent("gguf", tuple(kept), _inspect_gguf(ggufs))
    if weights:
        return ModelContent("safetensors", tuple(kept), _inspect_folder(files, weights))
    raise _no_model(kinds)


@contextmanager
def _about(path: str) -> Iterator[None]:
    """Errors inside are about that file."""
    try:
        yield
    except Invalid as error:
        raise Invalid(f"{path}: {error.message}", hint=error.hint) from None
    except OSError as error:
        raise Invalid(f"{path}: cannot be read: {error.strerror or error}") from error


def _kind(file: Source) -> sniff.Kind:
    with _about(file.path), file.open() as content:
        return sniff.kind_of(content.read(sniff.HEAD_BYTES))


def _refuse_code(kinds: Mapping[str, sniff.Kind]) -> None:
    pickled = [path for path in kinds if path.lower().endswith(_PICKLED)]
    pickled += [path for path, kind in kinds.items() if kind.danger == "pickle"]
    if pickled:
        raise _pickle_error(sorted(set(pickled)), kinds)
    for path, kind in kinds.items():
        if kind.danger == "pointer":
            raise Invalid(
                f"{path} is {kind.name}",
                hint="run `git lfs pull` in the folder, or download the file itself",
            )
        if kind.danger == "archive":
            raise Invalid(
                f"{path} is {kind.name}, whose content cannot be checked",
                hint="unpack it, and push what is inside",
            )


def _pickle_error(paths: Sequence[str], kinds: Mapping[str, sniff.Kind]) -> Invalid:
    named = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    safe = any(path.endswith((".safetensors", ".gguf")) for path in kinds)
    convert = "convert it: model.save_pretrained(FOLDER, safe_serialization=True), then push FOLDER"
    return Invalid(
        f"{named}: pickle formats are refused, because they can run any code when they are loaded",
        hint="remove it from the folder: the other weights there need it not" if safe else convert,
        code="unsafe_format",
    )


def _is(path: str, suffix: str, kinds: Mapping[str, sniff.Kind], kind: sniff.Kind) -> bool:
    """Whether name and content both say so. Raises Invalid when only one of them does."""
    named, real = path.endswith(suffix), kinds[path] == kind
    if named and not real:
        raise Invalid(
            f"{path} is named {suffix}, but it seems to be {kinds[path].name}",
            hint="download it again, or push the right file",
        )
    if real and not named:
        raise Invalid(f"{path} is {kind.name}", hint=f"rename it so that it ends in {suffix}")
    return real


def _no_model(kinds: Mapping[str, sniff.Kind]) -> Invalid:
    seen = [f"{path} seems to be {kind.name}" for path, kind in sorted(kinds.items())[:3]]
    more = f", and {len(kinds) - 3} more files" if len(kinds) > 3 else ""
    return Invalid(f"no model found: {', '.join(seen)}{more}", hint=f"accepted: {ACCEPTED}")


# --- GGUF ------------------------------------------------------------------------------------


def _inspect_gguf(files: Sequence[Source]) -> dict[str, Any]:
    headers = {file.path: _gguf_header(file) for file in files}
    for path, header in headers.items():
        _check_kind(path, header)
    parts = [_PART.fullmatch(path) for path in headers]
    if len(files) > 1 or (parts[0] and parts[0]["count"] != "00001"):
        _check_parts(list(headers), [part for part in parts if part])
        _check_split(list(headers.values()))
    with _about(files[0].path):
        return gguf_metadata.metadata(list(headers.values()))


def _gguf_header(file: Source) -> gguf.GgufHeader:
    with _about(file.path), file.open() as content:
        return gguf.read_header(reader(content), file.size_bytes)


def _check_kind(path: str, header: gguf.GgufHeader) -> None:
    kind = header.text("general.type")
    if kind == "adapter":
        raise Invalid(
            f"{path} is a LoRA adapter, not a whole model",
            hint="merge it with llama-export-lora and push the result",
        )
    if kind == "mmproj" or header.text("general.architecture") == "clip":
        raise Invalid(
            f"{path} is a projector for pictures, which is not supported",
            hint="push the language model's file without it",
        )
    if kind not in ("", "model"):
        raise Invalid(f"{path} is a GGUF file of type {kind!r}, not a model")


def _check_parts(paths: Sequence[str], parts: Sequence[re.Match[str]]) -> None:
    """All files are the parts of one split model."""
    if len(parts) < len(paths) or len({(part["stem"], part["count"]) for part in parts}) > 1:
        raise Invalid(
            f"the folder holds {len(paths)} models: {', '.join(paths[:5])}",
            hint="push one of the files",
        )
    count, present = int(parts[0]["count"]), {int(part["number"]) for part in parts}
    missing = [number for number in range(1, min(count, 1000) + 1) if number not in present]
    if missing:
        name = f"{parts[0]['stem']}-{missing[0]:05}-of-{count:05}.gguf"
        raise Invalid(
            f"{len(missing)} of {count} parts are missing, {name} first",
            hint="copy all parts into one folder and push the folder",
        )


def _check_split(headers: Sequence[gguf.GgufHeader]) -> None:
    """The parts agree with their names (llama.cpp refuses them otherwise)."""
    for number, header in enumerate(headers):
        if (header.values.get("split.no"), header.values.get("split.count")) != (
            number,
            len(headers),
        ):
            raise Invalid(
                f"part {number + 1} says that it is part {header.values.get('split.no')!r} "
                f"(from 0) of {header.values.get('split.count')!r}",
                hint="the parts are not of the same model; copy all of them again",
            )
    promised = headers[0].values.get("split.tensors.count")
    found = sum(len(header.tensors) for header in headers)
    if promised not in (None, found):
        raise Invalid(f"the parts hold {found} tensors, {promised} are promised")


# --- safetensors -----------------------------------------------------------------------------


def _inspect_folder(files: Mapping[str, Source], weights: Sequence[Source]) -> dict[str, Any]:
    headers = {file.path: _safetensors_header(file) for file in weights}
    top = [path for path in headers if "/" not in path]
    huggingface.check_complete(files, top or list(headers))
    if not top:
        raise Invalid(
            f"{min(headers)} lies in a folder of its own; config.json lies above it",
            hint="push the folder that holds config.json, tokenizer and weights side by side",
        )
    index = _json(files, huggingface.INDEX)
    parts = huggingface.shards(files, top, index)
    for path, expected in parts.items():
        huggingface.check_tensors(path, headers[path], expected)
    return huggingface.metadata(
        _json(files, huggingface.CONFIG) or {},
        _json(files, huggingface.TOKENIZER_CONFIG) or {},
        files,
        [headers[path] for path in parts],
    )


def _safetensors_header(file: Source) -> safetensors.SafetensorsHeader:
    with _about(file.path), file.open() as content:
        return safetensors.read_header(reader(content), file.size_bytes)


def _json(files: Mapping[str, Source], path: str) -> dict[str, Any] | None:
    if path not in files:
        return None
    with _about(path), files[path].open() as content:
        return huggingface.parse_json(content.read(huggingface.MAX_JSON_BYTES + 1))
